"""Sizes of a checkpoint's network: the one it runs at, and the one its anchors belong to.

Anchors that follow from a size belong to the size of training, whatever the network runs at. This
is the one place that decides which size that is; all that runs, exports or compares checkpoints
asks here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from jdetrt.errors import ExportError
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.state_dict import CheckpointInfo
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.score_calibration import calibrate_for
from jdetrt.types import Size

__all__ = ["NetworkSizes", "load_sized", "needs_trained_size", "settle_sizes"]

_log = logging.getLogger(__name__)


class NetworkSizes(NamedTuple):
    """Width and height of the network input, and those whose anchors it has."""

    size: Size
    trained: Size


def needs_trained_size(network: JdeNetwork, info: CheckpointInfo) -> bool:
    """Tell whether a network's boxes depend on a size of training that its file does not record."""
    follows = network.body.boxes == "anchors" and info.config.anchors is None
    return follows and info.config.size is None


def load_sized(
    path: Path, size: tuple[int, int] | None = None, trained_size: tuple[int, int] | None = None
) -> tuple[JdeNetwork, CheckpointInfo, NetworkSizes]:
    """Read a whole network, settle its sizes, and calibrate its scores for the one it runs at.

    Args:
        path: any weight file that ``jdetrt.training.checkpoints.checkpoint.load`` reads.
        size: as for `settle_sizes`.
        trained_size: likewise.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError, ExportError: as `settle_sizes`.
    """
    network, info = checkpoint.load(path)
    sizes = settle_sizes(path, network, info, size, trained_size)
    calibrate_for(network, info.config.scores, sizes.size)
    return network, info, sizes


def settle_sizes(
    path: Path,
    network: JdeNetwork,
    info: CheckpointInfo,
    size: tuple[int, int] | None = None,
    trained_size: tuple[int, int] | None = None,
) -> NetworkSizes:
    """Settle both sizes of a checkpoint.

    The size of training is ``trained_size``; without it the recorded one; without that (the
    reference's files record none) ``size``, which is then said in the log. The network runs at
    ``size``, or else at the size of training.

    Args:
        path: the checkpoint, for messages.
        network: of the checkpoint.
        info: of the checkpoint.
        size: width and height of the network input, multiples of 32.
        trained_size: width and height at training.

    Raises:
        ConfigError: a width or height is not a multiple of 32.
        ExportError: the checkpoint is of a body alone, or there is no size.
    """
    recorded = info.config.size
    for one in (size, trained_size):
        if one is not None:
            grids(*one)
    trained = trained_size or recorded or size
    if trained is None:
        raise ExportError(
            f"{path}: does not record the size that it was trained at; give it, for example "
            "--trained-size 1088x608"
        )
    if not info.complete:
        raise ExportError(f"{path}: holds the body only (layers 0-74); train the network first")
    sizes = NetworkSizes(Size(*(size or trained)), Size(*trained))
    if needs_trained_size(network, info) and trained_size is None:
        _log.warning(
            "%s: does not record the size that it was trained at; its anchors are taken to be "
            "those of %s (if it was trained at another size, add --trained-size WxH)",
            path,
            sizes.trained,
        )
    elif trained_size is not None and recorded is not None and Size(*recorded) != sizes.trained:
        _log.warning(
            "%s: records that it was trained at %s; %s is used instead, as asked",
            path,
            Size(*recorded),
            sizes.trained,
        )
    return sizes
