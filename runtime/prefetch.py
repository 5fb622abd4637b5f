"""Read and prepare the next frames in threads of their own, while the network runs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from jdetrt.runtime.camera_motion import CameraMotion
from jdetrt.runtime.input_buffer import ArrayBuffer, InputBuffer
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.runtime.sources.open import Source
from jdetrt.runtime.timing import Stopwatch
from jdetrt.types import Frame

__all__ = ["BUFFERS", "Prepared", "ReadAhead"]

BUFFERS = 4  # one or two at the network, one decoded, one waiting or being filled
_READ = 2  # frames between a reader and a filler that work apart
_HUNG_AFTER = 5.0  # seconds; a camera that is gone can block its read for ever


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame, ready for the network.

    Attributes:
        frame: as it was read.
        buffer: its image, ready for the network; it is filled again once given back. None for a
            frame that the network does not see.
        letterbox: place of the image in the network's input.
    """

    frame: Frame
    buffer: InputBuffer | None
    letterbox: Letterbox | None


class ReadAhead:
    """Frames of a source in order, each read and prepared before it is asked for.

    The buffers go round in a ring, so a reader that is faster than the network waits, and memory
    stays bounded. A live source cannot wait: there the newest frame takes the place of the one that
    nobody has asked for yet.

    Buffers of a GPU are filled in a thread of their own, while the reader decodes the next frame:
    neither takes long, but one after the other they would be what a fast network waits for.

    Args:
        source: iterated in a thread, once, and closed at the end.
        buffers: that go round, ``BUFFERS`` of them unless more runs are open at a time.
        stopwatch: gets the stages "read" and "preprocess".
        news: is set whenever ``get`` has something new to give.
        every: one frame of so many is for the network, the first among them.
        phase: of those for the network, from 0; so that several readers take turns.
        camera_motion: notes all frames; None for a still camera.

    Attributes:
        error: what broke the source off, once ``get`` has given None.
    """

    def __init__(
        self,
        source: Source,
        buffers: Iterable[InputBuffer],
        stopwatch: Stopwatch,
        news: threading.Event | None = None,
        *,
        every: int = 1,
        phase: int = 0,
        camera_motion: CameraMotion | None = None,
    ) -> None:
        self.error: Exception | None = None
        self._source = source
        self._news = news or threading.Event()
        self._every, self._phase = every, phase
        self._camera_motion = camera_motion
        buffers = list(buffers)
        self._apart = not all(isinstance(buffer, ArrayBuffer) for buffer in buffers)
        self._room = threading.Semaphore(max(BUFFERS, len(buffers)))  # for frames without a buffer
        self._space = threading.Semaphore(_READ)  # for frames between reader and filler
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._broken_off: Exception | None = None
        self._given = self._read = 0  # frames by `get`; frames by the reader
        self._stopwatch = stopwatch
        self._free: queue.SimpleQueue[InputBuffer | None] = queue.SimpleQueue()
        for buffer in buffers:
            self._free.put(buffer)
        self._ready: queue.SimpleQueue[Prepared | None] = queue.SimpleQueue()
        self._ended = False
        self._stopped = threading.Event()
        self._failed = threading.Event()  # to fill; the frames before come all the same
        self._threads = [threading.Thread(target=self._read_all, name="reader", daemon=True)]
        if self._apart:
            self._threads += [threading.Thread(target=self._fill_all, name="filler", daemon=True)]

    def get(self, *, wait: bool = True) -> Prepared | None:
        """The next frame; None when there is no more, or without ``wait`` when it is not there."""
        if self._ended:
            return None
        try:
            item = self._ready.get(block=wait)
        except queue.Empty:
            return None
        if self._stopped.is_set():  # frames that were ready before do not come any more
            item = None
        self._ended = item is None
        self._given += 1
        return item

    @property
    def finished(self) -> bool:
        """True if ``get`` has given its last frame."""
        return self._ended

    def give_back(self, item: Prepared) -> None:
        """The network is done with the item's buffer, or there was none."""
        if item.buffer is not None:
            self._free.put(item.buffer)
        elif not self._source.live:
            self._room.release()

    def stop(self) -> None:
        """Read no more; ``get`` gives None, also to one who is waiting in it."""
        self._stopped.set()
        self._free.put(None)
        self._frames.put(None)
        self._room.release()
        self._space.release()
        self._ready.put(None)
        self._news.set()

    def __enter__(self) -> ReadAhead:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._source.close()
        for thread in self._threads:
            thread.join(_HUNG_AFTER)

    def _read_all(self) -> None:
        try:
            self._read_until_stopped()
        except Exception as err:  # handed to the thread that takes the frames
            self._broken_off = err
        finally:
            if self._apart:
                self._frames.put(None)
            else:
                self._end(self._broken_off)

    def _fill_all(self) -> None:
        failure: Exception | None = None
        try:
            while (frame := self._frames.get()) is not None:
                self._space.release()
                if not self._prepare(frame):
                    break
        except Exception as err:
            failure = err  # of a frame before the one that the reader is at
        finally:
            self._failed.set()
            self._space.release()
            self._end(failure or self._broken_off)

    def _end(self, error: Exception | None) -> None:
        self.error = error
        self._ready.put(None)
        self._news.set()

    def _read_until_stopped(self) -> None:
        frames = iter(self._source)
        try:
            going = True
            while going and not self._stopped.is_set():
                start = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    return
                self._stopwatch.add("read", time.perf_counter() - start)
                self._note(frame)
                going = self._pass_on(frame) if self._apart else self._prepare(frame)
        finally:
            close = getattr(frames, "close", None)  # a generator closes its file here, not later
            if close is not None:
                close()

    def _note(self, frame: Frame) -> None:
        """Find out how the camera moved; a stage of the run only while it does."""
        if self._camera_motion is None:
            return
        start = time.perf_counter()
        self._camera_motion.note(frame)
        if self._camera_motion.moving:
            self._stopwatch.add("motion", time.perf_counter() - start)

    def _pass_on(self, frame: Frame) -> bool:
        """Give a frame to the filler; False when there is no use in reading on."""
        if self._source.live:  # the newest takes the place of one that the filler has not begun
            with suppress(queue.Empty):
                while self._frames.get_nowait() is not None:
                    self._space.release()
                return False  # stopped meanwhile
        self._space.acquire()
        self._frames.put(frame)
        return not (self._failed.is_set() or self._stopped.is_set())

    def _prepare(self, frame: Frame) -> bool:
        """Make a frame ready to be taken; False when stopped."""
        item = self._prepared(frame)
        if item is None:
            return False
        if self._source.live:
            self._leave_out_stale()
        self._ready.put(item)
        self._news.set()
        return True

    def _prepared(self, frame: Frame) -> Prepared | None:
        """Letterbox a frame if it is for the network; None when stopped."""
        # Of a live source the newest frame waits alone: its number is that of frames given.
        number = self._given if self._source.live else self._read
        self._read += 1
        if number and (number + self._phase) % self._every:
            if not self._source.live:  # frames without a buffer would pile up
                self._room.acquire()
            return None if self._stopped.is_set() else Prepared(frame, None, None)
        buffer = self._buffer()
        if buffer is None:
            return None
        with self._stopwatch.stage("preprocess"):
            return Prepared(frame, buffer, buffer.fill(frame.image))

    def _leave_out_stale(self) -> None:
        """Take back the frame that nobody has asked for."""
        with suppress(queue.Empty):
            while (stale := self._ready.get_nowait()) is not None:
                self.give_back(stale)
            self._ready.put(None)  # stopped meanwhile

    def _buffer(self) -> InputBuffer | None:
        """A buffer to fill; None when stopped."""
        if self._source.live and self._free.empty():
            with suppress(queue.Empty):
                stale = self._ready.get_nowait()
                return None if stale is None else stale.buffer or self._free.get()
        return self._free.get()
