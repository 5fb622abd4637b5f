"""Real builds with TensorRT-RTX, ahead of time and without a GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tiny_network import SIZE, save_tiny

from jdetrt.config import ExportConfig
from jdetrt.engine.onnx_file import metadata
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.compat import Log, TensorRt, deserialize, load
from jdetrt.engine.tensorrt.plan import Host, Plan
from jdetrt.errors import BuildError, SessionError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network import model

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has wheels for Linux on x86-64 alone")

CAPABILITIES = BuildOptions(compute_capabilities=("8.6", "8.9"))
MAGIC = b"vtrt"  # what its plans begin with


@pytest.fixture(scope="module")
def trt() -> TensorRt:
    return load("tensorrt-rtx")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny network with a fixed and with a free batch, and nano with random weights."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        tiny = save_tiny(folder / "tiny.safetensors", patch)
        for name, free in (("tiny", False), ("free", True)):
            config = ExportConfig(size=SIZE, top_k=50, dynamic_batch=free)
            export_onnx(tiny, folder / f"{name}.onnx", config)
    network = model.random_network(0, "nano", embedding_dim=128)
    nano = folder / "nano.safetensors"
    checkpoint.save(nano, network, size=(320, 192), identities=3)
    export_onnx(nano, folder / "nano.onnx", ExportConfig(size=(320, 192), top_k=200))
    halved = ExportConfig(size=(320, 192), top_k=200, half_weights=True)
    export_onnx(nano, folder / "halved.onnx", halved)
    return {path.stem: path for path in folder.glob("*.onnx")}


def test_nano_becomes_a_plan(trt: TensorRt, models: dict[str, Path], tmp_path: Path) -> None:
    plan = tmp_path / "nano.plan"
    written = build_plan(trt, models["nano"], plan, CAPABILITIES)
    opened = Plan(plan)
    opened.check(Host.here(trt, None))
    sidecar, data = opened.sidecar, bytes(opened.content)
    assert sidecar == written
    assert data.startswith(MAGIC)
    assert (sidecar.precision, sidecar.typing) == ("fp32", "strong")
    assert [(s.name, s.dtype, s.shape) for s in sidecar.inputs] == [
        ("images", "float32", (1, 3, 192, 320))
    ]
    assert [(s.name, s.shape) for s in sidecar.outputs] == [
        ("boxes", (1, 200, 4)),
        ("scores", (1, 200)),
        ("embeddings", (1, 200, 128)),
    ]
    assert sidecar.metadata == metadata(models["nano"])
    assert sidecar.host.backend == "tensorrt-rtx"
    # It is bound to run on a GPU: elsewhere, TensorRT's own reason is told.
    if sidecar.host.gpu is None:
        with pytest.raises(SessionError, match=r"refuses the plan: .*CUDA driver version"):
            deserialize(trt, Log(trt), data, host_code=False)


def test_weights_stored_in_half_are_no_half_precision(
    trt: TensorRt, models: dict[str, Path], tmp_path: Path
) -> None:
    assert models["halved"].stat().st_size < 0.6 * models["nano"].stat().st_size
    sidecar = build_plan(trt, models["halved"], tmp_path / "halved.plan", CAPABILITIES)
    assert sidecar.precision == "fp32"


def test_a_free_batch_needs_and_gets_its_profile(
    trt: TensorRt, models: dict[str, Path], tmp_path: Path
) -> None:
    options = BuildOptions(batch=(1, 2, 4), compute_capabilities=("8.6",))
    sidecar = build_plan(trt, models["free"], tmp_path / "free.plan", options)
    assert sidecar.inputs[0].shape == (-1, 3, SIZE[1], SIZE[0])
    assert sidecar.outputs[1].shape == (-1, 50)


def test_too_small_a_workspace_is_told(
    trt: TensorRt, models: dict[str, Path], tmp_path: Path
) -> None:
    options = BuildOptions(workspace_mib=1, compute_capabilities=("7.5",))
    with pytest.raises(BuildError, match=r"(?s)workspace limit.*Memory is what is lacking"):
        build_plan(trt, models["tiny"], tmp_path / "tiny.plan", options)
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_it_does_not_know_is_named(trt: TensorRt, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    vector = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(
        [helper.make_node("Mystery", ["images"], ["out"], name="/decode/odd", domain="mine")],
        "odd",
        [vector],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(BuildError, match=r"node 0 '/decode/odd' \(Mystery\): "):
        build_plan(trt, path, tmp_path / "out.plan")


_INTERRUPTED = """
    import logging, os, signal, sys, time
    from pathlib import Path
    from jdetrt.engine.tensorrt.builder.build import build_plan
    from jdetrt.engine.tensorrt.compat import load
    from jdetrt.runtime.signals import sigterm_as_ctrl_c

    class Reader(logging.Handler):
        told = False
        def emit(self, record):
            if "Parsing" in record.getMessage() and not self.told:
                self.told = True
                os.kill(os.getpid(), signal.{first})

    if {reading}:
        logger = logging.getLogger("jdetrt.engine.tensorrt")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(Reader())

    class Listener:
        told = {reading}
        def start(self, phase, total=None, parent=None): pass
        def finish(self, phase): pass
        def advance(self, phase, done):
            if done == 4 and not self.told:
                self.told = True
                os.kill(os.getpid(), signal.{first})
                if {second}:
                    while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
                        time.sleep(0.01)  # until the first has arrived
                    os.kill(os.getpid(), {second})

    try:
        with sigterm_as_ctrl_c():
            build_plan(load("tensorrt-rtx"), sys.argv[1], sys.argv[2], progress=Listener())
    except KeyboardInterrupt:
        sys.exit(130)
"""


def interrupted(model: Path, plan: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(_INTERRUPTED.format(**settings))
    command = [sys.executable, "-c", script, str(model), str(plan)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(plan.parent / "cache")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("SIGINT", 0, 130),
        ("SIGTERM", 0, 130),
        ("SIGKILL", 0, -signal.SIGKILL),
        ("SIGINT", signal.SIGINT, -signal.SIGINT),
        ("SIGINT", signal.SIGTERM, -signal.SIGTERM),
        ("SIGTERM", signal.SIGINT, -signal.SIGINT),
    ],
)
def test_ended_in_the_middle(
    first: str, second: int, code: int, models: dict[str, Path], tmp_path: Path
) -> None:
    plan = tmp_path / "nano.plan"
    done = interrupted(models["nano"], plan, first=first, second=int(second), reading=False)
    assert done.returncode == code, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_ctrl_c_while_the_model_is_read(models: dict[str, Path], tmp_path: Path) -> None:
    done = interrupted(
        models["nano"], tmp_path / "nano.plan", first="SIGINT", second=0, reading=True
    )
    assert done.returncode == 130, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
