"""Processes of torchrun, one per device, or this one alone.

``DistributedDataParallel`` averages gradients. For them to equal those of one process, a mean loss
must be the mean over the data of all processes, not the mean of their means: see `total`, `mean`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from jdetrt.errors import ConfigError, TrainingError

__all__ = ["Processes", "is_first", "mean", "processes", "total"]

_PATIENCE = timedelta(hours=2)  # the other processes wait while the first one validates
# Threads of a broken group outlive it, and one that frees a tensor while Python ends aborts the
# process ("terminate called without an active exception"): seconds for them to free their tensors.
_LETTING_GO = 0.2


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all of them."""

    rank: int  # from 0
    world: int  # number of processes
    device: torch.device  # of this process

    @property
    def first(self) -> bool:
        """True for the process that writes files and reports."""
        return self.rank == 0


def is_first() -> bool:
    """Tell whether this is the first of torchrun's processes, or the only one."""
    return _number("RANK", 0) == 0


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the other processes, if there are any.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"``: a GPU where there is one. With
            several processes each takes the GPU of its local rank.

    Raises:
        ConfigError: there is no such device, or the others cannot be reached.
        TrainingError: another process has ended.
    """
    world = _number("WORLD_SIZE", 1)
    if world == 1:
        yield Processes(0, 1, _device(device, None))
        return
    chosen = _device(device, _number("LOCAL_RANK", 0))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as err:  # an address is missing, or nobody answers there
        raise ConfigError(
            f"the other processes ({world - 1}) cannot be reached ({err}); start with torchrun"
        ) from err
    try:
        yield Processes(distributed.get_rank(), world, chosen)
    except RuntimeError as err:
        if "gloo" in str(err) or isinstance(err, distributed.DistError):
            time.sleep(_LETTING_GO)
            raise TrainingError("another process has ended; its message says why") from err
        raise
    finally:
        distributed.destroy_process_group()


def total(values: Tensor) -> Tensor:
    """Sum over all processes, without a gradient."""
    values = values.detach().clone()
    if distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Mean over all processes, with the gradient of this one's values alone.

    So every process has the same loss, and the mean of their gradients is the loss's own.
    """
    apply: Callable[[Tensor], Tensor] = _Mean.apply
    return apply(values)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        return total(values) / world

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _number(name: str, default: int) -> int:
    """Read a setting of torchrun."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"environment: {name} is '{text}', expected a number as torchrun sets it")
    return int(text)


def _device(name: str, local: int | None) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise _unknown(name) from err
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise _unknown(name)
    if not torch.cuda.is_available():
        raise ConfigError(f"device '{name}': torch {torch.__version__} sees no CUDA GPU here")
    index = local if local is not None else device.index or 0
    if index >= torch.cuda.device_count():
        raise ConfigError(f"device 'cuda:{index}': there are {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", index)


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"device '{name}': expected auto, cpu, cuda or cuda:N")
