"""Sizes of a checkpoint: which one the network runs at, and whose anchors it has."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, save_tiny

from jdetrt.config import NetworkConfig, ScoreScale
from jdetrt.errors import ConfigError, ExportError
from jdetrt.export.sizes import load_sized, needs_trained_size, settle_sizes
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.state_dict import CheckpointInfo
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.types import Size

HERE = Path("jde.pt")
OTHER = (64, 64)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JdeNetwork:
    save_tiny(tmp_path / "tiny.safetensors", monkeypatch)  # makes the body known
    return JdeNetwork("tiny", 16)


def info(size: tuple[int, int] | None, complete: bool = True) -> CheckpointInfo:
    return CheckpointInfo("reference", NetworkConfig(size=size), 1, complete=complete)


@pytest.mark.parametrize(
    ("recorded", "size", "trained", "expected"),
    [
        (SIZE, None, None, (SIZE, SIZE)),
        (SIZE, OTHER, None, (OTHER, SIZE)),
        (SIZE, OTHER, (576, 320), (OTHER, (576, 320))),
        (None, OTHER, None, (OTHER, OTHER)),
        (None, OTHER, SIZE, (OTHER, SIZE)),
        (None, None, SIZE, (SIZE, SIZE)),
    ],
)
def test_both_sizes(
    network: JdeNetwork,
    caplog: pytest.LogCaptureFixture,
    recorded: Size | None,
    size: Size | None,
    trained: Size | None,
    expected: object,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert settle_sizes(HERE, network, info(recorded), size, trained) == expected
    assumed = recorded is None and trained is None
    overruled = recorded is not None and trained is not None
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (assumed or overruled)
    assert ("taken to be those of 64x64" in caplog.text) == assumed
    assert ("records that it was trained at 128x96" in caplog.text) == overruled


def test_where_no_size_is_missing_nothing_is_assumed(network: JdeNetwork) -> None:
    assert needs_trained_size(network, info(None))
    assert not needs_trained_size(network, info(SIZE))
    assert not needs_trained_size(JdeNetwork("nanodet-g", 64), info(None))  # no anchors


def test_refused(network: JdeNetwork) -> None:
    with pytest.raises(ExportError, match="--trained-size"):
        settle_sizes(HERE, network, info(None))
    with pytest.raises(ExportError, match="body only"):
        settle_sizes(HERE, network, info(SIZE, complete=False))
    with pytest.raises(ConfigError, match="multiples of 32"):
        settle_sizes(HERE, network, info(SIZE), (100, 64))


def test_scores_are_calibrated_for_the_nearest_size(tmp_path: Path) -> None:
    network = random_network(0, "nanodet-g", 16)
    path = tmp_path / "n.safetensors"
    scales = (ScoreScale((64, 64), 2.0, 0.5), ScoreScale((256, 128), 3.0, -1.0))
    checkpoint.save(path, network, size=(64, 64), scores=scales)
    name = "levels.1.detection.2"
    weight, bias = (network.get_parameter(f"{name}.{kind}") for kind in ("weight", "bias"))
    for size, slope, offset in (((64, 96), 2.0, 0.5), ((224, 128), 3.0, -1.0)):
        found, info, sizes = load_sized(path, size)
        assert sizes.size == Size(*size)
        assert info.config.scores == scales
        torch.testing.assert_close(found.get_parameter(f"{name}.weight")[0], slope * weight[0])
        torch.testing.assert_close(found.get_parameter(f"{name}.bias")[0], slope * bias[0] + offset)
        assert torch.equal(found.get_parameter(f"{name}.weight")[1:], weight[1:])
    # For training it is loaded as it is.
    assert torch.equal(checkpoint.load(path)[0].get_parameter(f"{name}.bias"), bias)
