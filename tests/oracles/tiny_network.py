"""A JDE network with a body of a few thousand parameters, so that an export takes a moment."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jdetrt import shipped
from jdetrt.config import ExportConfig
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network import model
from jdetrt.training.network.layers import ConvBlock
from jdetrt.training.network.pyramid import Body

SIZE = (128, 96)  # 1008 candidates
EMBEDDING_DIM = 16


class TinyBody(Body):
    """Five convolutions from the image to /32."""

    channels = (8, 12, 16)
    widths = (8, 6, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            ConvBlock(3, 6, 3, 2), ConvBlock(6, 8, 3, 2), ConvBlock(8, 8, 3, 2)
        )
        self.second = ConvBlock(8, 12, 3, 2)
        self.third = ConvBlock(12, 16, 3, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps /8, /16 and /32."""
        first = self.first(images)
        second = self.second(first)
        return first, second, self.third(second)


def save_tiny(
    path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | None = SIZE
) -> Path:
    """Make the body known for the length of a test, and write a checkpoint that records a size."""
    monkeypatch.setattr(model, "BODIES", {**model.BODIES, "tiny": TinyBody})
    network = model.random_network(3, "tiny", EMBEDDING_DIM)
    generator = torch.Generator().manual_seed(4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(0, 0.1, generator=generator)
    checkpoint.save(path, network, size=size, identities=9)
    return path


def ship_tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ship it as "nano" for the length of a test: the checkpoint, and models of two sizes.

    That of 576x320, which is the one by default, is small in fact.
    """
    monkeypatch.setattr(shipped, "FOLDER", folder)
    source = save_tiny(folder / "nano.safetensors", monkeypatch)
    for name, size in (("576x320", SIZE), ("64x64", (64, 64))):
        export_onnx(source, folder / f"nano-{name}.onnx", ExportConfig(size=size, top_k=50))
    return folder
