"""FP16 models made by ModelOpt AutoCast: what it is asked for, and what is checked of its work."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_network import SIZE, save_tiny

from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.errors import (
    ExportError,
    MissingDependencyError,
    ParityError,
)
from jdetrt.export.autocast import autocast
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.inputs import sha256

pytestmark = pytest.mark.usefixtures("one_thread")

Convert = Callable[..., onnx.ModelProto]
Install = Callable[[Convert], list[dict[str, Any]]]


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in float32; beside it half.onnx, what AutoCast could make of it."""
    source = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    export_onnx(source, tmp_path / "half.onnx", ExportConfig(top_k=50, precision="fp16"))
    export_onnx(source, tmp_path / "full.onnx", ExportConfig(top_k=50))
    return tmp_path / "full.onnx"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a ModelOpt with this conversion; give what it is called with."""

    def install(convert: Convert) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def called(onnx_path: str, **options: Any) -> onnx.ModelProto:
            pictures = dict(np.load(options["calibration_data"]))
            calls.append({"onnx_path": onnx_path, **options, "pictures": pictures})
            return convert()

        module: Any = ModuleType("modelopt.onnx.autocast")
        module.convert_to_mixed_precision = called
        for name in ("modelopt", "modelopt.onnx"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return calls

    return install


def half(full: Path, change: Callable[[onnx.ModelProto], None] = lambda model: None) -> Convert:
    """A conversion that gives the network exported in half, after some change."""

    def convert() -> onnx.ModelProto:
        model = onnx.load(full.with_name("half.onnx"))
        del model.metadata_props[:]  # as AutoCast does
        change(model)
        return model

    return convert


def test_what_it_is_asked_for_and_gives(full: Path, install: Install) -> None:
    calls = install(half(full))
    frame = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    made = autocast(full, full.with_name("new.onnx"), [frame, frame[::-1]])
    ((call),) = calls
    assert call["onnx_path"] == str(full)
    assert (call["low_precision_type"], call["keep_io_types"]) == ("fp16", True)
    assert call["nodes_to_exclude"] == ["/decode/.*"]
    ((name, picture),) = call["pictures"].items()
    assert (name, picture.shape, picture.dtype) == ("images", (1, 3, SIZE[1], SIZE[0]), np.float32)
    assert 0.1 < picture.mean() < 0.9
    assert not Path(call["calibration_data"]).exists()

    assert made.convolutions == made.in_float16 > 0
    assert (made.comparison.frames, made.real_frames) == (2, True)
    assert made.sha256 == sha256(made.path)
    with open_session(made.path) as session, open_session(full) as before:
        notes, old = session.metadata, before.metadata
    assert (notes["precision"], notes["weights"]) == ("fp16", "float16")
    assert notes["autocast_of"] == f"full.onnx {sha256(full)}"
    assert json.loads(notes["parity"])["scores"]["max"] == made.comparison.scores.max
    kept = old.keys() - {"precision", "weights", "parity"}
    assert {key: notes[key] for key in kept} == {key: old[key] for key in kept}
    assert logging.getLogger("modelopt.onnx.autocast").level == logging.WARNING


def test_synthetic_pictures(full: Path, install: Install) -> None:
    install(half(full))
    made = autocast(full, full.with_name("new.onnx"))
    assert (made.comparison.frames, made.real_frames) == (2, False)


def _decode_in_half(model: onnx.ModelProto) -> None:
    (cast,) = (n for n in model.graph.node if n.name == "/decode/Cast")
    for attribute in cast.attribute:
        attribute.i = onnx.TensorProto.FLOAT16


def _outputs_in_half(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def _other_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name.endswith("detection.1.weight"):
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float16(3), tensor.name))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_decode_in_half, ExportError, r"put decoding into float16: .*/decode/"),
        (_outputs_in_half, ExportError, "changed the outputs of the model"),
        (_other_weights, ParityError, r"outputs differ .*No model was written"),
    ],
)
def test_its_work_is_checked(
    change: Callable[[onnx.ModelProto], None],
    error: type[Exception],
    message: str,
    full: Path,
    install: Install,
) -> None:
    install(half(full, change))
    before = sorted(full.parent.iterdir())
    with pytest.raises(error, match=message):
        autocast(full, full.with_name("new.onnx"))
    assert sorted(full.parent.iterdir()) == before


def test_it_fails(full: Path, install: Install) -> None:
    def fail() -> onnx.ModelProto:
        raise KeyError("a tensor")

    install(fail)
    with pytest.raises(ExportError, match=r"AutoCast failed \(KeyError: 'a tensor'\); export"):
        autocast(full, full.with_name("new.onnx"))


def test_models_that_it_is_not_for(full: Path, install: Install) -> None:
    calls = install(half(full))
    with pytest.raises(ExportError, match="already has the precision fp16"):
        autocast(full.with_name("half.onnx"), full.with_name("new.onnx"))
    with pytest.raises(ExportError, match="is the model itself"):
        autocast(full, full)
    foreign = onnx.load(full)
    for node in foreign.graph.node:
        node.name = node.name.replace("/decode/", "/head/")
    onnx.save(foreign, full.with_name("foreign.onnx"))
    with pytest.raises(ExportError, match=r"has no nodes /decode/\.\.\., so it is not from jdetrt"):
        autocast(full.with_name("foreign.onnx"), full.with_name("new.onnx"))
    assert calls == []


@pytest.mark.parametrize("name", ["modelopt", "modelopt.onnx.autocast"])
def test_without_modelopt(name: str, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"nvidia-modelopt(.|\n)*jdetrt\[autocast\]"):
        autocast(full, full.with_name("new.onnx"))


def test_the_real_one(full: Path) -> None:
    pytest.importorskip(
        "modelopt.onnx.autocast",
        reason="needs NVIDIA ModelOpt: pip install 'jdetrt[autocast]'",
        exc_type=ImportError,
    )
    made = autocast(full, full.with_name("new.onnx"))
    assert made.in_float16 == made.convolutions
    assert made.bytes < full.stat().st_size
    onnx.checker.check_model(onnx.load(made.path), full_check=True)
