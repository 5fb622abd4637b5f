"""NanoDet-g: its structure and weights give the published network's own numbers."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch

from jdetrt.errors import CheckpointError
from jdetrt.training.checkpoints.nanodet_weights import nanodet_weights, read_nanodet
from jdetrt.training.checkpoints.pretrained import start_from
from jdetrt.training.network.model import JdeNetwork, random_network

TEACHER = Path(__file__).parents[3] / "shared" / "teacher" / "nanodet-g-416.onnx"
MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # BGR
DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
Floats = npt.NDArray[np.float32]


def picture() -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (13, 13, 3)).repeat(32, 0).repeat(32, 1)
    return (0.7 * blocks + random.integers(0, 76, (416, 416, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> JdeNetwork:
    return random_network(0, "nanodet-g", 128)


def write_model(path: Path, network: JdeNetwork, classes: int = 80) -> None:
    """A model with the convolutions of a network, numbered as NanoDet-g's are, and no more.

    Those of the body come before the heads /8, /16 and /32; what is computed does not matter.
    """
    state = network.state_dict()
    names = [name for name in state if name.startswith("body.") and name.endswith(".weight")]
    for level in (2, 1, 0):
        names += [f"levels.{level}.detection.{layer}.weight" for layer in (0, 2)]
    nodes, weights = [], []
    for number, name in enumerate(names):
        kernel, bias = state[name].numpy(), state[name.replace("weight", "bias")].numpy()
        if ".detection.2." in name:
            other = np.full((classes - 1, *kernel.shape[1:]), 7.0, np.float32)
            kernel = np.concatenate([kernel[:1], other, kernel[1:]])
            bias = np.concatenate([bias[:1], np.full(classes - 1, 7.0, np.float32), bias[1:]])
        where = f"x/convolution_{number}" if number else "x/convolution"
        weights += [
            onnx.numpy_helper.from_array(kernel, f"{where}/w"),
            onnx.numpy_helper.from_array(bias, f"{where}/b"),
        ]
        nodes += [
            onnx.helper.make_node("Add", [f"{where}/t", f"{where}/b"], [f"{where}/a"]),
            onnx.helper.make_node("Transpose", [f"{where}/c"], [f"{where}/t"]),
            onnx.helper.make_node("Conv", ["in", f"{where}/w"], [f"{where}/c"]),
        ]
    graph = onnx.helper.make_graph(nodes[::-1], "g", [], [], weights)
    onnx.save(onnx.helper.make_model(graph), path)


def test_every_weight_finds_its_place(network: JdeNetwork, tmp_path: Path) -> None:
    write_model(tmp_path / "n.onnx", network)
    other = random_network(1, "nanodet-g", 128)
    found = nanodet_weights(other, tmp_path / "n.onnx")
    expected = network.state_dict()
    assert set(found) == {name for name in expected if not name.startswith("embedding.")}
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


def test_the_embedding_branch_stays(network: JdeNetwork, tmp_path: Path) -> None:
    write_model(tmp_path / "n.onnx", network)
    other = random_network(1, "nanodet-g", 128)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    start_from(other, str(tmp_path / "n.onnx"))
    same = {name for name, value in other.state_dict().items() if torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in same if name.endswith("weight")} == {"embedding"}


@torch.inference_mode()
def test_normalisation_is_absorbed(network: JdeNetwork, tmp_path: Path) -> None:
    write_model(tmp_path / "n.onnx", network)
    own, unit = random_network(1, "nanodet-g", 128), random_network(1, "nanodet-g", 128)
    own.load_state_dict(nanodet_weights(own, tmp_path / "n.onnx"), strict=False)
    read_nanodet(unit, tmp_path / "n.onnx")
    image = picture()
    normalised = ((image - MEAN) / DEVIATION).transpose(2, 0, 1)[None].astype(np.float32)
    rgb = image[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    first = own.body.get_submodule("stem.0")(torch.from_numpy(normalised))
    second = unit.body.get_submodule("stem.0")(torch.from_numpy(np.ascontiguousarray(rgb)))
    torch.testing.assert_close(second[..., 1:, 1:], first[..., 1:, 1:], rtol=1e-4, atol=1e-4)


def test_other_models_are_refused(network: JdeNetwork, tmp_path: Path) -> None:
    write_model(tmp_path / "n.onnx", network, classes=20)
    with pytest.raises(CheckpointError, match=r"levels\.2\.detection\.2"):
        nanodet_weights(network, tmp_path / "n.onnx")
    write_model(tmp_path / "n.onnx", network)
    model = onnx.load(tmp_path / "n.onnx")
    del model.graph.node[-3:]
    onnx.save(model, tmp_path / "n.onnx")
    with pytest.raises(
        CheckpointError, match="has 33 numbered convolutions with a bias, NanoDet-g"
    ):
        nanodet_weights(network, tmp_path / "n.onnx")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "n.onnx").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="no whole ONNX model"):
        nanodet_weights(network, tmp_path / "cut.onnx")


def test_weights_that_are_not_finite_are_refused(network: JdeNetwork, tmp_path: Path) -> None:
    damaged = random_network(0, "nanodet-g", 128)
    damaged.state_dict()["body.laterals.1.bias"][3] = float("nan")
    write_model(tmp_path / "n.onnx", damaged)
    with pytest.raises(CheckpointError, match=r"laterals\.1"):
        nanodet_weights(network, tmp_path / "n.onnx")


@pytest.mark.skipif(not TEACHER.is_file(), reason="shared/teacher is not there")
@torch.inference_mode()
def test_the_published_network_gives_the_same(network: JdeNetwork) -> None:
    own = random_network(0, "nanodet-g", 128)
    own.load_state_dict(nanodet_weights(own, TEACHER), strict=False)
    feed = ((picture() - MEAN) / DEVIATION).transpose(2, 0, 1)[None].astype(np.float32)
    session = ort.InferenceSession(TEACHER, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: feed})
    for number, head in enumerate(reversed(own(torch.from_numpy(feed)))):
        lines = head.detection[0].flatten(1).T
        scores, edges = outputs[number][0], outputs[number + 3][0]
        np.testing.assert_allclose(torch.sigmoid(lines[:, 0]), scores[:, 0], atol=1e-5)
        np.testing.assert_allclose(lines[:, 1:], edges, atol=1e-3)
        assert np.abs(edges).max() > 1
