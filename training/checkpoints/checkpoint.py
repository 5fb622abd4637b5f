"""Weight files: ours, the reference's and Darknet's, identified by their content.

Ours is a safetensors file with the network's configuration as JSON in its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from jdetrt import __version__, files
from jdetrt.config import AnyTrackerConfig, HeadAnchors, LabelConfig, NetworkConfig, ScoreScale
from jdetrt.documents import decode_json
from jdetrt.errors import CheckpointError, ConfigError
from jdetrt.file_check import check
from jdetrt.file_kind import CHECKPOINT_FORMAT, FileKind
from jdetrt.inputs import check_regular
from jdetrt.training.checkpoints.darknet_weights import read_darknet
from jdetrt.training.checkpoints.reference import read_reference
from jdetrt.training.checkpoints.state_dict import CheckpointInfo, bare_network, fill
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.model import JdeNetwork

__all__ = ["CheckpointInfo", "load", "save"]

_T = TypeVar("_T")


class _Training(msgspec.Struct, frozen=True):
    """Origin of the weights."""

    identities: int | None = None
    epoch: int | None = None


def load(path: str | Path) -> tuple[JdeNetwork, CheckpointInfo]:
    """Read a weight file of any known kind into a network, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, not a weight file, cut short or damaged, wants to
            run code, or holds another network.
    """
    path = Path(path)
    readers = {
        FileKind.CHECKPOINT: _read_own,
        FileKind.SAFETENSORS: _read_own,
        FileKind.TORCH: read_reference,
        FileKind.REFERENCE: read_reference,
        FileKind.DARKNET: read_darknet,
    }
    return readers[check(path, "export", CheckpointError)](path)


def save(
    path: str | Path,
    network: JdeNetwork,
    *,
    size: tuple[int, int] | None = None,
    anchors: tuple[HeadAnchors, HeadAnchors, HeadAnchors] | None = None,
    tracker: AnyTrackerConfig | None = None,
    label: LabelConfig | None = None,
    scores: tuple[ScoreScale, ...] = (),
    identities: int | None = None,
    epoch: int | None = None,
    half: bool = False,
) -> None:
    """Write a network as a checkpoint of ours, whole or not at all.

    Args:
        path: the file; ``.safetensors`` is the usual suffix.
        network: on any device.
        size: network width and height in training.
        anchors: where they do not follow from the size (`NetworkConfig`).
        tracker: settings that suit it (`NetworkConfig`).
        label: what it detects; None for people.
        scores: how they follow from its logits, by network size (`NetworkConfig`).
        identities: number of identities in training.
        epoch: epochs trained.
        half: store the weights of convolutions as float16, for a file of half the size; biases and
            batch norms stay float32. `load` gives float32 in any case.

    Raises:
        CheckpointError: with ``half``, a weight is more than float16 can hold.
        OutputError: the file cannot be written.
    """
    config = NetworkConfig(
        body=network.body_name,
        size=size,
        embedding_dim=network.embedding_dim,
        anchors=anchors,
        tracker=tracker,
        label=label,
        scores=scores,
    )
    metadata = {
        "format": CHECKPOINT_FORMAT,
        "jdetrt": __version__,
        "config": msgspec.json.encode(config).decode(),
        "training": msgspec.json.encode(_Training(identities, epoch)).decode(),
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    files.write_bytes(path, _in_order(safetensors.torch.save(tensors, metadata)))


def _in_order(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file, whose order is another in every process."""
    length = int.from_bytes(data[:8], "little")
    header = msgspec.json.decode(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _halved(name: str, tensor: Tensor) -> Tensor:
    """Round convolution weights, the only tensors with more than one axis, to float16."""
    if tensor.ndim < 2:
        return tensor
    rounded = tensor.half()
    if not torch.isfinite(rounded).all():
        raise CheckpointError(
            f"{name}: has a weight of {float(tensor.abs().max()):g}, more than float16 can hold; "
            "save it as float32"
        )
    return rounded


def _read_own(path: Path) -> tuple[JdeNetwork, CheckpointInfo]:
    check_regular(path, CheckpointError)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            config = _config(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as err:
        raise CheckpointError(
            f"{path}: is cut short or damaged ({path.stat().st_size} bytes: {err}); "
            "copy or download it again"
        ) from err
    try:
        network = bare_network(config.body, config.embedding_dim)
        if config.size is not None:
            grids(*config.size)
    except ConfigError as err:
        raise CheckpointError(f"{path}: {err}") from err
    fill(network, tensors, path, {})
    training = _decode(path, metadata, "training", _Training)
    return network, CheckpointInfo(
        kind="jdetrt",
        config=config,
        keys=len(tensors),
        identities=training.identities,
        epoch=training.epoch,
    )


def _config(path: Path, metadata: Mapping[str, str]) -> NetworkConfig:
    if (name := metadata.get("format")) != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: is {FileKind.SAFETENSORS.value}: its metadata has "
            f"{'no format' if name is None else f'the format {name!r}'}, "
            f"expected '{CHECKPOINT_FORMAT}'"
        )
    return _decode(path, metadata, "config", NetworkConfig)


def _decode(path: Path, metadata: Mapping[str, str], key: str, kind: type[_T]) -> _T:
    try:
        return decode_json(metadata.get(key, "{}"), kind)
    except ValueError as err:
        raise CheckpointError(f"{path}: '{key}' in its metadata: {err}") from err
