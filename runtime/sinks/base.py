"""Sinks, which write tracks to files; results for those who watch a run.

A sink belongs to one stream; it writes to a temporary file beside its output. ``close`` gives it
its name, so that an output appears whole and what stood there before stays until then; ``discard``
removes it. A watcher belongs to the run: it gets each frame of every stream with its tracks and
times, once the sinks have it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from jdetrt.errors import OutputError
from jdetrt.files import atomic_folder, atomic_path
from jdetrt.types import Frame, Tracks

__all__ = ["FrameResult", "Output", "PendingFile", "Sink", "Watcher", "frames_kept"]

_Self = TypeVar("_Self", bound="Output")


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """A frame of a stream with its tracks and times, as it is finished.

    Attributes:
        stream: name of the stream, unique in its run.
        frame: its image (BGR) is read-only for watchers: a copy is theirs to draw on.
        tracks: those that are reported, boxes in pixels of the image.
        age: seconds from the capture of the frame to its result; None where the source is not live.
        stages: seconds that each stage took last, by name in the order of the flow.
    """

    stream: str
    frame: Frame
    tracks: Tracks
    age: float | None
    stages: Mapping[str, float]


# Called in the thread of the run, after the sinks: it must return at once and not raise.
Watcher = Callable[[FrameResult], None]


class Sink(Protocol):
    """Takes frames with their tracks, in order.

    Those of this package are also context managers: see `Output`.
    """

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write the tracks of one frame. Raises OutputError; the frames before are kept."""

    def close(self) -> None:
        """Complete the output; a second call does nothing. Raises OutputError."""

    def discard(self) -> None:
        """Leave no output, nor a trace of it; after ``close`` it does nothing."""


class Output(ABC):
    """Takes frames with their tracks, in order.

    As a context manager it is completed at the end of the block, and also when an error or Ctrl-C
    ends it after at least one frame; without a frame such an end discards it.

    Attributes:
        frames: number of frames that are written in full.
    """

    frames: int = 0

    @abstractmethod
    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write the tracks of one frame.

        Raises:
            OutputError: it cannot be written (full disk, closed sink). The frames before are kept:
                the sink is completed, and the message says how many they are.
        """

    @abstractmethod
    def close(self) -> None:
        """Complete the output; a second call does nothing. Raises OutputError."""

    @abstractmethod
    def discard(self) -> None:
        """Leave no output, nor a trace of it; after ``close`` it does nothing."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.close()
        elif self.frames:
            try:
                self.close()
            except OutputError:  # the error that ended the block is the one to hear of
                self.discard()
        else:
            self.discard()


class PendingFile:
    """A temporary file or folder beside ``path``: ``commit`` gives it its name, ``drop`` ends it.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, path: str | Path, *, folder: bool = False) -> None:
        self.path = Path(path)
        self._context = atomic_folder(self.path) if folder else atomic_path(self.path)
        self.temporary = self._context.__enter__()

    def commit(self) -> None:
        """Rename it to ``path``. Raises OutputError."""
        self._context.__exit__(None, None, None)

    def drop(self) -> None:
        """Delete it."""
        reason = OutputError("discarded")
        self._context.__exit__(OutputError, reason, None)


def frames_kept(count: int) -> str:
    """Part of a message.

    >>> frames_kept(1)
    '1 frame is kept'
    """
    return "1 frame is kept" if count == 1 else f"{count} frames are kept"
