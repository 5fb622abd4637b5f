"""Facts read from a model file of any kind, against onnx and the checkpoint reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_tensorrt import RTX
from small_onnx import write_external_onnx, write_small_onnx

from jdetrt import inputs, shipped
from jdetrt.engine import model as model_module
from jdetrt.engine import onnx_file
from jdetrt.engine.model import Model
from jdetrt.engine.onnx_file import fingerprint
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.errors import CalibrationError, PlanMismatchError, SessionError
from jdetrt.file_kind import FileKind
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.model import random_network


@pytest.mark.parametrize("name", ["nano:576x320", "nano:864x480"])
def test_a_shipped_model(name: str) -> None:
    model = Model(name)
    truth = onnx.load(shipped.resolve(name))
    assert model.kind is FileKind.ONNX
    assert model.metadata == {entry.key: entry.value for entry in truth.metadata_props}
    shape = [dim.dim_value for dim in truth.graph.input[0].type.tensor_type.shape.dim]
    assert model.size is not None
    assert [1, 3, *model.size.shape] == shape
    assert str(model.size) == name.partition(":")[2]
    assert model.sha256 == inputs.sha256(model.path)


def test_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = random_network(0, body="nano")
    for size in (None, (64, 32)):
        checkpoint.save(path, network, size=size)
        model = Model(path)
        assert (model.kind, model.size) == (FileKind.CHECKPOINT, size)
        assert model.metadata["format"] == "jdetrt-checkpoint-1"
        assert model.sha256 == inputs.sha256(path)


def test_a_plan(install: Any, model: Path, tmp_path: Path) -> None:
    sidecar = build_plan(install(RTX), model, tmp_path / "a.plan")
    plan = Model(tmp_path / "a.plan")
    assert plan.kind is FileKind.PLAN
    assert plan.metadata == {**sidecar.metadata, "precision": sidecar.precision}
    height, width = sidecar.inputs[0].shape[2:]
    assert plan.size == (width, height)
    (tmp_path / "a.plan.json").unlink()
    with pytest.raises(PlanMismatchError, match="its sidecar"):
        _ = Model(tmp_path / "a.plan").metadata


def test_weights_in_another_file_count(tmp_path: Path) -> None:
    path = write_external_onnx(tmp_path / "model.onnx", "weights.bin")
    assert Model(path).files == (path, tmp_path / "weights.bin")
    assert Model(path).sha256 == fingerprint(path) != inputs.sha256(path)


def test_nothing_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(write_small_onnx(tmp_path / "model.onnx", note="value"))
    before = model.sha256, model.metadata, model.size

    def refuse(*arguments: Any) -> None:
        raise AssertionError(arguments)

    for name in ("fingerprint", "metadata", "input_shape"):
        monkeypatch.setattr(onnx_file, name, refuse)
    monkeypatch.setattr(model_module, "kind_of", refuse)
    assert (model.sha256, model.metadata, model.size) == before


@pytest.mark.parametrize("error", [SessionError, CalibrationError])
def test_faults_are_of_the_callers_kind(error: Any, tmp_path: Path) -> None:
    missing = Model(tmp_path / "none.onnx", error)
    for name in ("kind", "sha256", "metadata", "size"):
        with pytest.raises(error, match=r"none\.onnx: no such file"):
            getattr(missing, name)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\x08\x12\x7f")
    for name in ("metadata", "size"):
        with pytest.raises(error, match=r"damaged\.onnx: is not an ONNX model, or is cut short"):
            getattr(Model(damaged, error), name)
