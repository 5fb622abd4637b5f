"""The frames chosen for a calibration: a file that says which, and shows if they are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from jdetrt import __version__, files
from jdetrt.calibration.frames.footage import Footage
from jdetrt.calibration.frames.json_file import read_json
from jdetrt.errors import CalibrationError
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Frame

__all__ = ["ChosenFrame", "FrameList"]

_FORMAT = 1
_Side = Annotated[int, Meta(ge=1, le=1 << 20)]


class ChosenFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One frame of a calibration.

    Attributes:
        source: the URI that it comes from.
        index: its number there, from 1.
        name: of the picture's file; "" in a video.
        sha256: of the picture's file; of a video's frame, of its pixels as they were decoded (which
            another version of FFmpeg may do otherwise).
        brightness: mean grey level, 0 to 255.
        people: how many a model saw, or None where none was asked.
    """

    source: str
    index: Annotated[int, Meta(ge=1)]
    name: str
    sha256: str
    brightness: float
    people: int | None = None


class FrameList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frames for a calibration, ordered by source and number.

    Attributes:
        format: of the file; 1.
        jdetrt_version: that chose them.
        seed: of the choice.
        asked: how many were wanted.
        network_size: width and height of the network that they were chosen for.
        frames: one or more.
        skipped: frames that could not be used, each with the reason.
        notes: what a user should know, such as that there are fewer than were wanted.
    """

    format: int = _FORMAT
    jdetrt_version: str = __version__
    seed: int
    asked: int
    network_size: tuple[_Side, _Side]
    frames: Annotated[tuple[ChosenFrame, ...], Meta(min_length=1)]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def sha256(self) -> str:
        """Stands for the pictures and their order, wherever their files lie."""
        text = "\n".join(frame.sha256 for frame in self.frames)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def read(cls, path: str | Path) -> FrameList:
        """Read a list that `write` wrote.

        Raises:
            CalibrationError: it cannot be read, or is no list of frames.
        """
        return read_json(
            path,
            cls,
            _FORMAT,
            foreign="is no list of calibration frames",
            older="is a list of format",
            again="choose the frames again",
        )

    def write(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all. Raises OutputError."""
        files.write_json(path, self)

    def verify(self) -> None:
        """Read every frame and compare it with its hash. Raises CalibrationError."""
        for _ in self.pictures():
            pass

    def pictures(self, start: int = 0) -> Iterator[Frame]:
        """Read the frames from number ``start`` of the list on, one in memory at a time.

        Raises:
            CalibrationError: a frame is not there any more, or is another than was chosen.
            SourceError: its source cannot be opened.
        """
        for uri, group in groupby(self.frames[start:], key=lambda frame: frame.source):
            yield from _read(Footage.open(uri), list(group))

    def batches(
        self, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Read the frames as the network takes them when it runs.

        Args:
            size: network width and height; by default those that the frames were chosen for.
            start: leaves out so many frames at the beginning of the list.

        Yields:
            ``(1, 3, height, width)`` float32, RGB, 0 to 1, letterboxed by
            `jdetrt.runtime.preprocess.letterbox`; a new array each.

        Raises:
            CalibrationError: a frame is not there any more, or is another than was chosen.
            SourceError: its source cannot be opened.
        """
        for frame in self.pictures(start):
            yield letterbox(frame.image, size or self.network_size)[0][np.newaxis]


def _read(footage: Footage, chosen: list[ChosenFrame]) -> Iterator[Frame]:
    """Read frames of one source; each must be the one that was chosen."""
    faults: list[str] = []
    waiting = {frame.index: frame for frame in chosen}
    with closing(footage.read(list(waiting), faults.append)) as frames:
        for frame in frames:
            wanted = waiting.pop(frame.index)
            if footage.digest(frame) != wanted.sha256:
                raise CalibrationError(
                    f"{footage.uri}: frame {frame.index} ({frame.name or 'of a video'}) is not the "
                    "one that was chosen: its SHA-256 is another; choose the frames again"
                )
            yield frame
    if waiting:
        reason = "; ".join(faults) or "it is not there any more"
        raise CalibrationError(
            f"{footage.uri}: frame {min(waiting)} was chosen and cannot be read: {reason}; choose "
            "the frames again"
        )
