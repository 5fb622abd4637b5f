"""Source of frames that end, read as a stream: a file on a web server or behind GStreamer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jdetrt.errors import SourceError
from jdetrt.runtime.session import Closing
from jdetrt.runtime.sources.camera import (
    FPS,
    FRAME_COUNT,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    POSITION_MS,
    Capture,
)
from jdetrt.types import Frame, Size

__all__ = ["FiniteStream"]

_HIGHEST_RATE = 1000.0


class FiniteStream(Closing):
    """A recording that is read from its beginning to its end, without leaving a frame out.

    Args:
        uri: what the user asked for, without passwords, for messages.
        open_capture: opens it; raises SourceError.
        name: of the source.
        frame_rate: frames per second; by default what the stream says, or 30.
        stated_times: believe the times that it states; OpenCV's of GStreamer are those of the
            pipeline, which is ahead of its frames.

    Attributes:
        size: width and height of the newest frame; before the first, as the stream says.
        length: number of frames that it states, or None.

    Raises:
        SourceError: by the constructor, when it does not open; by the iterator, when it ends
            before the length that it states (by more than two frames and 1 %).
    """

    live = False

    def __init__(
        self,
        uri: str,
        open_capture: Callable[[], Capture],
        *,
        name: str,
        frame_rate: float | None = None,
        stated_times: bool = True,
    ) -> None:
        self.uri = uri
        self.name = name
        self._open_capture = open_capture
        self._stated_times = stated_times
        self._closed = False
        self._capture: Capture | None = open_capture()
        stated = self._capture.get(FPS)
        self.frame_rate = frame_rate or (stated if 0 < stated <= _HIGHEST_RATE else 30.0)
        count = self._capture.get(FRAME_COUNT)
        self.length: int | None = int(count) if 0 < count < 2**53 else None
        size = Size(*(int(self._capture.get(side)) for side in (FRAME_WIDTH, FRAME_HEIGHT)))
        self.size: tuple[int, int] | None = size if min(size) > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        capture, self._capture = self._capture or self._open_capture(), None
        index, timestamp = 0, -1.0 / self.frame_rate
        try:
            while not self._closed:
                image = self._read(capture, index)
                if image is None:
                    self._refuse_early_end(index)
                    return
                index += 1
                self.size = Size.of(image)
                stated = capture.get(POSITION_MS) / 1000 if self._stated_times else -1.0
                # Some streams state no time, or the same one again and again.
                timestamp = stated if stated > timestamp else timestamp + 1 / self.frame_rate
                yield Frame(image, index, timestamp)
        finally:
            capture.release()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _read(self, capture: Capture, index: int) -> Any:
        try:
            ok, image = capture.read()
        except Exception as err:  # of the driver
            raise SourceError(
                f"{self.uri}: frame {index + 1} cannot be read ({' '.join(str(err).split())})"
            ) from err
        return image if ok else None

    def _refuse_early_end(self, index: int) -> None:
        if self.length is not None and self.length - index > max(2, 0.01 * self.length):
            raise SourceError(
                f"{self.uri}: is cut off: the last good frame is {index}, but {self.length} are "
                "stated; check that the file is complete and the connection is good"
            )
