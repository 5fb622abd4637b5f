"""What ModelOpt is asked for and what of it is taken, with a stand-in for it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from small_graphs import FixedScales, graph, run_onnx

from jdetrt.calibration.modelopt import quantise_with_modelopt
from jdetrt.calibration.quantize.qdq import quantise
from jdetrt.errors import CalibrationError, MissingDependencyError

Change = Callable[[onnx.ModelProto], None]


class Pictures:
    """Three frames."""

    sha256 = "abc"

    def __len__(self) -> int:
        return 3

    def batches(
        self, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        for i in range(start, 3):
            yield np.full((1, 3, 8, 8), i / 2, np.float32)


def small() -> onnx.ModelProto:
    constants = {
        "w1": np.full((2, 3, 1, 1), 0.25, np.float32),
        "w2": np.full((1, 2, 1, 1), 0.5, np.float32),
        "half": np.array(0.5, np.float32),
    }
    return graph(
        [
            ("Conv", "/a.b/first", ["images", "w1"], "c1", {}),
            ("Conv", "second", ["c1", "w2"], "c2", {}),
            ("Mul", "/decode/Mul", ["c2", "half"], "boxes", {}),
        ],
        constants,
        ["boxes"],
    )


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in that quantises as we do; ``change`` may spoil it, ``fail`` makes it fail."""
    given: dict[str, Any] = {}

    def quantize(**wanted: Any) -> None:
        given.update(wanted)
        if "fail" in given:
            raise given["fail"]
        model = quantise(onnx.load(wanted["onnx_path"]), FixedScales({}, 2.0))
        given.get("change", lambda _: None)(model)
        onnx.save(model, wanted["output_path"])

    for name in ("modelopt", "modelopt.onnx", "modelopt.onnx.quantization"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["modelopt.onnx.quantization"].quantize = quantize  # type: ignore[attr-defined]
    onnx.save(small(), tmp_path / "model.onnx")
    return given


def test_what_is_asked_for_and_written(asked: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    quantise_with_modelopt(
        tmp_path / "model.onnx", output, Pictures(), method="max", leave_out=["*/first"]
    )
    assert asked["calibration_data"]["images"].shape == (3, 3, 8, 8)
    assert asked["calibration_data"]["images"][2].max() == 1.0
    assert asked["nodes_to_exclude"] == [r"/a\.b/first$", r"/decode/Mul$"]
    assert (asked["calibration_method"], asked["calibration_eps"]) == ("max", ["cpu"])
    assert asked["high_precision_dtype"] == "fp32"
    model = onnx.load(output)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "precision": "int8",
        "int8_layout": "modelopt",
        "int8_float_layers": "/a.b/first",
        "calibration": "max of ModelOpt, 3 frames, sha256 abc",
    }
    run_onnx(model, np.zeros((1, 3, 8, 8), np.float32))


def replace(name: str, values: npt.NDArray[Any]) -> Change:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return change


def plain(model: onnx.ModelProto) -> None:
    model.CopyFrom(small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("images/scale", np.array(0.1, np.float16)), "a scale that is not float32"),
        (replace("images/zero_point", np.array(128, np.uint8)), "zero point other than int8 0"),
        (replace("images/zero_point", np.array(3, np.int8)), "zero point other than int8 0"),
        (plain, "ModelOpt quantised nothing"),
    ],
)
def test_what_tensorrt_would_refuse(
    change: Change, message: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    asked["change"] = change
    with pytest.raises(CalibrationError, match=message):
        quantise_with_modelopt(tmp_path / "model.onnx", tmp_path / "int8.onnx", Pictures())
    assert not (tmp_path / "int8.onnx").exists()


def test_it_fails_or_is_missing(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked["fail"] = RuntimeError("no GPU")
    with pytest.raises(CalibrationError, match=r"model.onnx: ModelOpt failed: no GPU"):
        quantise_with_modelopt(tmp_path / "model.onnx", tmp_path / "int8.onnx", Pictures())
    monkeypatch.setitem(sys.modules, "modelopt", None)
    monkeypatch.delitem(sys.modules, "modelopt.onnx.quantization")
    with pytest.raises(MissingDependencyError, match="nvidia-modelopt"):
        quantise_with_modelopt(tmp_path / "model.onnx", tmp_path / "int8.onnx", Pictures())
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
