"""Live source: a thread reads all the time and keeps only the newest frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from jdetrt.errors import SourceError
from jdetrt.runtime.session import Closing
from jdetrt.types import Frame, Size

__all__ = ["Camera", "Capture"]

_FIRST_WAIT = 0.5  # seconds before the first new try; each further one waits twice as long

_HIGHEST_RATE = 1000.0  # frames per second; a camera that states more states nonsense
# cv2.CAP_PROP_FRAME_WIDTH and so on, the same in all versions
_FRAME_WIDTH, _FRAME_HEIGHT, _FPS = 3, 4, 5


class Capture(Protocol):
    """The methods of ``cv2.VideoCapture`` that are used."""

    def read(self) -> tuple[bool, Any]:
        """Read a frame; False without one."""

    def get(self, property_: int, /) -> float:
        """A property; 0 where it is not known."""

    def release(self) -> None:
        """Close it."""


class Camera(Closing):
    """A camera or a network stream.

    Whoever iterates gets the newest frame each time; frames that came in between are counted in
    ``dropped`` and left out, so that a slow consumer lags by one frame and not by a backlog. The
    reader starts with the iteration, which may be done once.

    Args:
        uri: what the user asked for, without passwords, for messages.
        open_capture: opens the camera; raises SourceError.
        name: of the source.
        frame_rate: frames per second; by default what the camera says, or 30.
        reconnect_tries: how often in a row a stream that fails is opened again; 0 for a camera.
        stall_timeout: seconds without a frame after which the source counts as lost.

    Attributes:
        size: width and height, of the frames once there are some; before, as the camera says.
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
        reconnect_tries: int = 0,
        stall_timeout: float = 30.0,
    ) -> None:
        self.uri = uri
        self.name = name
        self.dropped = 0
        self._open_capture = open_capture
        self._tries = reconnect_tries
        self._stall_timeout = stall_timeout
        self._capture = open_capture()
        stated = self._capture.get(_FPS)
        self.frame_rate = frame_rate or (stated if 0 < stated <= _HIGHEST_RATE else 30.0)
        size = Size(*(int(self._capture.get(side)) for side in (_FRAME_WIDTH, _FRAME_HEIGHT)))
        self.size: tuple[int, int] | None = size if min(size) > 0 else None
        self._news = threading.Condition()
        self._newest: Frame | None = None
        self._captured = 0
        self._error: SourceError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="camera", daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame, numbered as captured: a dropped frame leaves a gap.

        Timestamps are of ``time.monotonic()`` at the arrival of the frame, so the age of a frame
        is ``time.monotonic() - frame.timestamp``.
        """
        if not self._closed.is_set():
            self._thread.start()
        while (frame := self._wait()) is not None:
            yield frame

    def close(self) -> None:
        """Stop reading and release the camera."""
        self._closed.set()
        with self._news:
            self._news.notify_all()
        if self._thread.ident is None:
            self._capture.release()
        elif self._thread is not threading.current_thread():
            # The thread releases the capture; one that hangs in a driver is left behind.
            self._thread.join(timeout=2.0)

    def _wait(self) -> Frame | None:
        with self._news:
            self._news.wait_for(
                lambda: self._newest or self._error or self._closed.is_set(), self._stall_timeout
            )
            if self._closed.is_set():
                return None
            if self._newest is not None:
                frame, self._newest = self._newest, None
                return frame
            if self._error is not None:
                raise self._error
        raise SourceError(f"{self.uri}: no frame for {self._stall_timeout:g} s; is it connected?")

    def _read_all(self) -> None:
        try:
            while not self._closed.is_set():
                if not self._read_one() and not self._closed.is_set():
                    self._reconnect()
        except Exception as err:  # handed to the thread that takes the frames
            lost = err if isinstance(err, SourceError) else SourceError(f"{self.uri}: {err}")
            with self._news:
                self._error = lost
                self._news.notify_all()
        finally:
            self._capture.release()

    def _read_one(self) -> bool:
        """Read a frame and let it take the place of the newest; False where there is none."""
        ok, image = self._capture.read()
        if not ok or image is None:
            return False
        self._captured += 1
        size = Size.of(image)
        if self._captured > 1 and size != self.size:
            raise SourceError(f"{self.uri}: frame {self._captured} is {size}, not {self.size}")
        self.size = size
        with self._news:
            self.dropped += self._newest is not None
            self._newest = Frame(image, self._captured, time.monotonic())
            self._news.notify_all()
        return True

    def _reconnect(self) -> None:
        """Open the stream again and read a frame; raise SourceError when it stays away."""
        reason = "gives no more frames"
        for attempt in range(self._tries):
            if self._closed.wait(_FIRST_WAIT * 2**attempt):
                return
            self._capture.release()
            try:
                self._capture = self._open_capture()
            except SourceError as err:
                reason = str(err)
                continue
            if self._read_one():
                return
        tried = f"; opened again {self._tries} times in vain" if self._tries else ""
        raise SourceError(f"{self.uri}: lost after frame {self._captured} ({reason}){tried}")
