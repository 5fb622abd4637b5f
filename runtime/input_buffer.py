"""Input buffers: where the next images wait for the network.

For a session on the CPU a buffer is an array that the letterbox fills. A session on a GPU makes its
own buffers: an image is uploaded and letterboxed there while the network runs on the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.types import Array, Session

__all__ = [
    "ArrayBuffer",
    "BatchSession",
    "BufferedSession",
    "InputBuffer",
    "make_batch_buffers",
    "make_buffers",
]


class InputBuffer(Protocol):
    """Holds one image: filled, submitted, waited for, and filled again."""

    def fill(self, image: npt.NDArray[np.uint8]) -> Letterbox:
        """Take an image, from any thread; it may be changed once this has returned.

        Args:
            image: ``(H, W, 3)`` uint8, BGR.

        Raises:
            DataError: it is no such image.
            SessionError: the GPU refuses it.
        """

    def submit(self) -> None:
        """Start the network on it, or queue it behind others; then call the session's ``wait``."""


@runtime_checkable
class BufferedSession(Protocol):
    """Session that takes images as they are; beside ``jdetrt.types.Session``.

    Attributes:
        depth: buffers that may be submitted before the first of them is waited for.
    """

    depth: int

    def collect(self) -> dict[str, Array]:
        """Wait for the oldest run; its outputs are good until its buffer is submitted again."""

    def frame_buffers(self, size: tuple[int, int], count: int) -> Sequence[InputBuffer]:
        """Buffers that letterbox to ``size`` (width, height), for one user at a time."""


@runtime_checkable
class BatchSession(BufferedSession, Protocol):
    """Session that takes images of several buffers in one run.

    Attributes:
        largest_batch: images that one run takes at most.
    """

    largest_batch: int

    def batch_buffers(self, size: tuple[int, int], count: int) -> Sequence[InputBuffer]:
        """Buffers that letterbox to ``size`` (width, height), to be submitted together."""

    def submit_batch(self, buffers: Sequence[InputBuffer]) -> None:
        """Start the network on filled buffers; its outputs have their order."""


class ArrayBuffer:
    """Input buffer of a session that takes arrays.

    Args:
        session: a JDE model.
        size: width and height of the network input.

    Attributes:
        tensor: ``(1, 3, H, W)`` float32, the network input.
    """

    def __init__(self, session: Session, size: tuple[int, int]) -> None:
        self.tensor = np.empty((1, 3, size[1], size[0]), np.float32)
        self._session = session
        self._size = size

    def fill(self, image: npt.NDArray[np.uint8]) -> Letterbox:
        """Letterbox an image into the tensor."""
        return letterbox(image, self._size, out=self.tensor[0])[1]

    def submit(self) -> None:
        """Start the network on the tensor."""
        self._session.submit({self._session.inputs[0].name: self.tensor})


def make_buffers(session: Session, size: tuple[int, int], count: int) -> Sequence[InputBuffer]:
    """Make input buffers of the kind that a session takes."""
    if isinstance(session, BufferedSession):
        return session.frame_buffers(size, count)
    return [ArrayBuffer(session, size) for _ in range(count)]


def make_batch_buffers(
    session: Session, size: tuple[int, int], count: int
) -> Sequence[InputBuffer]:
    """Make input buffers whose images go to the network together, where the session takes that."""
    if not isinstance(session, BatchSession):
        return [ArrayBuffer(session, size) for _ in range(count)]
    if session.inputs[0].shape[0] == -1:
        return session.batch_buffers(size, count)
    return session.frame_buffers(size, count)
