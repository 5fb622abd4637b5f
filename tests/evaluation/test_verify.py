"""Two sessions on the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_network import SIZE, save_tiny

from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.errors import SessionError
from jdetrt.evaluation.agreement import verify
from jdetrt.evaluation.tolerance import LIMITS, precision_of
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.torch_session import open_checkpoint
from jdetrt.runtime.preprocess import letterbox
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Frame

pytestmark = pytest.mark.usefixtures("one_thread")


def frames(count: int = 3) -> list[Frame]:
    random = np.random.default_rng(3)
    pictures = random.integers(0, 256, (count, 9, 11, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    return [Frame(picture, index) for index, picture in enumerate(pictures, start=1)]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def test_half_against_float_against_torch(tiny: Path, tmp_path: Path) -> None:
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    export_onnx(tiny, full, ExportConfig(top_k=200))
    export_onnx(tiny, half, ExportConfig(top_k=150, precision="fp16", dynamic_batch=True))
    with open_session(full) as first, open_session(half) as second, open_checkpoint(tiny) as torch:
        assert precision_of(first, torch) == "fp32"
        assert precision_of(first, second) == precision_of(second, first) == "fp16"
        same = verify(torch, first, frames(), score_threshold=0.0)
        assert (same.frames, same.unmatched) == (3, 0.0)
        # The checkpoint gives all 1008 candidates, the model 200: each of these has its partner.
        assert same.pairs == 3 * 200
        assert same.boxes_px.max < 1e-3
        assert same.scores.max < 1e-5
        near = verify(second, first, frames(), score_threshold=0.0)
        assert near.pairs >= 3 * 149
        assert same.scores.max < near.scores.max < 1e-3
        assert near.faults(LIMITS["fp16"]) == []


def test_a_model_that_is_off_does_not_agree(tiny: Path, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.onnx", tmp_path / "wrong.onnx"
    export_onnx(tiny, right, ExportConfig(top_k=200))
    model = onnx.load(right)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("embedding.weight"):
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), tensor.name))
    onnx.save(model, wrong)
    with open_session(right) as first, open_session(wrong) as second:
        found = verify(second, first, frames(), score_threshold=0.0)
    assert found.boxes_px.max < 1e-3
    median, few = found.faults(LIMITS["int8"])
    assert median.startswith("median cosine of the embeddings is")
    assert few.startswith("5th-percentile cosine of the embeddings is")


def test_both_see_the_same_letterboxed_picture() -> None:
    seen: list[Array] = []

    def give(feeds: Mapping[str, Array]) -> dict[str, Array]:
        seen.append(feeds["images"].copy())
        boxes = np.array([[[0, 0, 10, 30]]], np.float32)
        return {"boxes": boxes, "scores": np.array([[0.9]], np.float32)}

    with FakeSession(give, size=SIZE) as one, FakeSession(give, size=SIZE) as other:
        found = verify(one, other, iter(frames(2)))
    assert (found.frames, found.pairs, found.cosine_median) == (2, 2, None)
    for number, frame in enumerate(frames(2)):
        want = letterbox(frame.image, SIZE)[0][None]
        for images in seen[2 * number : 2 * number + 2]:
            np.testing.assert_array_equal(images, want)


def test_two_sizes() -> None:
    one, other = FakeSession([], size=(64, 32)), FakeSession([], size=(128, 96))
    with pytest.raises(SessionError, match=r"of 64x32, .* 128x96"):
        verify(one, other, frames())
