"""Which CUDA library is taken, and both of them behind the one interface.

The libraries are stand-ins on the memory of the host (tests/oracles/fake_drivers.py); the names
that are touched are also held against the real cuda-bindings, which imports without a driver.
"""

from __future__ import annotations

import ast
import ctypes
import importlib
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_cuda import FakeCuda, MisuseError
from fake_drivers import MEMORY, fake_bindings, fake_pycuda

from jdetrt.engine.cuda.api import Cuda, CudaError, CudaMemoryError, free_later, open_cuda, quietly
from jdetrt.engine.cuda.exchange import Exchange
from jdetrt.errors import MissingDependencyError, SessionError

if TYPE_CHECKING:
    from jdetrt.engine.cuda import cuda_python
    from jdetrt.engine.cuda import pycuda as cuda_pycuda

ENGINE = Path(__file__).parents[2] / "engine" / "cuda"
BACKENDS = {"pycuda": "jdetrt.engine.cuda.pycuda", "cuda-python": "jdetrt.engine.cuda.cuda_python"}
Launches = list[tuple[str, tuple[int, ...], tuple[int, ...], list[int]]]


class Libraries:
    """Which CUDA libraries this machine has."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.launches: Launches = []
        self._patch = patch
        for name in (*BACKENDS.values(), "jdetrt.engine.cuda.nvrtc"):
            patch.delitem(sys.modules, name, raising=False)
        for name in ("pycuda", "pycuda.driver", "cuda", "cuda.bindings", "cuda.bindings.driver"):
            patch.delitem(sys.modules, name, raising=False)
        self.forbid("pycuda")
        self.forbid("cuda")
        patch.setattr(shutil, "which", lambda name: None)

    def forbid(self, package: str) -> None:
        class Finder:
            def find_spec(self, name: str, *_: Any) -> None:
                if name.split(".")[0] == package:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        self._patch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])

    def add(self, modules: dict[str, Any]) -> None:
        for name, module in modules.items():
            self._patch.setitem(sys.modules, name, module)

    def run(
        self, name: str, grid: tuple[int, ...], block: tuple[int, ...], arguments: list[int]
    ) -> None:
        self.launches.append((name, grid, block, arguments))

    def pycuda(self, *, nvcc: bool = False, driver: bool = True) -> Any:
        modules = fake_pycuda(self.run, driver=driver)
        self.add(modules)
        if nvcc:
            self._patch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
        return modules["pycuda.driver"].state

    def bindings(self, *, nvrtc: bool = True, driver: bool = True) -> Any:
        modules = fake_bindings(self.run, driver=driver)
        if not nvrtc:

            def missing() -> None:
                raise RuntimeError('Failure finding "libnvrtc.so"')

            modules["cuda.bindings.nvrtc"].nvrtcVersion = missing
        self.add(modules)
        return modules["cuda.bindings.driver"].state


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Libraries]:
    yield Libraries(monkeypatch)
    # The modules of ours that were imported with a stand-in must not be used again.
    for name in (*BACKENDS.values(), "jdetrt.engine.cuda.nvrtc"):
        sys.modules.pop(name, None)


# ---- which library ---------------------------------------------------------------------------


def test_none_is_installed(libraries: Libraries) -> None:
    with pytest.raises(MissingDependencyError, match=r"'pycuda'.*\n.*jdetrt\[tensorrt\]"):
        open_cuda()


@pytest.mark.parametrize(
    ("pycuda", "nvcc", "bindings", "nvrtc", "taken"),
    [
        (True, True, True, True, "pycuda"),
        (True, True, False, False, "pycuda"),
        (True, False, False, False, "pycuda"),  # the CPU letterboxes
        (True, False, True, False, "pycuda"),
        (True, False, True, True, "cuda-python"),  # it has a compiler, pycuda has none
        (False, False, True, False, "cuda-python"),
        (False, False, True, True, "cuda-python"),
    ],
)
def test_the_library_that_can_do_it(
    pycuda: bool, nvcc: bool, bindings: bool, nvrtc: bool, taken: str, libraries: Libraries
) -> None:
    if pycuda:
        libraries.pycuda(nvcc=nvcc)
    if bindings:
        libraries.bindings(nvrtc=nvrtc)
    cuda = open_cuda()
    assert cuda.name == taken
    assert cuda.compute_capability == (8, 7)
    assert cuda.integrated is False
    cuda.close()


@pytest.mark.parametrize("library", ["pycuda", "bindings"])
@pytest.mark.parametrize("fault", ["no driver", "no such GPU"])
def test_no_gpu(library: str, fault: str, libraries: Libraries) -> None:
    getattr(libraries, library)(driver=fault != "no driver")
    with pytest.raises(SessionError, match=r"the GPU cannot be used .*Install NVIDIA's driver"):
        open_cuda(device=3 if fault == "no such GPU" else 0)


def test_pycuda_that_does_not_load_for_want_of_a_driver(
    libraries: Libraries, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = importlib.import_module

    def refuse(name: str) -> Any:
        if name == BACKENDS["pycuda"]:
            warnings.warn("Failed to import the CUDA driver interface", stacklevel=2)
            raise ImportError("libcuda.so.1: cannot open shared object file")
        return load(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(CudaError, match=r"pycuda: libcuda.so.1: .*Install NVIDIA's driver"):
        open_cuda()
    libraries.bindings()
    assert open_cuda().name == "cuda-python"


def _are_both_of_the_protocol(  # for mypy alone
    pycuda: cuda_pycuda.Backend, cuda_python: cuda_python.Backend
) -> list[Cuda]:
    return [pycuda, cuda_python]


# ---- both libraries --------------------------------------------------------------------------


@pytest.fixture(params=list(BACKENDS))
def gpu(request: pytest.FixtureRequest, libraries: Libraries) -> tuple[Cuda, Any, Launches]:
    """A GPU through one library; what the library has handed out; the kernels that ran."""
    state = libraries.pycuda(nvcc=True) if request.param == "pycuda" else libraries.bindings()
    return open_cuda(), state, libraries.launches


Gpu = tuple[Cuda, Any, Launches]


def test_data_goes_there_and_back(gpu: Gpu) -> None:
    cuda, state, _ = gpu
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    with cuda.current(), ExitStack() as cleanup:
        stream = free_later(cleanup, cuda.stream())
        begin, end = (free_later(cleanup, cuda.event()) for _ in range(2))
        here, there = (free_later(cleanup, cuda.buffer(96)) for _ in range(2))
        up = free_later(cleanup, cuda.pinned((2, 3, 4), "float32"))
        down = free_later(cleanup, cuda.pinned((2, 3, 4), "float32"))
        assert stream.handle
        assert here.nbytes == 96
        up.array[:] = values
        begin.record(stream)
        cuda.upload(here, up.array, stream)
        cuda.copy(there, here, stream)
        stream.wait(begin)
        cuda.download(down.array, there, stream)
        end.record(stream)
        end.synchronize()
        stream.synchronize()
        assert end.seconds_since(begin) == pytest.approx(2e-3)  # milliseconds in the libraries
        np.testing.assert_array_equal(down.array, values)
        free, total = cuda.memory()
        assert (free, total) == (MEMORY - 4 * 96, MEMORY)
        assert len(state.living) == 7
    assert not state.living
    cuda.close()
    cuda.close()  # gives nothing back that is not its own


def test_memory_that_is_not_there(gpu: Gpu) -> None:
    cuda, state, _ = gpu
    with cuda.current():
        with pytest.raises(CudaMemoryError, match=rf"out of memory: {2 * MEMORY} bytes"):
            cuda.buffer(2 * MEMORY)
        with pytest.raises(CudaMemoryError, match="page-locked"):
            cuda.pinned((2 * MEMORY,), "uint8")
    assert not state.living


def test_a_kernel_gets_its_arguments(gpu: Gpu) -> None:
    cuda, state, launches = gpu
    numbers = [np.uint64(2**40 + 1), np.uint64(7), *(np.int32(-i) for i in range(11))]
    with cuda.current(), ExitStack() as cleanup:
        stream = free_later(cleanup, cuda.stream())
        kernel = free_later(cleanup, cuda.kernel("extern int f;", "f"))

        def read(name: str, grid: Any, block: Any, addresses: list[int]) -> None:
            kinds = [ctypes.c_uint64] * 2 + [ctypes.c_int32] * 11
            values = [k.from_address(a).value for k, a in zip(kinds, addresses, strict=True)]
            launches.append((name, grid, block, values))

        state.run = read
        kernel.launch((3, 2), (32, 8), numbers, stream)
    assert launches == [("f", (3, 2), (32, 8), [int(n) for n in numbers])]
    assert not state.living


def test_a_kernel_that_does_not_compile(gpu: Gpu) -> None:
    cuda, state, _ = gpu
    with cuda.current(), pytest.raises(CudaError, match=r"compil.*line 1: '!'"):
        cuda.kernel("!", "f")
    assert not state.living


def test_graphs_of_cuda_python(libraries: Libraries) -> None:
    state = libraries.bindings()
    cuda = open_cuda()
    assert cuda.has_graphs()
    with cuda.current(), ExitStack() as cleanup:
        stream = free_later(cleanup, cuda.stream())
        target = free_later(cleanup, cuda.buffer(4))
        source = free_later(cleanup, cuda.pinned((1,), "float32"))
        result = free_later(cleanup, cuda.pinned((1,), "float32"))
        result.array[:] = 0
        source.array[:] = 1.0

        def work() -> None:
            cuda.upload(target, source.array, stream)
            cuda.download(result.array, target, stream)

        graph = free_later(cleanup, cuda.capture(stream, work))
        assert result.array[0] == 0.0  # recorded, not run
        for value in (2.0, 3.0):
            source.array[:] = value
            graph.launch(stream)
            assert result.array[0] == value

        def fails() -> None:
            work()
            raise SessionError("TensorRT cannot run the plan")

        living = len(state.living)
        with pytest.raises(SessionError, match="TensorRT cannot"):
            cuda.capture(stream, fails)
        assert len(state.living) == living  # nothing of the capture
        work()
        assert result.array[0] == 3.0  # and the stream works again
    assert not state.living
    assert state.retained == 1
    cuda.close()
    assert state.retained == 0


@pytest.mark.parametrize("library", ["pycuda", "bindings"])
def test_memory_that_the_gpu_of_a_jetson_shares(library: str, libraries: Libraries) -> None:
    state = getattr(libraries, library)()
    state.integrated = 1
    cuda = open_cuda()
    assert cuda.integrated is True
    with cuda.current(), ExitStack() as cleanup:
        alone = free_later(cleanup, cuda.pinned((4,), "uint8"))
        assert alone.address == 0
        memory = Exchange(cuda, 1024, cleanup)
        memory.host[:] = 7
        there = (ctypes.c_uint8 * 1024).from_address(memory.device.address)
        assert bytes(there) == b"\7" * 1024
        stream = free_later(cleanup, cuda.stream())
        memory.upload(1024, stream)
        memory.download(1024, stream)
        assert not memory.copies
    assert not state.living


def test_memory_that_is_copied_to_the_gpu_and_back(gpu: Gpu) -> None:
    cuda, state, _ = gpu
    with cuda.current(), ExitStack() as cleanup:
        stream = free_later(cleanup, cuda.stream())
        memory = Exchange(cuda, 512, cleanup)
        there = (ctypes.c_uint8 * 512).from_address(memory.device.address)
        memory.array(256, (2, 32), "float32")[:] = 1.0
        memory.host[:256] = 3
        memory.upload(300, stream)
        assert bytes(there)[:256] == b"\3" * 256
        assert bytes(there)[300:] == bytes(212)  # the rest stays
        memory.host[:] = 0
        memory.download(100, stream)
        assert (memory.host != 0).sum() == 100
    assert not state.living


def test_contexts_are_left_as_they_were(gpu: Gpu) -> None:
    cuda, state, _ = gpu
    stack: list[Any] = state.stack if cuda.name == "pycuda" else state.contexts
    with cuda.current(), cuda.current():
        assert len(stack) == 2
    with pytest.raises(ZeroDivisionError), cuda.current():
        raise ZeroDivisionError
    assert not stack


# ---- the real library ------------------------------------------------------------------------


def test_all_that_is_touched_is_in_the_real_cuda_bindings() -> None:
    bindings = pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    for module, names in (
        ("driver", _touched("cuda_python.py", "driver")),
        ("nvrtc", _touched("nvrtc.py", "nvrtc")),
    ):
        real = importlib.import_module(f"{bindings.__name__}.{module}")
        assert len(names) > 5
        for name in names:
            found: Any = real
            for part in name.split("."):
                assert hasattr(found, part), f"{module}.{name}"
                found = getattr(found, part)


def _touched(file: str, base: str) -> set[str]:
    """``cuInit``, ``CUresult.CUDA_SUCCESS`` and so on, of a module's text."""
    tree = ast.parse((ENGINE / file).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith(f"{base}.") and not text.endswith((".value", ".name")):
                names.add(text.removeprefix(f"{base}."))
    return names


def test_the_real_cuda_bindings_without_a_driver() -> None:
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("this machine has a driver")
    from jdetrt.engine.cuda.cuda_python import Backend

    with pytest.raises(CudaError, match="Install NVIDIA's driver"):
        Backend(0)


# ---- the fake itself, which other tests rely on ------------------------------------------------


def _misuses() -> dict[str, Callable[[FakeCuda], object]]:
    def twice(cuda: FakeCuda) -> None:
        buffer = cuda.buffer(8)
        buffer.free()
        buffer.free()

    def freed(cuda: FakeCuda) -> None:
        buffer, stream, pinned = cuda.buffer(8), cuda.stream(), cuda.pinned((8,), "uint8")
        buffer.free()
        cuda.upload(buffer, pinned.array, stream)

    def needed(cuda: FakeCuda) -> None:
        buffer, stream, pinned = cuda.buffer(8), cuda.stream(), cuda.pinned((8,), "uint8")
        cuda.upload(buffer, pinned.array, stream)
        buffer.free()

    def at_work(cuda: FakeCuda) -> None:
        stream = cuda.stream()
        cuda.event().record(stream)
        cuda.capture(stream, lambda: None)

    def pageable(cuda: FakeCuda) -> None:
        cuda.upload(cuda.buffer(8), np.zeros(8, np.uint8), cuda.stream())

    def too_long(cuda: FakeCuda) -> None:
        cuda.upload(cuda.buffer(4), cuda.pinned((8,), "uint8").array, cuda.stream())

    return {
        "freed twice": twice,
        "used after it was freed": freed,
        "still needs it": needed,
        "at work": at_work,
        "not page-locked": pageable,
        "8 bytes copied into 4": too_long,
        "never freed": lambda cuda: (cuda.event(), cuda.check_all_freed()),
        "never closed": lambda cuda: cuda.check_all_freed(),
    }


@pytest.mark.parametrize("message", list(_misuses()))
def test_the_fake_punishes_misuse(message: str) -> None:
    cuda = FakeCuda()
    with cuda.current(), pytest.raises(MisuseError, match=message):
        _misuses()[message](cuda)


def test_the_fake_wants_its_context() -> None:
    with pytest.raises(MisuseError, match="not current"):
        FakeCuda().stream()


def test_the_fake_does_nothing_before_somebody_waits() -> None:
    cuda = FakeCuda()
    with cuda.current():
        buffer, stream, other = cuda.buffer(4), cuda.stream(), cuda.stream()
        up, down, event = cuda.pinned((4,), "uint8"), cuda.pinned((4,), "uint8"), cuda.event()
        up.array[:] = 1
        cuda.upload(buffer, up.array, stream)
        event.record(stream)
        up.array[:] = 2  # too early: this is what goes up
        cuda.download(down.array, buffer, other)  # without waiting for the other stream
        other.synchronize()
        assert set(down.array) == {0xA5}
        other.wait(event)
        cuda.download(down.array, buffer, other)
        other.synchronize()
        assert set(down.array) == {2}


def test_an_ending_goes_on_after_a_fault() -> None:
    freed = []

    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name

        def free(self) -> None:
            freed.append(self.name)
            raise CudaError("CUDA failed: unspecified launch failure")

    with ExitStack() as cleanup:
        for name in "ab":
            free_later(cleanup, Thing(name))
    assert freed == ["b", "a"]
    with pytest.raises(ZeroDivisionError):  # a defect of ours is not hidden
        quietly(lambda: 1 / 0)
