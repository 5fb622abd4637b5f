"""Memory in which the host and the GPU hand each other data."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from jdetrt.engine.cuda.api import Cuda, Stream, View, free_later
from jdetrt.types import Array

__all__ = ["Exchange"]


class Exchange:
    """Page-locked memory of the host and as much on the GPU; or one for both.

    Where the GPU shares the memory of the CPU, as on a Jetson, the page-locked memory is mapped for
    the GPU: then nothing is copied.

    Args:
        cuda: the GPU; its context is current.
        size: in bytes, at least 1.
        cleanup: frees it.

    Attributes:
        host: ``(size,)`` uint8.
        device: the same bytes for the GPU, after `upload` and before `download`.

    Raises:
        CudaMemoryError: there is not enough of either memory.
    """

    def __init__(self, cuda: Cuda, size: int, cleanup: ExitStack) -> None:
        self._cuda = cuda
        pinned = free_later(cleanup, cuda.pinned((size,), "uint8", mapped=cuda.integrated))
        self.host: Array = pinned.array
        address = pinned.address
        if not cuda.integrated:
            address = free_later(cleanup, cuda.buffer(size)).address
        self.device = View(address, size)

    @property
    def copies(self) -> bool:
        """False if `upload` and `download` have nothing to do."""
        return not self._cuda.integrated

    def upload(self, size: int, stream: Stream) -> None:
        """Enqueue the copy of the first ``size`` bytes to the GPU."""
        if self.copies:
            self._cuda.upload(self.device, self.host[:size], stream)

    def download(self, size: int, stream: Stream) -> None:
        """Enqueue the copy of the first ``size`` bytes from the GPU."""
        if self.copies:
            self._cuda.download(self.host[:size], self.device, stream)

    def array(self, offset: int, shape: tuple[int, ...], dtype: str) -> Array:
        """A part of the memory of the host as an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.host[offset : offset + size].view(dtype).reshape(shape)
