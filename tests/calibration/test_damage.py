"""What a comparison says, against the outputs of the models and numbers worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_graphs import observed, run_onnx
from tiny_network import SIZE, save_tiny

from jdetrt.calibration.damage import Observer, Reference
from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
from jdetrt.config import ExportConfig
from jdetrt.errors import CalibrationError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.model import random_network
from jdetrt.types import Array

IMAGES = [letterbox(picture, SIZE)[0][None] for picture in synthetic_pictures(3, SIZE)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        source = save_tiny(folder / "tiny.safetensors", patch)
        export_onnx(source, folder / "model.onnx", ExportConfig(top_k=1008))
    return onnx.load(folder / "model.onnx")


def changed(model: onnx.ModelProto, name: str, change: Array) -> onnx.ModelProto:
    """Add something to a stored tensor."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (tensor,) = (t for t in copy.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor) + change
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return copy


def test_what_is_observed_is_what_the_model_gives(tiny: onnx.ModelProto) -> None:
    observer = Observer(tiny, 1)
    maps = observer.run(IMAGES[0])
    boxes, scores, embeddings = run_onnx(tiny, IMAGES[0])
    best = np.argsort(-maps.margins, kind="stable")
    np.testing.assert_allclose(1 / (1 + np.exp(-maps.margins[best])), scores[0], atol=1e-6)
    np.testing.assert_allclose(observer.boxes(maps, best), boxes[0], atol=1e-3)
    cells = maps.embeddings[:, observer.cells[best]]
    np.testing.assert_allclose((cells / np.linalg.norm(cells, axis=0)).T, embeddings[0], atol=1e-5)


def test_a_model_against_itself(tiny: onnx.ModelProto) -> None:
    reference = Reference(tiny, IMAGES, 1)
    closeness, pairs = reference.compare(tiny)
    assert closeness.people == reference.people == len(pairs.iou) > 0
    assert closeness.iou == closeness.agreement == 1
    assert closeness.score == 0
    assert closeness.cosine == pytest.approx(1, abs=1e-6)
    assert closeness.damage == pytest.approx(0, abs=1e-6)


def test_boxes_that_are_shifted(tiny: onnx.ModelProto) -> None:
    """A tenth of its anchor to the right: of equal boxes 0.9 / 1.1 is shared."""
    shift = np.zeros((4, 6), np.float32)
    shift[:, 0] = 0.1
    other = tiny
    for level in range(3):
        other = changed(other, f"network.levels.{level}.detection.1.bias", shift.reshape(-1))
    reference = Reference(tiny, IMAGES, 1)
    closeness, pairs = reference.compare(other)
    # Boxes of an untrained network are about as large as their anchors.
    assert closeness.iou == pytest.approx(0.9 / 1.1, abs=0.05)
    assert closeness.score == pytest.approx(0, abs=1e-6)
    assert closeness.cosine == pytest.approx(1, abs=1e-6)
    assert closeness.damage == pytest.approx(1 - closeness.iou, abs=1e-5)
    np.testing.assert_array_equal(pairs.scores[:, 0], pairs.scores[:, 1])


def test_scores_that_rise(tiny: onnx.ModelProto) -> None:
    rise = np.zeros((4, 6), np.float32)
    rise[:, 5] = 1.0
    other = tiny
    for level in range(3):
        other = changed(other, f"network.levels.{level}.detection.1.bias", rise.reshape(-1))
    closeness, pairs = Reference(tiny, IMAGES, 1).compare(other)
    before, after = pairs.scores.T.astype(np.float64)
    np.testing.assert_allclose(np.log(after / (1 - after)), 1 + np.log(before / (1 - before)), 1e-3)
    assert closeness.score == pytest.approx((after - before).mean(), rel=1e-5)
    assert closeness.iou == 1


def test_embeddings_that_change(tiny: onnx.ModelProto) -> None:
    other = tiny
    for level in range(3):
        bias = f"network.levels.{level}.embedding.bias"
        other = changed(other, bias, np.eye(16, dtype=np.float32)[0])
    closeness, pairs = Reference(tiny, IMAGES, 1).compare(other)
    assert closeness.iou == closeness.agreement == 1
    assert closeness.cosine == pytest.approx(float(np.median(pairs.cosine)))
    assert closeness.mean_cosine == pytest.approx(float(pairs.cosine.mean()))
    assert closeness.mean_cosine < 0.999


def test_a_network_that_is_sure_of_nobody(tiny: onnx.ModelProto) -> None:
    fall = np.zeros((4, 6), np.float32)
    fall[:, 4] = 30.0
    other = tiny
    for level in range(3):
        other = changed(other, f"network.levels.{level}.detection.1.bias", fall.reshape(-1))
    assert Reference(tiny, IMAGES, 1).confident
    reference = Reference(other, IMAGES, 1)
    assert not reference.confident
    assert reference.people == 3 * 20
    assert reference.compare(other).closeness.agreement == 1


def test_quantised_models_are_close(tiny: onnx.ModelProto) -> None:
    reference = Reference(tiny, IMAGES, 1)
    scales = observed(tiny, tensors_to_quantise(tiny), IMAGES[0])
    fine = reference.compare(quantise(tiny, scales)).closeness
    cpu = reference.compare(quantise(tiny, scales, layout="onnxruntime")).closeness
    for closeness in (fine, cpu):
        assert 0.9 < closeness.iou < 1
        assert 0.98 < closeness.cosine < 1


def test_refused(tiny: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="to compare on"):
        Reference(tiny, [])
    headless = onnx.ModelProto()
    headless.CopyFrom(tiny)
    (top_k,) = (node for node in headless.graph.node if node.op_type == "TopK")
    headless.graph.node.remove(top_k)
    with pytest.raises(CalibrationError, match="does not end like one from jdetrt export"):
        Observer(headless)
    broken = changed(tiny, "network.levels.0.detection.1.bias", np.full(24, np.nan, np.float32))
    with pytest.raises(CalibrationError, match="NaN or infinite"):
        Reference(broken, IMAGES, 1)


def test_embeddings_that_are_read_from_boxes(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "n.safetensors", random_network(0, "nanodet-g", 16), size=(96, 64))
    export_onnx(tmp_path / "n.safetensors", tmp_path / "n.onnx", ExportConfig(top_k=100))
    model = onnx.load(tmp_path / "n.onnx")
    image = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    observer = Observer(model, 1)
    maps = observer.run(image)
    boxes, scores, embeddings = run_onnx(model, image)
    best = np.argsort(-maps.margins, kind="stable")[:100]
    np.testing.assert_allclose(1 / (1 + np.exp(-maps.margins[best])), scores[0], atol=1e-6)
    np.testing.assert_allclose(observer.boxes(maps, best), boxes[0], atol=1e-3)
    np.testing.assert_allclose(maps.embeddings[:, observer.cells[best]].T, embeddings[0], atol=1e-4)
    assert np.count_nonzero(maps.embeddings.any(axis=0)) == 100
    assert observer.boxes(maps, best[:0]).shape == (0, 4)  # of a frame without people
    closeness, _ = Reference(model, [image], 1).compare(model)
    assert closeness.damage == pytest.approx(0, abs=1e-6)
