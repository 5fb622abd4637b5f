"""Network stream read by PyAV: frames in the size that they have, errors with their reason.

``cv2.VideoCapture`` scales all frames to the size of the first and gives no reason when one fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from jdetrt.runtime.sources.camera import FPS, FRAME_COUNT, FRAME_HEIGHT, FRAME_WIDTH, POSITION_MS

__all__ = ["AvCapture"]

# RTSP over TCP, as OpenCV has it: over UDP, frames come damaged. Without a buffer the frames that
# FFmpeg looks at first are lost; of a recording, which http:// may be, none may be.
_OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer"}


class AvCapture:
    """A stream, with the methods of ``cv2.VideoCapture`` that are used.

    Args:
        av: PyAV.
        url: of the stream.
        open_seconds: it may take to open.
        read_seconds: it may take to give data.

    Raises:
        OSError: it does not open, or has no video; the text has no password.
    """

    def __init__(
        self, av: ModuleType, url: str, *, open_seconds: float, read_seconds: float
    ) -> None:
        self._av = av
        try:
            self._container: Any = av.open(
                url,
                timeout=(open_seconds, read_seconds),
                options={} if url.lower().startswith("http") else _OPTIONS,
            )
        except (av.FFmpegError, ValueError) as err:
            raise OSError(_reason(err)) from None  # its own text has the password
        videos = self._container.streams.video
        if not videos:
            self._container.close()
            raise OSError("the stream has no video")
        self._stream: Any = videos[0]
        self._frames: Iterator[Any] = self._container.decode(self._stream)
        self._seconds = 0.0
        self._size = self._stream.width, self._stream.height

    def read(self) -> tuple[bool, Any]:
        """Read a frame, ``(H, W, 3)`` uint8 BGR; False at the end. Raises OSError."""
        try:
            frame = next(self._frames, None)
            if frame is None:
                return False, None
            image = frame.to_ndarray(format="bgr24")
        except self._av.FFmpegError as err:
            raise OSError(_reason(err)) from None
        if frame.time is not None:
            self._seconds = frame.time
        return True, image

    def get(self, property_: int, /) -> float:
        """A property by OpenCV's number; 0 where it is not known."""
        stream = self._stream
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if property_ == FRAME_COUNT:
            if stream.frames or stream.duration is None:
                return float(stream.frames)
            return math.floor(float(stream.duration * stream.time_base) * rate)
        start = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        return {
            FRAME_WIDTH: float(self._size[0]),
            FRAME_HEIGHT: float(self._size[1]),
            FPS: rate,
            POSITION_MS: (self._seconds - start) * 1000,
        }.get(property_, 0.0)

    def release(self) -> None:
        """Close it."""
        self._container.close()


def _reason(err: Exception) -> str:
    """Words of FFmpeg, without the URL."""
    return str(getattr(err, "strerror", None) or type(err).__name__).lower()
