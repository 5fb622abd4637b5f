"""Frame list: the frames chosen for a calibration, each with the hash that proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from jdetrt import __version__, files
from jdetrt.calibration.frames.scan import FrameSource
from jdetrt.documents import read_json
from jdetrt.errors import CalibrationError
from jdetrt.runtime.preprocess import letterbox
from jdetrt.runtime.sources.seqinfo import LAST_FRAME
from jdetrt.types import Frame

__all__ = ["ChosenFrame", "FrameList", "read_versioned"]

_FORMAT = 1
_Side = Annotated[int, Meta(ge=1, le=1 << 20)]


class ChosenFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One frame of a calibration.

    Attributes:
        source: the URI that it comes from.
        index: its number there, from 1.
        name: of the image's file; "" in a video.
        sha256: of the image's file; of a video's frame, of its pixels as they were decoded (which
            another version of FFmpeg may do otherwise).
        brightness: mean grey level, 0 to 255.
        people: how many a model detected, or None where none was asked.
    """

    source: str
    index: Annotated[int, Meta(ge=1, le=LAST_FRAME)]
    name: str
    sha256: str
    brightness: Annotated[float, Meta(ge=0.0, le=255.0)]
    people: Annotated[int, Meta(ge=0)] | None = None


class FrameList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frames for a calibration, ordered by source and number.

    Attributes:
        format: of the file; 1.
        jdetrt_version: that chose them.
        seed: of the choice.
        asked: how many were asked for.
        network_size: width and height of the network that they were chosen for.
        frames: one or more.
        skipped: frames that could not be used, each with the reason.
        notes: what a user should know, such as that there are fewer than were asked for.
    """

    format: int = _FORMAT
    jdetrt_version: str = __version__
    seed: int
    asked: Annotated[int, Meta(ge=1)]
    network_size: tuple[_Side, _Side]
    frames: Annotated[tuple[ChosenFrame, ...], Meta(min_length=1)]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def sha256(self) -> str:
        """Hash of the images and their order, wherever their files lie."""
        text = "\n".join(frame.sha256 for frame in self.frames)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def read(cls, path: str | Path) -> FrameList:
        """Read a list that `write` wrote.

        Raises:
            CalibrationError: it cannot be read, or is no list of frames.
        """
        return read_versioned(
            path, cls, _FORMAT, "a list of calibration frames", "choose the frames"
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
            yield from _read(FrameSource.open(uri), list(group))

    def batches(
        self, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Read the frames as the network takes them when it runs.

        Args:
            size: network width and height; by default those that the frames were chosen for.
            start: number of frames to leave out at the beginning of the list.

        Yields:
            ``(1, 3, height, width)`` float32, RGB, 0 to 1, letterboxed by
            `jdetrt.runtime.preprocess.letterbox`; a new array each.

        Raises:
            CalibrationError, SourceError: as in `pictures`.
        """
        for frame in self.pictures(start):
            yield letterbox(frame.image, size or self.network_size)[0][np.newaxis]


def _read(source: FrameSource, chosen: list[ChosenFrame]) -> Iterator[Frame]:
    """Read frames of one source; each must be the one that was chosen."""
    faults: list[str] = []
    waiting = {frame.index: frame for frame in chosen}
    with closing(source.read(list(waiting), faults.append)) as frames:
        for frame in frames:
            if source.digest(frame) != waiting.pop(frame.index).sha256:
                raise CalibrationError(
                    f"{source.uri}: frame {frame.index} ({frame.name or 'of a video'}) has changed "
                    "since it was chosen: its SHA-256 differs; choose the frames again"
                )
            yield frame
    if waiting:
        reason = "; ".join(faults) or "it no longer exists"
        raise CalibrationError(
            f"{source.uri}: frame {min(waiting)} was chosen but cannot be read: {reason}; choose "
            "the frames again"
        )


class _Versioned(Protocol):
    @property
    def format(self) -> int: ...


_T = TypeVar("_T", bound=_Versioned)


def read_versioned(path: str | Path, kind: type[_T], version: int, content: str, remedy: str) -> _T:
    """Read a JSON file of the calibration that `jdetrt.files.write_json` wrote.

    Args:
        path: the file.
        kind: its struct.
        version: the format that this jdetrt reads.
        content: the file in words, "a list of calibration frames".
        remedy: how to get a file of this format ("again" follows).

    Raises:
        CalibrationError: it cannot be read, is another file or of another format.
    """
    value = read_json(path, kind, CalibrationError, content)
    if value.format != version:
        raise CalibrationError(
            f"{path}: is {content} of format {value.format}, but this jdetrt reads format "
            f"{version}; "
            f"{remedy} again"
        )
    return value
