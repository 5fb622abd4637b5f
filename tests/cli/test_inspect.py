"""``jdetrt inspect`` on the command line."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_network import save_tiny

from jdetrt.cli import main
from jdetrt.config import ExportConfig
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.export.onnx_writer import export_onnx


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


@pytest.fixture
def exported(tiny: Path, tmp_path: Path) -> Path:
    export_onnx(tiny, tmp_path / "model.bin", ExportConfig(top_k=50, dynamic_batch=True))
    return tmp_path / "model.bin"  # known by its content


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_checkpoint(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", tiny) == 0
    out = capsys.readouterr().out
    for part in ("jdetrt checkpoint", "tiny, 16-dimensional embeddings", "128x96", "identities  9"):
        assert part in out
    assert run("inspect", tiny, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["sha256"] == hashlib.sha256(tiny.read_bytes()).hexdigest()
    config = {"body": "tiny", "size": [128, 96], "embedding_dim": 16}
    found = content["info"]["config"]
    assert {name: value for name, value in found.items() if value not in (None, [])} == config
    assert content["info"]["kind"] == "jdetrt"
    # Five body convolutions and three levels, counted from the layer shapes.
    body = 3 * 6 * 9 + 6 * 8 * 9 + 8 * 8 * 9 + 8 * 12 * 9 + 12 * 16 * 9 + 2 * (6 + 8 + 8 + 12 + 16)
    levels = 0
    for skip, above, width in ((16, 0, 8), (12, 8, 6), (8, 6, 4)):
        merged = skip + (width if above else 0)
        if above:
            levels += above * width + 2 * width
        levels += merged * width + 2 * width + 2 * (width * 2 * width + 2 * width)
        levels += 3 * (width * 2 * width * 9 + 4 * width)
        levels += (2 * width + 1) * 24 + (width * 9 + 1) * 16
    assert content["parameters"] == body + levels


def test_onnx(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", exported) == 0
    out = capsys.readouterr().out
    assert "images [N, 3, 96, 128] float32" in out
    assert "TopK 1" in out
    assert run("inspect", exported, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["operators"]["TopK"] == 1
    assert content["opsets"] == {"ai.onnx": 17}
    assert content["inputs"] == [{"name": "images", "dtype": "float32", "shape": [-1, 3, 96, 128]}]
    assert [output["shape"] for output in content["outputs"]] == [
        [-1, 50, 4],
        [-1, 50],
        [-1, 50, 16],
    ]
    assert content["metadata"]["body"] == "tiny"
    # Weights, and the tables of the decoding, of which the anchor boxes alone are 1008 x 4.
    graph = onnx.load(exported).graph
    weights = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    assert weights + 1008 * (4 + 1) <= content["parameters"] <= weights + 1008 * (4 + 1) + 1008


def inspect_without(packages: list[str], path: Path, *options: str) -> tuple[int, str, str]:
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({packages})); "
        f"from jdetrt.cli import main; main({['inspect', str(path), *options]})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_model_needs_no_torch_and_no_onnx(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("inspect", exported, "--json")
    full = json.loads(capsys.readouterr().out)
    code, out, err = inspect_without(["torch", "safetensors"], exported, "--json")
    assert (code, json.loads(out), err) == (0, full, "")
    code, out, err = inspect_without(["torch", "safetensors", "onnx"], exported, "--json")
    unknown = dict.fromkeys(("parameters", "producer", "opsets", "operators"))
    assert (code, json.loads(out), err) == (0, {**full, **unknown}, "")
    code, out, _ = inspect_without(["torch", "onnx"], exported)
    assert code == 0
    assert "images [N, 3, 96, 128] float32" in out
    assert "the Python package 'onnx'" in out


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_a_checkpoint_needs_them(package: str, tiny: Path) -> None:
    code, _, err = inspect_without([package], tiny)
    assert code == 1
    assert f"needs the Python package '{package}', which is not installed" in err
    assert "pip install 'jdetrt[export]'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "DataError: {}: no such file"),
        (b"", "DataError: {}: is empty"),
        (b"plain words", "DataError: {}: is a text file ('plain words...')"),
        (b"\x7fELF" + bytes(90), "DataError: {}: is a file of an unknown kind"),
        (b"\x08\x08\x12\x07pytorch", "DataError: {}: is an ONNX model without operators"),
        (b"\x08\x08\x12\x7fpytorch", "DataError: {}: is cut short or not an ONNX model"),
        (b"PK\x03\x04" + bytes(90), "CheckpointError: {}: is cut short"),
    ],
)
def test_other_files(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert run("inspect", path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message.format(path))


def test_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", tmp_path) == 1
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_models(share: float, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(len(content) * share)])
    assert run("inspect", exported) == 1
    assert capsys.readouterr().err.startswith(f"DataError: {exported}: is cut short")


@pytest.fixture
def plan(tiny: Path, tmp_path: Path) -> Path:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx: pip install jdetrt[rtx]")
    export_onnx(tiny, tmp_path / "half.onnx", ExportConfig(top_k=50, precision="fp16"))
    build_plan(TensorRt("tensorrt-rtx", trt), tmp_path / "half.onnx", tmp_path / "half.plan")
    return tmp_path / "half.plan"


def test_plan(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = onnx.load(plan.with_suffix(".onnx")).graph
    convolutions = sum(node.op_type == "Conv" for node in graph.node)
    assert run("inspect", plan) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{plan}: TensorRT plan, ")
    for part in ("TensorRT-RTX", "model         half.onnx, sha256", "fp16, strong typing"):
        assert part in out
    assert f"convolutions  {convolutions} in float16" in out
    assert "the build log" in out
    assert "/network/body/third/conv/Conv" in out
    assert run("inspect", plan, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
    assert content["sidecar"]["model"]["name"] == "half.onnx"
    layers = content["compiled"]["layers"]
    assert content["compiled"]["weights"] > 0
    given = {t["name"]: (t["dtype"], t["shape"]) for layer in layers for t in layer["outputs"]}
    assert given["boxes"] == ("float32", [1, 50, 4])
    assert given["embeddings"] == ("float32", [1, 50, 16])


def test_a_plan_of_another_name(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.rename(plan.with_name("no name"))
    assert run("inspect", plan.with_name("no name")) == 0
    assert "no name: TensorRT plan" in capsys.readouterr().out


def test_plans_without_their_files(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.with_name("half.plan.layers.json").unlink()
    assert run("inspect", plan) == 0  # there is no GPU that could load it, or it loads
    out = capsys.readouterr().out
    assert "fp16, strong typing" in out
    assert "cannot be loaded here" in out or "the engine inspector" in out
    plan.with_name("half.plan.json").unlink()
    assert run("inspect", plan) == 0
    out = capsys.readouterr().out
    assert "its sidecar half.plan.json" in out
    assert "fp16" not in out
    plan.with_name("half.plan.json").write_text("{}")
    plan.write_bytes(b"")
    assert run("inspect", plan) == 1
    assert capsys.readouterr().err.startswith(f"DataError: {plan}: is empty")
