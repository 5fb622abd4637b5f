"""A source whose frames are asked for by number, and which goes on where one of them is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from pathlib import Path

from jdetrt import files
from jdetrt.errors import CalibrationError, SourceError
from jdetrt.runtime.sources.images import read_picture
from jdetrt.runtime.sources.open import open_source, picture_paths
from jdetrt.types import Frame

__all__ = ["Fault", "Footage"]

Fault = Callable[[str], None]  # is told, in words, of a frame that cannot be read


@dataclass(frozen=True, slots=True)
class Footage:
    """The frames of a video, a folder of pictures, a MOT sequence or a pattern.

    Pictures of a folder are read one by one and may be of different sizes: each is letterboxed on
    its own.

    Attributes:
        uri: as it was given.
        paths: the pictures, in order; empty for a video.
    """

    uri: str
    paths: tuple[Path, ...]

    @classmethod
    def open(cls, uri: str | Path) -> Footage:
        """Find out what a source is.

        Raises:
            SourceError: there is no such source, or nothing in it.
            CalibrationError: it is a camera, whose frames cannot be read a second time.
        """
        paths = picture_paths(uri)
        if not paths:
            with open_source(uri) as source:
                if source.live:
                    raise CalibrationError(
                        f"{source.uri}: a camera's frames cannot be read again; record a clip "
                        f"with: jdetrt track {source.uri} --video clip.mp4, or by other means"
                    )
        return cls(str(uri), paths)

    def read(self, numbers: Collection[int] | None, fault: Fault) -> Generator[Frame, None, None]:
        """Read frames, each only when it is asked for.

        Args:
            numbers: of the frames, from 1, at least one; None for all.
            fault: told of each picture that cannot be read, and of a video that breaks off.
        """
        if self.paths:
            yield from self._pictures(numbers, fault)
        else:
            yield from self._video(numbers, fault)

    def digest(self, frame: Frame) -> str:
        """SHA-256 of a picture's file, or of a video's frame as it was decoded.

        Raises:
            OSError: the file is gone.
        """
        if self.paths:
            return files.sha256(self.paths[frame.index - 1])
        return hashlib.sha256(frame.image.data).hexdigest()

    def _pictures(
        self, numbers: Collection[int] | None, fault: Fault
    ) -> Generator[Frame, None, None]:
        for number in range(1, len(self.paths) + 1) if numbers is None else sorted(numbers):
            if not 1 <= number <= len(self.paths):
                fault(f"{self.uri}: has {len(self.paths)} pictures, and so no number {number}")
                continue
            path = self.paths[number - 1]
            try:
                image = read_picture(path)
            except SourceError as err:
                fault(str(err))
                continue
            yield Frame(image, number, None, path.name)

    def _video(self, numbers: Collection[int] | None, fault: Fault) -> Generator[Frame, None, None]:
        wanted = None if numbers is None else frozenset(numbers)
        last = None if wanted is None else max(wanted)
        index = 0
        try:
            with open_source(self.uri) as source:
                for frame in source:
                    index = frame.index
                    if wanted is None or index in wanted:
                        yield frame
                    if index == last:
                        return
        except SourceError as err:
            fault(str(err))
            return
        if last is not None:
            fault(f"{self.uri}: ends after frame {index}, and so has no number {last}")
