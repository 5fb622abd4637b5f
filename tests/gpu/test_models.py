"""The models of the tests on a GPU are what they should be; this needs no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.tensorrt import compat
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.runtime.detector import check_model


def test_the_three_precisions_nearly_agree(models: dict[str, Path]) -> None:
    picture = np.random.default_rng(0).random((1, 3, 64, 128), np.float32)
    outputs = {}
    for name, path in models.items():
        with OrtSession(path, provider="cpu", threads=1) as session:
            check_model(session)
            assert session.metadata["precision"] == name
            outputs[name] = session.infer({"images": picture})
    exact = outputs["fp32"]
    assert np.ptp(exact["scores"]) > 0.3  # the network tells cells apart
    for name, limit in (("fp16", 0.01), ("int8", 0.15)):
        for key in ("boxes", "scores"):
            difference = np.abs(outputs[name][key] - exact[key]).max()
            assert 0 < difference < limit, (name, key)


def test_tensorrt_takes_them(models: dict[str, Path], tmp_path: Path) -> None:
    """Parsed and compiled, strongly typed, by TensorRT-RTX, which needs no GPU for it."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    for name, model in models.items():
        built = build_plan(compat.load("tensorrt-rtx"), model, tmp_path / f"{name}.plan")
        assert built.precision.startswith(name)
