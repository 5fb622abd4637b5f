"""Named tensors for a network: check them and load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jdetrt.config import NetworkConfig
from jdetrt.errors import CheckpointError
from jdetrt.training.network.model import JdeNetwork

__all__ = ["CheckpointInfo", "bare_network", "fill", "fitting"]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """Facts about a weight file."""

    # "jdetrt" (safetensors), "reference" (the reference's .pt), "darknet" (all layers) or
    # "darknet-body" (layers 0-74, darknet53.conv.74).
    kind: str
    config: NetworkConfig  # with the size of training where it is recorded
    keys: int  # tensors in the file (Darknet: in the network)
    identities: int | None = None  # of the classifier in training, where it is known
    epoch: int | None = None
    complete: bool = True  # False if some layers have random weights


def bare_network(body: str, embedding_dim: int) -> JdeNetwork:
    """Make a network whose weights take no memory until `fill` sets them."""
    with torch.device("meta"):
        return JdeNetwork(body, embedding_dim).eval()


def fill(
    network: JdeNetwork, tensors: Mapping[str, object], path: Path, stored: Mapping[str, str]
) -> None:
    """Load tensors into a network of `bare_network`; arguments and errors as of `fitting`."""
    what = (
        f"a JDE network with body '{network.body_name}' and embeddings of {network.embedding_dim}"
    )
    network.load_state_dict(fitting(network, tensors, path, what, stored), assign=True)


def fitting(
    module: nn.Module,
    tensors: Mapping[str, object],
    path: Path,
    what: str,
    stored: Mapping[str, str],
) -> dict[str, Tensor]:
    """Check tensors against a module, and convert them to float32.

    Batch counters (``num_batches_tracked``) may be missing: old files have none, and the outputs
    do not depend on them.

    Args:
        module: with or without values.
        tensors: by the module's own names.
        path: the file that they came from, for messages.
        what: the module, for messages, to follow "those of".
        stored: names in the file where they differ, for messages.

    Returns:
        All of the module's tensors by name.

    Raises:
        CheckpointError: tensors are missing, unexpected, of another shape, no plain arrays of
            floating-point numbers (counters: of integers), or not finite as float32; or a variance
            is negative.
    """
    expected = module.state_dict()
    filled: dict[str, Tensor] = {}
    missing, misshaped, unusable, infinite, negative = [], [], [], [], []
    for name, want in expected.items():
        have = tensors.get(name)
        shown = stored.get(name, name)
        if have is None and name.endswith("num_batches_tracked"):
            filled[name] = torch.zeros((), dtype=torch.int64)
        elif have is None:
            missing.append(shown)
        elif not isinstance(have, Tensor):
            misshaped.append(f"{shown} is {type(have).__name__}, not a tensor")
        elif not _is_dense(have):
            unusable.append(f"{shown} is sparse, quantised or without values")
        elif have.shape != want.shape:
            misshaped.append(f"{shown} is {_shape(have)}, expected {_shape(want)}")
        elif have.dtype not in (_FLOATS if want.is_floating_point() else _INTEGERS):
            unusable.append(f"{shown} is {str(have.dtype).removeprefix('torch.')}")
        else:
            filled[name] = value = have.detach().to(want.dtype).contiguous()
            if not torch.isfinite(value).all():
                infinite.append(shown)
            elif name.endswith("running_var") and (value < 0).any():
                negative.append(shown)
    unexpected = [stored.get(name, name) for name in tensors if name not in expected]
    faults = [
        f"{len(names)} tensors {what}: {_some(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
            ("not plain arrays of floating-point numbers (counters: of integers)", unusable),
            ("with NaN or infinite values (as float32)", infinite),
            ("with negative variances", negative),
        )
        if names
    ]
    if faults:
        raise CheckpointError(f"{path}: its weights are not those of {what}: {'; '.join(faults)}")
    return filled


def _is_dense(tensor: Tensor) -> bool:
    strided = tensor.layout == torch.strided and not tensor.is_nested
    return strided and not tensor.is_quantized and tensor.device.type != "meta"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
