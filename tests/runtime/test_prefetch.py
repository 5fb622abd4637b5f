"""Reading and filling ahead of the network, in two threads, proved by events and not by clocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from jdetrt.errors import SessionError, SourceError
from jdetrt.runtime.prefetch import BUFFERS, ReadAhead
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.runtime.timing import Stopwatch
from jdetrt.types import Frame

SIZE = (64, 32)
PATIENCE = 20.0  # seconds after which a test that hangs fails


class _Source:
    """So many frames; one thread reads them, and may find the cable out."""

    uri = "test:source"
    name = "source"
    frame_rate = 30.0
    size: tuple[int, int] | None = SIZE

    def __init__(self, frames: int, *, live: bool = False, breaks_at: int | None = None) -> None:
        self.length: int | None = frames
        self.live, self.breaks_at, self.read = live, breaks_at, 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(1, (self.length or 0) + 1):
            assert threading.current_thread().name == "reader"
            if index == self.breaks_at:
                raise SourceError("the cable is out")
            self.read = index
            yield Frame(np.full((SIZE[1], SIZE[0], 3), index, np.uint8), index)

    def close(self) -> None: ...

    def __enter__(self) -> _Source:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class _Remote:
    """An input buffer that is not an array: it is filled in a thread of its own."""

    def __init__(self) -> None:
        self.number = 0

    def fill(self, image: Any) -> Letterbox:
        assert threading.current_thread().name == "filler"
        self.number = int(image[0, 0, 0])
        return Letterbox.fit((image.shape[1], image.shape[0]), SIZE)

    def submit(self) -> None: ...


def _ahead(source: _Source, buffers: Sequence[Any]) -> ReadAhead:
    return ReadAhead(source, buffers, Stopwatch(("read", "preprocess")))


def _rest(ahead: ReadAhead) -> list[int]:
    """Numbers of the frames that come, each checked to be in its buffer, which is given back."""
    numbers = []
    while (item := ahead.get()) is not None:
        assert isinstance(item.buffer, _Remote)
        assert item.buffer.number == item.frame.index
        numbers.append(item.frame.index)
        ahead.give_back(item)
    return numbers


def test_frames_are_read_and_filled_apart_in_order() -> None:
    source = _Source(60)
    with _ahead(source, [_Remote() for _ in range(BUFFERS)]) as ahead:
        assert _rest(ahead) == list(range(1, 61))
        assert ahead.get() is None
        assert ahead.error is None
    assert not any(thread.is_alive() for thread in ahead._threads)


def test_frames_that_are_read_ahead_are_few() -> None:
    source = _Source(60)
    with _ahead(source, [_Remote(), _Remote()]) as ahead:
        first = ahead.get()
        assert first is not None  # and is not given back
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline and source.read < 7:
            time.sleep(0.01)
        # One taken, one filled, one in the filler's hand, two between, and one in the reader's.
        assert source.read <= 6
    assert not any(thread.is_alive() for thread in ahead._threads)


def test_of_a_source_that_breaks_off_all_frames_before_come() -> None:
    source = _Source(60, breaks_at=9)
    with _ahead(source, [_Remote() for _ in range(BUFFERS)]) as ahead:
        assert _rest(ahead) == list(range(1, 9))
        assert str(ahead.error) == "the cable is out"


def test_of_a_buffer_that_refuses_all_frames_before_come_and_no_more_is_read() -> None:
    source = _Source(200)

    class Refusing(_Remote):
        def fill(self, image: Any) -> Letterbox:
            if int(image[0, 0, 0]) == 5:
                raise SessionError("out of memory")
            return super().fill(image)

    with _ahead(source, [Refusing() for _ in range(BUFFERS)]) as ahead:
        assert _rest(ahead) == [1, 2, 3, 4]
        assert str(ahead.error) == "out of memory"
        for thread in ahead._threads:
            thread.join(PATIENCE)
    assert source.read < 12


def test_whoever_leaves_early_leaves_no_thread_behind() -> None:
    for taken in range(4):
        source = _Source(200)
        with _ahead(source, [_Remote() for _ in range(BUFFERS)]) as ahead:
            for _ in range(taken):
                assert ahead.get() is not None
        assert not any(thread.is_alive() for thread in ahead._threads)


def test_of_a_live_source_read_and_filled_apart_the_newest_frame_comes() -> None:
    taken = threading.Event()

    class Camera(_Source):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield frame
                assert taken.wait(PATIENCE)

    with _ahead(Camera(20, live=True), [_Remote() for _ in range(BUFFERS)]) as ahead:
        first = ahead.get()
        assert first is not None
        taken.set()
        for thread in ahead._threads:
            thread.join(PATIENCE)
        assert _rest(ahead) == [20]
