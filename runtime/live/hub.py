"""Hub between the pipelines, which publish frames, and the browsers that watch them.

Publishing keeps a reference to the newest frame and no more, so no browser, however slow, holds up
a tracker. A frame is drawn and encoded once for all who watch, in a thread of the server, and only
while somebody watches.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError, OutputError
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.sinks.draw import Trails, draw_tracks
from jdetrt.runtime.sinks.draw_regions import draw_regions
from jdetrt.types import Size

__all__ = ["LiveHub", "LiveStream"]

_LARGEST = 1280  # pixels of the longer side of what is sent
_QUALITY = 80  # of JPEG, in percent
_RECENT = 2.0  # seconds over which the FPS of the page are counted
_WATCHED = 10.0  # seconds since somebody asked for a frame, in which trails are kept
_SMOOTHING = 0.1  # share of the newest time of a stage


class LiveStream:
    """One source on the live page.

    Args:
        name: of the source; unique on the page.
        counter: lines and zones, drawn and shown with their counts.
        regions_file: where lines and zones that are drawn on the page are saved; None for a page
            that can only look.
        shared_file: instead, a file of regions that several sources have in common, which the page
            names for its lines and zones to be changed there.
        frame_rate: most images a second that are sent.
    """

    def __init__(
        self,
        name: str,
        *,
        counter: EventCounter | None = None,
        regions_file: Path | None = None,
        shared_file: Path | None = None,
        frame_rate: float = 15.0,
    ) -> None:
        self.name = name
        self.counter = counter
        self.regions_file = regions_file
        self.shared_file = shared_file
        self.sequence = 0  # of the newest frame; 0 before the first
        self.ended = False
        self._interval = 1.0 / frame_rate
        self._latest: FrameResult | None = None
        self._times: deque[float] = deque()  # when the last frames came
        self._stages: dict[str, float] = {}  # seconds, smoothed
        self._trails = Trails()
        self._trail_points: dict[int, list[tuple[float, float]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._encoding: asyncio.Lock | None = None
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._encoded_at = -1.0
        self._asked_at = -np.inf  # when somebody last asked for a frame

    # -- in the thread of the pipeline

    def publish(self, result: FrameResult) -> None:
        """Show a frame with its tracks; returns at once."""
        now = time.monotonic()
        if now - self._asked_at < _WATCHED:
            self._trail_points = self._trails.update(result.tracks)
        elif self._trail_points:  # nobody watches any more
            self._trails, self._trail_points = Trails(), {}
        for name, seconds in result.stages.items():
            former = self._stages.get(name, seconds)
            self._stages[name] = former + _SMOOTHING * (seconds - former)
        self._times.append(now)
        while now - self._times[0] > _RECENT:
            self._times.popleft()
        self._latest = result
        self.sequence += 1
        self._wake()

    def close(self) -> None:
        """Say that the run has ended; the last frame stays on the page."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and self._waiters:
            try:
                loop.call_soon_threadsafe(self._notify)
            except RuntimeError:  # the server has just stopped
                self._loop = None

    # -- in the server's event loop

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def jpeg(self, after: int, timeout: float) -> tuple[int, bytes] | None:
        """Wait for a frame newer than number ``after``.

        Args:
            after: number of the last frame that the browser has; 0 for none.
            timeout: seconds.

        Returns:
            Its number and its JPEG file; None where none came, or the source has ended.
        """
        self._loop = asyncio.get_running_loop()
        self._asked_at = time.monotonic()
        if self.sequence < after:  # a number of a former run
            after = 0
        deadline = self._loop.time() + timeout
        while self.sequence <= after and not self.ended:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter, deadline - self._loop.time())
            except asyncio.TimeoutError:
                self._waiters.discard(waiter)
                return None
        if self.sequence <= after:
            return None
        if self._encoding is None:
            self._encoding = asyncio.Lock()
        async with self._encoding:
            if self._jpeg[0] <= after:
                pause = self._encoded_at + self._interval - self._loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                self._encoded_at = self._loop.time()
                self._jpeg = await asyncio.to_thread(self._encode)
        return self._jpeg

    def _encode(self) -> tuple[int, bytes]:
        assert self._latest is not None
        sequence, frame, tracks = self.sequence, self._latest.frame, self._latest.tracks
        cv2 = load_cv2()
        image = frame.image
        if not image.size:
            image = np.full((360, 640, 3), 32, np.uint8)
        canvas: npt.NDArray[np.uint8] = draw_tracks(image, tracks, trails=self._trail_points)
        if self.counter is not None:
            draw_regions(canvas, self.counter)
        scale = _LARGEST / max(Size.of(canvas))
        if scale < 1:
            canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not done:
            raise OutputError(f"{self.name}: frame {frame.index} cannot be encoded as JPEG")
        return sequence, data.tobytes()

    def state(self) -> dict[str, Any]:
        """Facts beside the image: speed, drops, stages, counts; JSON types."""
        latest, times = self._latest, list(self._times)
        span = times[-1] - times[0] if times else 0.0
        state: dict[str, Any] = {
            "name": self.name,
            "ended": self.ended,
            "editable": self.counter is not None and self.regions_file is not None,
            "shared_file": None if self.shared_file is None else self.shared_file.name,
            "fps": (len(times) - 1) / span if span > 0 else None,
            "quiet_seconds": time.monotonic() - times[-1] if times else None,
            "frames": self.sequence,
            "stages": {name: seconds * 1e3 for name, seconds in list(self._stages.items())},
        }
        if latest is not None:
            state |= {
                "size": list(Size.of(latest.frame.image)),
                "people": len(latest.tracks),
                "dropped": latest.frame.index - self.sequence,  # they are numbered from 1
                "age_ms": None if latest.age is None else latest.age * 1e3,
            }
        if self.counter is not None:
            state["lines"] = {name: c.crossings for name, c in self.counter.lines.items()}
            state["zones"] = {
                name: {"occupancy": c.occupancy, "peak": c.peak, "entries": c.entries}
                for name, c in self.counter.zones.items()
            }
        return state


class LiveHub:
    """The streams of a page, by name."""

    def __init__(self) -> None:
        self._streams: dict[str, LiveStream] = {}

    def add(self, stream: LiveStream) -> LiveStream:
        """Show a stream with settings of its own, before its first frame.

        Raises:
            DataError: its name is taken.
        """
        if stream.name in self._streams:
            raise DataError(f"two sources are called {stream.name!r}; give each a name of its own")
        self._streams[stream.name] = stream
        return stream

    def __call__(self, result: FrameResult) -> None:
        """Show a frame of a stream, as a watcher of a run (`jdetrt.runtime.sinks.base.Watcher`)."""
        stream = self._streams.get(result.stream)
        if stream is None:
            stream = self.add(LiveStream(result.stream))
        stream.publish(result)

    def __iter__(self) -> Iterator[LiveStream]:
        return iter(list(self._streams.values()))

    def __getitem__(self, name: str) -> LiveStream:
        """The stream of a name. Raises KeyError."""
        return self._streams[name]

    def close(self) -> None:
        """End all streams, so that nobody waits for a frame any more."""
        for stream in self:
            stream.close()
