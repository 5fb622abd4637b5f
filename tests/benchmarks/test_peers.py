"""Models beside free detectors: a NanoDet file is read rightly, and what is counted is right."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from jdetrt.benchmarks import peers
from jdetrt.errors import ConfigError, SessionError
from jdetrt.export.distance_decode import DistanceDecode
from jdetrt.runtime.decode import nms
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.testing import FakeSession
from jdetrt.training.network.box_embedding import BoxEmbedding
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.types import Array

SIDE = 96


def one_person(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {
        "boxes": np.array([[[20, 10, 40, 60]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
    }


class Published(nn.Module):
    """Outputs in NanoDet's form: scores of 80 classes and logits of edges, strides 8, 16, 32."""

    def __init__(self, network: JdeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        heads = [h.detection.flatten(2).transpose(1, 2) for h in reversed(self.network(images))]
        classes = [torch.cat([h[..., :1].sigmoid(), 0 * h[..., :1] + 0.9], dim=2) for h in heads]
        return (*classes, *(h[..., 1:] for h in heads))


@pytest.fixture(scope="module")
def network() -> JdeNetwork:
    return random_network(0, "nanodet-g", 16)


@pytest.fixture(scope="module")
def nanodet(network: JdeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peers") / "nanodet.onnx"
    images = (torch.zeros(1, 3, SIDE, SIDE),)
    torch.onnx.export(Published(network).eval(), images, path, dynamo=False, opset_version=17)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nanodet_is_decoded_as_our_own_body_is(network: JdeNetwork, nanodet: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE // 2, SIDE, 3), np.uint8)
    found = peers.NanoDet(nanodet)(image)
    canvas = np.full((SIDE, SIDE, 3), 114, np.float32)
    canvas[: SIDE // 2] = image
    blob = ((canvas - peers.NanoDet.mean) / peers.NanoDet.deviation).transpose(2, 0, 1)[None]
    assert isinstance(network.embedding, BoxEmbedding)
    with torch.inference_mode():
        decode = DistanceDecode((SIDE, SIDE), 189, network.embedding.reader)
        every = decode(network(torch.from_numpy(np.ascontiguousarray(blob))))
    boxes, scores = every.boxes[0].numpy(), every.scores[0].numpy()
    boxes = boxes.clip(0, [SIDE, SIDE // 2] * 2)[scores > 0.05]
    scores = scores[scores > 0.05]
    chosen = nms(boxes.astype(np.float32), scores, 0.5)
    assert 1 <= len(found) == len(chosen)
    np.testing.assert_allclose(found.boxes, boxes[chosen], atol=1e-3)
    np.testing.assert_allclose(found.scores, scores[chosen], atol=1e-5)


def test_an_image_without_people(nanodet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_LEAST", 0.9)  # more than random weights give
    assert len(peers.NanoDet(nanodet)(np.zeros((SIDE, SIDE, 3), np.uint8))) == 0


def test_another_model_is_no_nanodet(tmp_path: Path) -> None:
    spec = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [spec], [out])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m")
    with pytest.raises(SessionError, match="is not a NanoDet"):
        peers.NanoDet(tmp_path / "m")


def test_rows_of_models_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackers")
    fake = FakeSession(one_person, size=(128, 64))
    monkeypatch.setattr(peers, "open_session", lambda model, **_: fake)
    clip = write_sequence(tmp_path / "clip", SyntheticClip(frames=4, size=(160, 90), people=2))
    (clip / "det").mkdir(exist_ok=True)
    truth = [line.split(",") for line in (clip / "gt" / "gt.txt").read_text().splitlines()]
    rows = "".join(",".join([row[0], "-1", *row[2:6], "0.9"]) + "\n" for row in truth)
    (clip / "det" / "det.txt").write_text(rows)
    result = peers.measure_peers(clip, ["m.onnx"], hog=False)
    by_name = {(row.detector, row.tracker): row for row in result.rows}
    assert set(by_name) == {
        ("m.onnx", "trackers ByteTrack"),
        ("m.onnx", "jdetrt fused"),
        ("public detections", "trackers ByteTrack"),
    }
    public = by_name["public detections", "trackers ByteTrack"]
    assert public.fps is None
    assert public.ap50 == pytest.approx(1.0)  # its boxes are the ground truth
    own = by_name["m.onnx", "jdetrt fused"]
    assert own.fps is not None
    assert own.fps > 0
    assert own.ap50 == by_name["m.onnx", "trackers ByteTrack"].ap50 < 0.5
    with pytest.raises(ConfigError, match="name a model"):
        peers.measure_peers(clip, [])
