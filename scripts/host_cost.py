"""CPU time of the host side of a TensorRT session, before and now, on stand-ins of a GPU.

    git worktree add ../before 0f144b6
    python scripts/host_cost.py --before ../before -o benchmarks/results/host-cost.json

A frame goes from an image through `fill`, `submit`, waiting and decoding, as in the pipeline, two
frames at a time. The stand-ins do next to nothing: what remains is our Python and our copies. What
TensorRT's own enqueueing, the driver and the GPU take is not in it. Both checkouts are measured in
turn, a process each, in one run; of the passes the least time of each part counts. "session" is
all but decoding. Calls of the driver and of TensorRT, and the bytes that the CPU and the GPU copy,
are counted.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
WARM_UP, FRAMES = 24, 300
NETWORKS = {"nano 576x320": ((576, 320), 64), "Darknet-53 1088x608": ((1088, 608), 512)}
SIZES = [(768, 432), (1920, 1080)]
ROWS, PEOPLE = 1024, 40  # entries that a model gives; those of them above the threshold
PARTS = ("fill", "submit", "wait", "decode")


class Thing:
    """A stream, an event, a graph, a kernel, memory: whatever it is, it counts calls."""

    handle = 1
    address = 0

    def __init__(self, calls: Counter[str], **content: Any) -> None:
        self._calls = calls
        self.__dict__.update(content)

    def _count(self, *_: Any, **__: Any) -> None:
        self._calls["driver"] += 1

    record = synchronize = wait = launch = _count

    def free(self) -> None:
        """Nothing."""

    def seconds_since(self, earlier: Any) -> float:
        """A time."""
        self._calls["driver"] += 1
        return 1e-3


class CountingCuda:
    """A GPU whose memory is the host's; after the warm-up nothing moves there any more."""

    name = "stand-in"
    compute_capability = (8, 7)
    integrated = False

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.moving = True

    def has_graphs(self) -> bool:
        """As both libraries."""
        return True

    has_kernels = has_graphs

    @contextmanager
    def current(self) -> Iterator[None]:
        """Two calls of the driver."""
        self.calls["driver"] += 2
        yield

    def memory(self) -> tuple[int, int]:
        """Free and total."""
        return 1 << 30, 1 << 30

    def buffer(self, nbytes: int) -> Thing:
        """Memory of the host, with its own address."""
        memory = np.zeros(nbytes, np.uint8)
        return Thing(self.calls, address=memory.ctypes.data, nbytes=nbytes, memory=memory)

    def pinned(self, shape: tuple[int, ...], dtype: str, *, mapped: bool = False) -> Thing:
        """An array."""
        return Thing(self.calls, array=np.zeros(shape, dtype))

    def stream(self) -> Thing:
        """A stream; events and kernels are made alike."""
        return Thing(self.calls)

    event = stream

    def kernel(self, source: str, name: str) -> Thing:
        """A kernel that does nothing."""
        return Thing(self.calls)

    def capture(self, stream: Thing, enqueue: Callable[[], None]) -> Thing:
        """Record."""
        enqueue()
        return Thing(self.calls)

    def upload(self, target: Any, source: Any, stream: Thing) -> None:
        """Count."""
        self.calls["driver"] += 1
        self.calls["uploaded bytes"] += source.nbytes

    def download(self, target: Any, source: Any, stream: Thing) -> None:
        """Count; copy only during the warm-up."""
        self.calls["driver"] += 1
        self.calls["downloaded bytes"] += target.nbytes
        if self.moving:
            ctypes.memmove(target.ctypes.data, source.address, target.nbytes)

    def copy(self, target: Any, source: Any, stream: Thing) -> None:
        """Count."""
        self.calls["driver"] += 1
        self.calls["bytes copied on the GPU"] += source.nbytes

    def close(self) -> None:
        """Nothing."""


