"""Annotated images in a folder."""

from __future__ import annotations

import re
from pathlib import Path

from jdetrt.errors import OutputError
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.sinks.base import Output, PendingFile, frames_kept
from jdetrt.runtime.sinks.painter import Overlay, Painter
from jdetrt.types import Frame, Tracks

__all__ = ["FramesSink"]


class FramesSink(Output):
    """Annotated images in a folder, named by frame number: tracked-000001.jpg.

    They are written to a temporary folder beside it. At the end it takes the place of ``folder``,
    which may hold images of an earlier run and nothing else.

    Args:
        folder: its parent is made.
        suffix: ``.jpg`` or ``.png``.
        trail_length: frames of the trail behind each person; 0 for none.
        overlay: draws more on each frame.
        name: of the class of the tracks, before each id; empty for people.

    Raises:
        OutputError: another suffix; ``folder`` is a file, holds other files or cannot be made.
    """

    def __init__(
        self,
        folder: str | Path,
        suffix: str = ".jpg",
        *,
        trail_length: int = 30,
        overlay: Overlay | None = None,
        name: str = "",
    ) -> None:
        if suffix not in (".jpg", ".png"):
            raise OutputError(f"{folder}: expected images ending in .jpg or .png, got '{suffix}'")
        self._cv2 = load_cv2()
        self._folder = Path(folder)
        self._suffix = suffix
        self._paint = Painter(trail_length, overlay, name)
        _refuse_foreign(self._folder)
        self._pending: PendingFile | None = PendingFile(folder, folder=True)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and write one image. Raises OutputError."""
        if self._pending is None:
            raise OutputError(f"{self._folder}: is closed; frame {frame.index} is not written")
        image = self._paint(self._folder, frame, tracks)
        path = self._pending.temporary / f"tracked-{frame.index:06d}{self._suffix}"
        try:
            path.write_bytes(self._cv2.imencode(self._suffix, image)[1])
        except OSError as err:
            path.unlink(missing_ok=True)
            kept = self.frames
            self.close() if kept else self.discard()
            raise OutputError(
                f"{self._folder}: cannot be written ({err.strerror or err}); {frames_kept(kept)}"
            ) from err
        self.frames += 1

    def close(self) -> None:
        """Put the images in their folder. Raises OutputError."""
        if self._pending is not None:
            _refuse_foreign(self._folder)
            pending, self._pending = self._pending, None
            pending.commit()

    def discard(self) -> None:
        """Leave no images."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.drop()


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with other files than ours, because it will be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder")
    foreign = [
        p.name for p in folder.iterdir() if not re.fullmatch(r"tracked-[0-9]+\.(jpg|png)", p.name)
    ]
    if foreign:
        raise OutputError(f"{folder}: holds other files ({foreign[0]}); name a new or empty folder")
