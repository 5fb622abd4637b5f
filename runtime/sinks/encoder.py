"""Encoders of video: H.264 by PyAV, which survives a kill; MPEG-4 by OpenCV where there is none."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jdetrt.errors import OutputError
from jdetrt.runtime.opencv import load_cv2, native_name
from jdetrt.runtime.pyav import load_av
from jdetrt.types import Size

__all__ = ["CODECS", "AvEncoder", "CvEncoder", "Encoder", "open_encoder"]

# OpenCV's codecs by suffix, in this order. MPEG-4 is in every build with FFmpeg, H.264 in few.
CODECS = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("XVID", "MJPG"),
    ".mkv": ("mp4v", "XVID", "MJPG"),
}
# PyAV's formats by suffix. A fragment of about a second is complete in itself, so that a file that
# is never closed plays up to the last of them.
_FORMATS = {
    ".mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ".mkv": ("matroska", {"cluster_time_limit": "500"}),
}
_H264 = ("libx264", "libopenh264")
_X264 = {"preset": "superfast", "tune": "zerolatency", "crf": "23"}
_CLOCK = 90_000  # ticks a second of timestamps, as in MPEG-TS


class Encoder(Protocol):
    """Writes images of one size to a video file."""

    def write(self, image: npt.NDArray[np.uint8], seconds: float | None) -> None:
        """Encode an image; its time counts where the encoder has a clock. Raises OSError."""

    def close(self) -> None:
        """Complete the file. Raises OSError."""


def open_encoder(path: Path, size: Size, frame_rate: float, *, clock: bool) -> Encoder:
    """Open the best encoder for a file name: PyAV's H.264, else OpenCV's MPEG-4.

    Args:
        path: its suffix is a key of ``CODECS``.
        size: of the images.
        frame_rate: frames per second.
        clock: frames are shown at their own times, not at the frame rate; PyAV alone can.

    Raises:
        OutputError: nothing here encodes it.
    """
    av = load_av()
    if av is not None and path.suffix.lower() in _FORMATS and min(size) >= 2:
        codec = next((name for name in _H264 if name in av.codecs_available), None)
        if codec is not None:
            return AvEncoder(av, codec, path, size, frame_rate, clock=clock)
    return CvEncoder(path, size, frame_rate)


class AvEncoder:
    """H.264 in fragmented MP4 or in Matroska, which play up to the last second after a kill.

    Browsers play the MP4. Sides of an odd length get one more row or column of pixels, because
    browsers play H.264 with halved colour alone.
    """

    def __init__(
        self,
        av: ModuleType,
        codec: str,
        path: Path,
        size: Size,
        frame_rate: float,
        *,
        clock: bool,
    ) -> None:
        self._av = av
        self._clock = clock
        self._odd = size.height % 2, size.width % 2
        container_format, options = _FORMATS[path.suffix.lower()]
        rate = Fraction(frame_rate).limit_denominator(1001)
        self._container: Any = av.open(
            str(path), "w", format=container_format, options={**options, "flush_packets": "1"}
        )
        stream: Any = self._container.add_stream(codec, rate=rate)
        stream.width, stream.height = size.width + self._odd[1], size.height + self._odd[0]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK) if clock else 1 / rate
        stream.codec_context.gop_size = max(1, math.ceil(rate))
        if codec == "libx264":
            stream.options = _X264
        self._stream = stream
        self._count = 0
        self._start: float | None = None
        self._last = -1

    def write(self, image: npt.NDArray[np.uint8], seconds: float | None) -> None:
        """Encode an image. Raises OSError."""
        if any(self._odd):
            image = np.pad(image, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), "edge")
        frame = self._av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts = self._last = self._ticks(seconds)
        frame.time_base = self._stream.codec_context.time_base
        self._mux(frame)
        self._count += 1

    def close(self) -> None:
        """Complete the file. Raises OSError."""
        try:
            self._mux(None)
        finally:
            try:
                self._container.close()
            except self._av.FFmpegError as err:
                raise OSError(err.errno, err.strerror) from err

    def _ticks(self, seconds: float | None) -> int:
        if not self._clock or seconds is None:
            return self._last + 1
        if self._start is None:
            self._start = seconds
        return max(self._last + 1, round((seconds - self._start) * _CLOCK))

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._av.FFmpegError as err:
            raise OSError(err.errno, err.strerror) from err


class CvEncoder:
    """Encoder of ``cv2.VideoWriter``: reports no errors, and its MP4 plays only when closed.

    Raises:
        OutputError: it has no codec for this file.
    """

    def __init__(self, path: Path, size: Size, frame_rate: float) -> None:
        cv2 = load_cv2()
        codecs = CODECS[path.suffix.lower()]
        for codec in codecs:
            self._writer: Any = cv2.VideoWriter(
                native_name(path, OutputError),
                cv2.VideoWriter_fourcc(*codec),
                frame_rate,
                size,
            )
            if self._writer.isOpened():
                return
            self._writer.release()
        if min(size) < 2:
            raise OutputError(
                f"the frames are {size}, and a video has at least 2x2 pixels; write images instead"
            )
        raise OutputError(
            f"this OpenCV encodes none of {', '.join(codecs)} at {size} and {frame_rate:g} frames "
            f"a second; try another suffix ({', '.join(CODECS)}), or an OpenCV built with FFmpeg"
        )

    def write(self, image: npt.NDArray[np.uint8], seconds: float | None) -> None:
        """Encode an image."""
        self._writer.write(image)

    def close(self) -> None:
        """Complete the file."""
        self._writer.release()