def plain_context(cuda: CountingCuda, shapes: dict[str, tuple[int, ...]], outputs: Any) -> Any:
    """A context that TensorRT's bindings would give: it counts, and answers at once."""

    class Context:
        device_memory = 0

        def __init__(self) -> None:
            self.addresses: dict[str, int] = {}

        def set_device_memory(self, address: int, size: int) -> None: ...

        def set_input_shape(self, name: str, shape: Any) -> bool:
            cuda.calls["TensorRT"] += 1
            return True

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            cuda.calls["TensorRT"] += 1
            return shapes[name]

        def set_tensor_address(self, name: str, address: int) -> bool:
            cuda.calls["TensorRT"] += 1
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            cuda.calls["TensorRT"] += 1
            if cuda.moving:
                for name, array in outputs.items():
                    ctypes.memmove(self.addresses[name], array.ctypes.data, array.nbytes)
            return True

    return Context()


def open_stand_in(folder: Path, size: tuple[int, int], dim: int, graphs: bool | None) -> Any:
    """A session on the stand-ins, and its GPU."""
    sys.path.insert(0, str(Path(os.environ["PYTHONPATH"]) / "tests" / "oracles"))
    from fake_cuda import FakeCuda
    from fake_tensorrt import VERSIONS, fake_tensorrt
    from fake_trt_runtime import Network, write_plan

    from jdetrt.engine.tensorrt import compat
    from jdetrt.engine.tensorrt import session as module
    from jdetrt.engine.tensorrt.device import Device

    rng = np.random.default_rng(3)
    places = np.arange(ROWS)[:, None] % PEOPLE  # of people who do not overlap
    corners = np.concatenate([places % 10 * 40, places // 10 * 70], 1)[None].astype(np.float32)
    vectors = rng.standard_normal((1, ROWS, dim)).astype(np.float32)
    outputs = {
        "boxes": np.concatenate([corners, corners + np.array([20, 60])], -1).astype(np.float32),
        "scores": np.where(np.arange(ROWS) < PEOPLE, 0.9, 0.01).astype(np.float32)[None],
        "embeddings": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True),
    }
    shapes = {"images": (1, 3, size[1], size[0])} | {n: a.shape for n, a in outputs.items()}
    cuda = CountingCuda()
    network = Network(FakeCuda())
    network.inputs = (("images", "FLOAT", shapes["images"]),)
    network.outputs = tuple((name, "FLOAT", array.shape) for name, array in outputs.items())
    fake: Any = fake_tensorrt(VERSIONS[1], network.scenario())
    sys.modules[fake.__name__] = fake
    trt = compat.load("tensorrt")
    context = lambda *_: plain_context(cuda, shapes, outputs)  # noqa: E731
    fake.ICudaEngine.create_execution_context = context
    board = Device("Orin", "8.7", False, 32 << 30, 16 << 30, "12.6")
    module.current_device = lambda: board
    module.open_cuda = lambda **_: cuda
    plan = write_plan(folder / "model.plan", trt, board, network)
    how = {} if graphs is None else {"graphs": graphs}
    return module.TensorRtSession(plan, **how), cuda


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each network and size of frames, in the checkout of ``PYTHONPATH``."""
    return [measure_one(network, size, options) for network in NETWORKS for size in SIZES]


def measure_one(
    network: str, frame: tuple[int, int], options: argparse.Namespace
) -> dict[str, Any]:
    """Microseconds of CPU time and counts a frame."""
    from jdetrt.runtime.detector import Detector

    size, dim = NETWORKS[network]
    width, height = frame
    shape = (height * 3 // 2, width) if options.nv12 else (height, width, 3)
    images: Any = list(np.random.default_rng(1).integers(0, 256, (3, *shape), np.uint8))
    if options.nv12:
        from jdetrt.runtime.pixels import RawImage

        images = [RawImage(image, "nv12_bt709") for image in images]
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        session, cuda = open_stand_in(Path(folder), size, dim, options.graphs)
        detector = Detector(session)
        collect = getattr(detector, "collect", session.wait)
        buffers = deque(detector.buffers(4))
        waiting: deque[Any] = deque()

        def part(name: str, step: Callable[[], Any]) -> Any:
            begin = time.thread_time_ns()
            result = step()
            spent[name] += time.thread_time_ns() - begin
            return result

        for index in range(WARM_UP + FRAMES):
            if index == WARM_UP:
                spent.clear()
                cuda.calls.clear()
                cuda.moving = False
            buffer, image = buffers.popleft(), images[index % 3]
            fit = part("fill", lambda buffer=buffer, image=image: buffer.fill(image))
            cuda.calls["bytes copied by the CPU"] += int(np.prod(shape))
            part("submit", buffer.submit)
            waiting.append((buffer, fit))
            if len(waiting) == session.depth:
                done, fit = waiting.popleft()
                outputs = part("wait", collect)
                people = part("decode", lambda o=outputs, fit=fit: detector.decode(o, fit))
                assert len(people) == PEOPLE, len(people)
                buffers.append(done)
                owned = (a for a in outputs.values() if a.flags.owndata)
                cuda.calls["bytes copied by the CPU"] += sum(a.nbytes for a in owned)
    return {
        "microseconds": {name: spent[name] / FRAMES / 1e3 for name in PARTS},
        "counts": {name: round(count / FRAMES, 2) for name, count in cuda.calls.items()},
    }


def _child(checkout: Path, *options: str) -> list[dict[str, Any]]:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", *options]
    text = subprocess.run(
        command, cwd=checkout, env=environment, check=True, capture_output=True, text=True
    ).stdout
    result: list[dict[str, Any]] = json.loads(text)
    return result


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Both checkouts in turn, and how much of the time is left."""
    before = options.before.resolve()
    kinds: dict[str, tuple[Path, tuple[str, ...]]] = {
        "before": (before, ()),
        "before, with a CUDA graph": (before, ("--graphs", "on")),
        "now": (ROOT, ()),
        "now, of NV12": (ROOT, ("--nv12",)),
    }
    passes: dict[str, list[list[dict[str, Any]]]] = {kind: [] for kind in kinds}
    for number in range(options.passes):
        for kind, (checkout, more) in kinds.items():
            passes[kind].append(_child(checkout, *more))
        sys.stderr.write(f"pass {number + 1} of {options.passes}\n")
    rows = []
    for i, (network, size) in enumerate(itertools.product(NETWORKS, SIZES)):
        row: dict[str, Any] = {"network": network, "frame": list(size)}
        for kind, results in passes.items():
            # Of each part the least: what disturbs only ever adds.
            parts = {n: min(one[i]["microseconds"][n] for one in results) for n in PARTS}
            session = sum(parts[name] for name in PARTS if name != "decode")
            counts = results[0][i]["counts"]
            row[kind] = {"microseconds": parts, "session": session, "counts": counts}
        for kind in ("now", "now, of NV12"):
            row[kind]["share"] = row[kind]["session"] / row["before"]["session"]
        rows.append(row)
    import msgspec

    from jdetrt.machine.manifest import manifest

    return {
        "benchmark": "host cost",
        "machine": msgspec.to_builtins(manifest()),
        "settings": {
            "frames": FRAMES,
            "warm_up": WARM_UP,
            "passes": options.passes,
            "entries": ROWS,
            "above_threshold": PEOPLE,
            "before": _commit(options.before),
        },
        "rows": rows,
    }


def _commit(checkout: Path) -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout[
        :12
    ]


def main() -> None:
    """Measure one checkout as a child, or compare two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help="this checkout alone; for the child")
    parser.add_argument("--nv12", action="store_true", help="images as a decoder of a GPU has them")
    parser.add_argument("--graphs", choices=["default", "on", "off"], default="default")
    options = parser.parse_args()
    options.graphs = {"default": None, "on": True, "off": False}[options.graphs]
    if options.measure:
        sys.stdout.write(json.dumps(measure(options)) + "\n")
        return
    result = json.dumps(compare(options), indent=1, default=str)
    if options.output is None:
        sys.stdout.write(result + "\n")
    else:
        options.output.write_text(result + "\n")


if __name__ == "__main__":
    main()
