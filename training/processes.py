"""One process a device, as torchrun starts them; alone where it did not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from jdetrt.errors import ConfigError

__all__ = ["Processes", "processes", "share_of_total"]


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of the processes this is.

    Attributes:
        rank: of this process, from 0.
        world: how many there are.
        device: that this one computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and reports."""
        return self.rank == 0


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the other processes, if there are any.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"``: a GPU where there is one. With
            several processes each takes the GPU of its local rank.

    Raises:
        ConfigError: there is no such device.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = _device(device, local if world > 1 else None)
    if world == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, chosen)
    finally:
        distributed.destroy_process_group()


def share_of_total(count: Tensor) -> Tensor:
    """The mean of a count over all processes, for a loss that is a mean.

    Gradients are averaged over processes. A mean over what one process happens to have would give
    its own few as much weight as another's many; a sum divided by this average count gives the
    gradient of the mean over everything.
    """
    if not distributed.is_initialized():
        return count
    total = count.detach().clone().double()
    distributed.all_reduce(total)
    return (total / distributed.get_world_size()).to(count.dtype)


def _device(name: str, local: int | None) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise ConfigError(f"device '{name}': expected auto, cpu, cuda or cuda:N") from err
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device '{name}': torch {torch.__version__} sees no CUDA GPU here")
        index = local if local is not None else device.index or 0
        if index >= torch.cuda.device_count():
            raise ConfigError(f"device 'cuda:{index}': there are {torch.cuda.device_count()} GPUs")
        return torch.device("cuda", index)
    return device
