"""Clock of a tracker: from the timestamps of frames to the time that has passed between them."""

from __future__ import annotations

import math

from jdetrt.errors import DataError

__all__ = ["Clock"]

_ROUNDING = 0.0015  # seconds; containers round timestamps to milliseconds
_MOST_ROUNDING = 0.1  # frames
_LEAST = 1e-3  # frames; less than this is no time
_LONGEST = 1e6  # frames; no longer gap is told from this one


class Clock:
    """Elapsed time from frame to frame, in frames at a frame rate.

    A frame without a timestamp is one frame after the one before. Where timestamps are a whole
    number of frames apart but for rounding, so is the elapsed time. A timestamp that stays the same
    for a second's worth of frames is stuck; from there on frames are counted.

    Args:
        frame_rate: in Hz.
        buffer: frames after which a lost track ends.

    Attributes:
        gaps: frames so long after the one before that all tracks have ended.
        repeats: frames with the timestamp of the frame before, or less than a frame before it.
        restarts: frames whose timestamp went back further: there another recording begins.
    """

    def __init__(self, frame_rate: float, buffer: float) -> None:
        self.gaps = 0
        self.repeats = 0
        self.restarts = 0
        self._buffer = buffer
        self._standing = 0  # repeats in a row
        self._rate = frame_rate
        self._rounding = min(_ROUNDING * frame_rate, _MOST_ROUNDING)
        self._last: float | None = None

    def check(self, timestamp: float | None) -> None:
        """Refuse a timestamp that is no time. Raises DataError."""
        if timestamp is not None and not math.isfinite(timestamp):
            raise DataError(
                f"timestamp: expected finite seconds, got {timestamp}; leave it out where the time "
                "is not known"
            )

    def since(self, timestamp: float) -> float:
        """Frames since the last step, 0 to ``buffer``; 0 before the first. Changes nothing."""
        if self._last is None:
            return 0.0
        return min(max((timestamp - self._last) * self._rate, 0.0), self._buffer)

    def step(self, timestamp: float | None) -> float:
        """Go on to the next frame.

        Args:
            timestamp: seconds, since whatever moment; None where it is not known.

        Returns:
            Frames since the frame before, 0 or more; 1 for the first; infinity at a restart.
        """
        last, self._last = self._last, timestamp
        if timestamp is None:
            if last is not None:
                self._last = last + 1.0 / self._rate
            return 1.0
        if last is None:
            return 1.0
        frames = (timestamp - last) * self._rate
        if frames <= -1.0 - self._rounding:
            self.restarts += 1
            return math.inf
        if frames < _LEAST:
            self.repeats += 1
            self._standing += 1
            return 0.0 if self._standing < self._rate else 1.0
        self._standing = 0
        self.gaps += frames > self._buffer
        whole = round(frames)
        if whole and abs(frames - whole) <= self._rounding:
            return min(float(whole), _LONGEST)
        return min(frames, _LONGEST)
