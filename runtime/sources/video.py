"""Video files as sources; the end of a file is told from a file that is cut off.

The number of frames that OpenCV states does not tell them apart: it counts frames that an edit list
hides (any clip cut without encoding again), and for Matroska, MPEG-TS and variable frame rates it
is the duration times the frame rate. The sizes in bytes that a container states are exact.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.errors import SourceError
from jdetrt.inputs import open_regular
from jdetrt.runtime.opencv import load_cv2, native_name
from jdetrt.runtime.session import Closing
from jdetrt.runtime.sources.container import exact_frames, is_cut_off, lacks_index, states_rate
from jdetrt.runtime.sources.image_header import check_pixels
from jdetrt.runtime.sources.rate import choose_rate, differ, is_usual, measured_rate
from jdetrt.types import Frame, Size

__all__ = ["VideoFile"]

_LOG = logging.getLogger(__name__)
_SLACK = 2  # frames by which a container may be off
_TRIES, _MOST_TRIES = 64, 10_000  # reads that fail before the video counts as ended
_MEASURED = 16  # frames whose times are looked at where the stated rate is in doubt
_STEADY = 0.2  # share of a frame's time by which the next may be early or late
_LONGEST = 1e7  # seconds, four months; beyond it a container states nonsense
_UNDECODED = "that cannot be decoded"


class _Image(NamedTuple):
    image: npt.NDArray[np.uint8]
    time: float  # seconds, as the container states it


class VideoFile(Closing):
    """A video that OpenCV can decode, one frame in memory at a time.

    A read that fails is no end: there may be a damaged block, so reading goes on for as many frames
    as the container states. Frames behind a gap keep their numbers, as far as times tell; numbers
    of frames that cannot be decoded are missing. At the end ``account`` says how many these are. A
    file that is shorter in bytes than its container says, and lacks frames, raises after the last
    good one.

    Args:
        path: of the file.
        frame_rate: frames per second, in place of the file's rate and timestamps; by default what
            the file says, where its timestamps agree.

    Attributes:
        size: width and height as the container states them.
        length: number of frames that the container promises, or None. Of a video with a variable
            frame rate, gaps or hidden frames it can be far from what there is.
        account: of the frames of the last iteration. More than two frames and more than 1 % may not
            be missing.

    Raises:
        SourceError: the file is missing, empty, no video, or has no frame that decodes.
    """

    live = False

    def __init__(self, path: Path, frame_rate: float | None = None) -> None:
        self._path = path
        self._closed = False
        self._damaged = False
        self.uri = str(path)
        self.name = path.stem
        self.length: int | None = None
        self.account = Account("frame", slack=_SLACK)
        self._notes: list[str] = []
        cv2 = load_cv2()
        capture = self._open()
        try:
            sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            declared = tuple(int(capture.get(side)) for side in sides)
            check_pixels(path, (declared[0], declared[1]), SourceError)
            stated = capture.get(cv2.CAP_PROP_FPS)
            promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            if 0 < promised < 2**53:
                self.length = int(promised)
            first = self._read(capture, 0)
            if first is None:
                raise SourceError(f"{path}: the video opens, but none of its frames can be decoded")
            self.size: tuple[int, int] | None = Size.of(first.image)
            self._states_rate = frame_rate is None
            seconds = (self.length or 0) / stated if 0 < stated < math.inf else 0.0
            self._stated_seconds = seconds if seconds < _LONGEST else 0.0
            self.frame_rate = frame_rate or self._rate(capture, stated, first)
        finally:
            capture.release()

    def __iter__(self) -> Iterator[Frame]:
        capture = self._open()
        self.account = account = Account("frame", slack=_SLACK)
        account.notes += self._notes
        self._damaged = False
        period = 1 / self.frame_rate
        index, timestamp, steady, gaps = 0, -period, 0, 0
        before = latest = -period  # as the container states them
        following: _Image | None = None
        try:
            while not self._closed:
                current, following = following or self._read(capture, index), None
                if current is None:
                    self._end(index)
                    self._judge_times(latest if latest > 0 else timestamp, gaps, steady)
                    return
                step, trusted = current.time - timestamp, True
                steady += abs(current.time - before - period) < _STEADY * period
                before, latest = current.time, max(latest, current.time)
                missing = max(round(step / period) - 1, 0)
                if missing and not self._damaged:
                    gaps += missing
                elif missing and 2 * steady > account.taken:
                    # Frames that a decoder gives out at the end of a damaged part may have the time
                    # of another one.
                    following = self._read(capture, index)
                    trusted = following is not None and following.time > current.time
                    if trusted:
                        index += missing
                        account.leave_out(_UNDECODED, missing)
                index += 1
                account.take()
                if (size := Size.of(current.image)) != self.size:
                    raise SourceError(
                        f"{self._path}: frame {index} is {size}, not {self.size}; all frames of a "
                        "source must have the same size"
                    )
                # Some files and backends state no time, or the same one again and again.
                timestamp = current.time if trusted and step > 0 else timestamp + period
                yield Frame(
                    current.image, index, timestamp if self._states_rate else (index - 1) * period
                )
        finally:
            capture.release()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True

    def _open(self) -> Any:
        cv2 = load_cv2()
        name = native_name(self._path, SourceError)
        # FFmpeg before the others: it alone counts frames and seeks well. A build without it
        # (some Jetsons) takes what it has.
        for backend in (cv2.CAP_FFMPEG, cv2.CAP_ANY):
            capture = cv2.VideoCapture(name, backend)
            if capture.isOpened():
                return capture
            capture.release()
        raise SourceError(f"{self._path}: {_why_not(self._path)}")

    def _rate(self, capture: Any, stated: float, first: _Image) -> float:
        """Choose the frame rate; where the stated one is in doubt, by the times of some frames."""
        measured = None
        if not is_usual(stated) or not states_rate(self._path):
            stamps = [first.time]
            while len(stamps) < _MEASURED and (image := self._read(capture, 0)) is not None:
                stamps.append(image.time)
            measured = measured_rate(stamps)
        rate, note = choose_rate(stated, measured)
        if note is not None:
            self._notes.append(f"{self._path}: {note}; --frame-rate states another")
            if self.length is not None and not states_rate(self._path):  # a duration times a rate
                self.length = round(self._stated_seconds * rate) or None
        return rate

    def _read(self, capture: Any, index: int) -> _Image | None:
        """Read the next image that decodes; None where there is none."""
        cv2 = load_cv2()
        tries = min(max((self.length or 0) - index, 0), _MOST_TRIES) + _TRIES
        for attempt in range(tries):
            try:
                ok, image = capture.read()
            except cv2.error as err:
                raise SourceError(
                    f"{self._path}: frame {index + 1} cannot be decoded ({err.err}); the last good "
                    f"frame is {index} of {self.length or 'an unknown number'}"
                ) from err
            if ok and image is not None:
                self._damaged |= attempt > 0
                return _Image(image, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        return None

    def _end(self, index: int) -> None:
        """Count what is missing; raise SourceError where the file is cut off."""
        account, promised = self.account, self.length
        try:
            cut_off = is_cut_off(self._path)
            exact = exact_frames(self._path)
        except OSError:  # its disk went away under it
            cut_off, exact = True, None
        missing = math.inf if promised is None else promised - index
        if cut_off and missing > max(_SLACK, 0.01 * (promised or 0)):
            raise SourceError(
                f"{self._path}: the video is cut off: the last good frame is {index}, but "
                f"its container states {promised or 'more'}; copy the file again"
            )
        if exact is not None and (self._damaged or exact - account.total > _SLACK):
            account.leave_out(_UNDECODED, max(exact - account.total, 0))
        if account.lost:
            _LOG.warning("%s: %s", self._path, account.summary())

    def _judge_times(self, last: float, gaps: int, steady: int) -> None:
        """Note where the times of the frames say something else than the container.

        Args:
            last: time of the last frame in seconds.
            gaps: frames for which there is a time but no frame.
            steady: frames that follow the one before at the stated rate.
        """
        account, rate = self.account, self.frame_rate
        if account.lost or not account.taken:
            return
        end = last + 1 / rate
        stated = self._stated_seconds
        # Times behind a damaged part may be unsteady for some frames.
        constant = steady > (0.8 if self.length and abs(end * rate - self.length) < 1 else 0.9) * (
            account.taken
        )
        if constant and gaps > max(_SLACK, 0.01 * account.taken):
            absent = max(round(end * rate) - account.taken, 0) or gaps
            account.doubt(
                f"{self._path}: its timestamps have gaps of {absent} frames beside "
                f"{account.taken} that are there; is it damaged?"
            )
            return
        if stated - end > max(_SLACK / rate, 0.01 * stated):
            note = f"its container states {stated:.1f} s, its frames end after {end:.1f} s"
        elif self._states_rate and account.taken > _MEASURED and differ(rate, account.taken / end):
            mean = account.taken / end
            note = (
                f"{account.taken} frames in {end:.1f} s are {mean:.4g} FPS on average; "
                f"{rate:g} was assumed; --frame-rate states another"
            )
        else:
            return
        account.note(f"{self._path}: {note}")


def _why_not(path: Path) -> str:
    """Why a file is no video, as far as its first bytes tell."""
    try:
        size = path.stat().st_size
        with open_regular(path) as file:
            head = file.read(4096)
        if lacks_index(path):
            return (
                "the video is truncated: its index (moov) is missing, which is written last; "
                "without it no frame can be decoded"
            )
    except OSError as err:
        return f"cannot be read ({err.strerror or err})"
    if not head:
        return "the video is empty (0 bytes)"
    if b"\0" not in head:
        return f"not a video: it looks like text ({size} bytes)"
    return f"not a video that this OpenCV can decode, or a damaged one ({size} bytes)"
