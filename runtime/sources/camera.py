"""Live source: a thread reads all the time and keeps only the newest frame."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from jdetrt.errors import SourceError
from jdetrt.passwords import without_passwords
from jdetrt.runtime.session import Closing
from jdetrt.runtime.sources.status import Outage, Say, SourceStatus, silent
from jdetrt.types import Frame, Size

__all__ = [
    "FPS",
    "FRAME_COUNT",
    "FRAME_HEIGHT",
    "FRAME_WIDTH",
    "POSITION_MS",
    "STALLED_AFTER",
    "Camera",
    "Capture",
]

STALLED_AFTER = 10.0  # seconds without a frame; cameras send at least one a second
_CONNECTING = 30.0  # seconds that opening may take before it counts as hung
_MOST_HUNG = 5  # threads that hang in a driver and are left behind

_HIGHEST_RATE = 1000.0  # frames per second; a camera that states more states nonsense
# cv2.CAP_PROP_POS_MSEC, CAP_PROP_FRAME_WIDTH and so on, the same in all versions
POSITION_MS, FRAME_WIDTH, FRAME_HEIGHT, FPS, FRAME_COUNT = 0, 3, 4, 5, 7


class Capture(Protocol):
    """The methods of ``cv2.VideoCapture`` that are used."""

    def read(self) -> tuple[bool, Any]:
        """Read a frame; False without one."""

    def get(self, property_: int, /) -> float:
        """A property; 0 where it is not known."""

    def release(self) -> None:
        """Close it."""


class Camera(Closing):
    """A camera or a network stream, opened again for as long as it takes.

    Whoever iterates gets the newest frame each time; frames that came in between are counted in
    ``dropped`` and left out, so that a slow consumer lags by one frame and not by a backlog. The
    reader starts with the iteration, which may be done once.

    A source that ends, fails or falls silent is opened again, at first after half a second, then
    after twice as long each time, at most 15 s. A reader that hangs in its driver is left behind
    and another one started. Numbers of frames go on; timestamps tell how long it was away. Frames
    may come back in another size.

    Args:
        uri: what the user asked for, without passwords, for messages.
        open_capture: opens the camera; raises SourceError.
        name: of the source.
        frame_rate: frames per second; by default what the camera says, or 30.
        reconnect_for: seconds that it may be away before it counts as lost for good; None for any
            time, 0 to end with the first failure.
        stall_timeout: seconds without a frame after which it counts as away.
        wait: do not open it now: one that is away at the beginning is waited for, too.
        say: gets a line when it goes away, comes back or changes the size of its frames.

    Attributes:
        size: width and height of the newest frame; before the first, as the camera says.
        dropped: frames that were not taken.

    Raises:
        SourceError: by the constructor, when the camera does not open; by the iterator, when it is
            lost for good.
    """

    live = True
    length: int | None = None

    def __init__(
        self,
        uri: str,
        open_capture: Callable[[], Capture],
        *,
        name: str,
        frame_rate: float | None = None,
        reconnect_for: float | None = None,
        stall_timeout: float = STALLED_AFTER,
        wait: bool = False,
        say: Say = silent,
    ) -> None:
        self.uri = uri
        self.name = name
        self.dropped = 0
        self.size: tuple[int, int] | None = None
        self.frame_rate = frame_rate or 30.0
        self._open_capture = open_capture
        self._patience = float("inf") if reconnect_for is None else reconnect_for
        self._stall_timeout = stall_timeout
        self._say = say
        self._unsaid: deque[str] = deque()
        self._capture: Capture | None = None
        if not wait:
            self._capture = open_capture()
            stated = self._capture.get(FPS)
            self.frame_rate = frame_rate or (stated if 0 < stated <= _HIGHEST_RATE else 30.0)
            size = Size(*(int(self._capture.get(side)) for side in (FRAME_WIDTH, FRAME_HEIGHT)))
            self.size = size if min(size) > 0 else None
        self._news = threading.Condition()  # of all that follows
        self._newest: Frame | None = None
        self._captured = 0
        self._error: SourceError | None = None
        self._closed = threading.Event()
        self._outage = Outage(since=time.monotonic() if wait else None)
        self._readers: list[threading.Thread] = []  # the last one counts, others hang
        self._deadline = 0.0  # when the reader counts as hung

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame, numbered as captured: a dropped frame leaves a gap.

        Timestamps are of ``time.monotonic()`` at the arrival of the frame, so the age of a frame
        is ``time.monotonic() - frame.timestamp``.
        """
        if not self._closed.is_set():
            with self._news:
                self._start_reader(self._capture)
        while (frame := self._wait()) is not None:
            yield frame

    def close(self) -> None:
        """Stop reading and release the camera."""
        self._closed.set()
        with self._news:
            self._news.notify_all()
            readers, capture = self._readers[:], self._capture
            self._capture = None
        if not readers and capture is not None:
            capture.release()
        for reader in readers[-1:]:
            if reader is not threading.current_thread():
                # The thread releases the capture; one that hangs in a driver is left behind.
                reader.join(timeout=2.0)

    def status(self) -> SourceStatus:
        """The state now; from any thread."""
        with self._news:
            return self._outage.status(self._captured)

    def _wait(self) -> Frame | None:
        """The newest frame; sees to it that a reader that hangs is replaced."""
        while True:
            with self._news:
                left = self._deadline - time.monotonic()
                if left > 0 and not self._has_news():
                    self._news.wait(left)  # or until the reader has another deadline
                    continue
                if self._closed.is_set():
                    return None
                if self._newest is not None:
                    frame, self._newest = self._newest, None
                    return frame
                if self._error is not None:
                    raise self._error
                if self._deadline <= time.monotonic():
                    self._replace_reader()
            self._tell()

    def _has_news(self) -> bool:
        return bool(self._newest or self._error or self._closed.is_set())

    def _tell(self) -> None:
        """Say what there is to say; without the lock, for nobody knows what ``say`` does."""
        while self._unsaid:
            with suppress(IndexError):  # another thread was faster
                self._say(self._unsaid.popleft())

    # What follows runs with the lock held.

    def _start_reader(self, capture: Capture | None) -> None:
        self._capture = None
        self._deadline = time.monotonic() + (self._stall_timeout if capture else _CONNECTING)
        reader = threading.Thread(
            target=self._read_all, args=[capture], name=f"camera {self.name}", daemon=True
        )
        self._readers.append(reader)
        reader.start()

    def _replace_reader(self) -> None:
        """Leave a reader that hangs, and start another."""
        if self._outage.since is None:
            self._go_away(f"no frame for {self._stall_timeout:g} s", stalled=True)
        self._give_up_if_too_long()
        self._readers = [one for one in self._readers if one.is_alive()]
        if self._error is None and len(self._readers) == _MOST_HUNG:
            self._error = SourceError(
                f"{self.uri}: lost after frame {self._captured}: {_MOST_HUNG} readers hang in its "
                "driver; restart the program, and the camera too if that does not help"
            )
        if self._error is None:
            self._start_reader(None)

    def _go_away(self, reason: str, *, stalled: bool = False) -> None:
        self._outage.begin(reason, stalled)
        after = f" after frame {self._captured}" if self._captured else ""
        if self._patience:
            self._unsaid.append(f"{self.uri}: lost{after} ({reason}); opening it again")

    def _give_up_if_too_long(self) -> None:
        outage = self._outage
        if outage.seconds_now() < self._patience or self._error is not None:
            return
        tried = ""
        if self._patience:
            times = f"{outage.tries} time{'' if outage.tries == 1 else 's'}"
            tried = f"; away for {outage.seconds_now():.1f} s, opened again {times} in vain"
        after = f"lost after frame {self._captured}" if self._captured else "gave no frame"
        self._error = SourceError(f"{self.uri}: {after} ({outage.reason}){tried}")
        self._news.notify_all()

    def _take(self, image: Any, now: float) -> None:
        """Let a frame take the place of the newest."""
        self._captured += 1
        size = Size.of(image)
        came_back = self._outage.end(now)
        if came_back is not None and self._captured > 1:
            self._unsaid.append(f"{self.uri}: back after {came_back:.1f} s")
        if self._captured > 1 and size != self.size:
            self._outage.size_changes += 1
            before = Size(*self.size) if self.size else "unknown"
            self._unsaid.append(
                f"{self.uri}: frame {self._captured} is {size}, those before it {before}"
            )
        self.size = size
        self.dropped += self._newest is not None
        self._newest = Frame(image, self._captured, now)
        self._deadline = now + self._stall_timeout
        self._news.notify_all()

    # What follows runs in the reader's thread, without the lock.

    def _current(self) -> bool:
        """True while this thread is the one that counts; with the lock held."""
        return (
            not self._closed.is_set()
            and self._error is None
            and self._readers[-1] is threading.current_thread()
        )

    def _read_all(self, capture: Capture | None) -> None:
        try:
            while (capture := capture or self._reopen()) is not None:
                reason = self._read_on(capture)
                with suppress(Exception):
                    capture.release()
                capture = None
                with self._news:
                    if not self._current():
                        return
                    if self._outage.since is None:
                        self._go_away(reason)
                    self._give_up_if_too_long()
                self._tell()
        finally:
            if capture is not None:
                capture.release()

    def _read_on(self, capture: Capture) -> str:
        """Read until there is no frame; return why."""
        while True:
            try:
                ok, image = capture.read()
            except Exception as err:  # of the driver; whatever it is, the camera is away
                return " ".join(without_passwords(err).split()) or type(err).__name__
            now = time.monotonic()
            if not ok or image is None:
                return "gives no more frames"
            with self._news:
                if not self._current():
                    return "closed"
                self._take(image, now)
            self._tell()

    def _reopen(self) -> Capture | None:
        """Try until the source opens; None when it is no longer for this thread to try."""
        while True:
            with self._news:
                if not self._current():
                    return None
                self._give_up_if_too_long()
                if self._error is not None:
                    return None
                wait = self._outage.wait()
                self._deadline = time.monotonic() + wait + _CONNECTING
                left = max(0.0, self._patience - self._outage.seconds_now())
            if self._closed.wait(min(wait, left)):
                return None
            with self._news:
                if not self._current():
                    return None
            try:
                capture = self._open_capture()
            except Exception as err:
                with self._news:
                    reason = without_passwords(err)
                    if self._current() and self._outage.failed(reason):
                        self._unsaid.append(f"{reason}; trying again")
                self._tell()
                continue
            with self._news:
                if self._current():
                    self._deadline = time.monotonic() + self._stall_timeout
                    self._news.notify_all()
                    return capture
            capture.release()
            return None
