"""Cameras over RTSP, of GStreamer's own server: killed, stalled, rebooted, locked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from jdetrt.errors import SourceError
from jdetrt.runtime.sources import status as status_module
from jdetrt.runtime.sources.open import open_source
from jdetrt.types import Frame

PATIENCE = 60.0  # seconds


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "_LONGEST_WAIT", 0.5)


def age(frame: Frame) -> float:
    """Seconds since the frame was drawn, by the clock in its corner."""
    cells = frame.image[:16, :128, 1].reshape(2, 8, 16, 8)[:, 2:6, :, 2:6].mean((1, 3)) > 120
    drawn = sum(1 << bit for bit, one in enumerate(cells.ravel()) if one)
    return time.monotonic() - drawn / 1000


def until(frames: Iterator[Frame], condition: Callable[[Frame], bool]) -> Frame:
    deadline = time.monotonic() + PATIENCE
    for frame in frames:
        if condition(frame):
            return frame
        assert time.monotonic() < deadline
    raise AssertionError("the source ended")


def test_a_camera_that_reboots_with_another_resolution(
    rtsp_camera: Callable[[], Any],
) -> None:
    camera, said = rtsp_camera(), list[str]()
    camera.start(size="320x180", fps=15)
    with open_source(camera.url, say=said.append) as source:
        frames = iter(source)
        first = until(frames, lambda frame: frame.index >= 5)
        assert first.image.shape == (180, 320, 3)
        assert 0 <= age(first) < 30
        camera.kill()
        threading.Timer(1.5, camera.start, kwargs={"size": "640x360", "fps": 15}).start()
        back = until(frames, lambda frame: frame.image.shape == (360, 640, 3))
        assert back.index > first.index
        assert back.timestamp is not None
        assert first.timestamp is not None
        assert back.timestamp - first.timestamp > 1
        until(frames, lambda frame: frame.index >= back.index + 5)
        status = source.status()  # type: ignore[attr-defined]
    assert (status.connected, status.outages, status.size_changes) == (True, 1, 1)
    assert status.away_seconds > 1
    assert "opening it again" in said[0]
    assert any("connection refused" in line for line in said)
    assert any(" back after " in line for line in said)
    assert said[-1].endswith("is 640x360, those before it 320x180")


def test_a_camera_that_stalls_is_opened_again(rtsp_camera: Callable[[], Any]) -> None:
    camera, said = rtsp_camera(), list[str]()
    camera.start(size="320x180", fps=15)
    with open_source(camera.url, say=said.append, stall_timeout=2) as source:
        frames = iter(source)
        first = until(frames, lambda frame: frame.index >= 5)
        camera.pause(on=True)  # its connections stay open, and nothing comes
        threading.Timer(4, camera.pause, kwargs={"on": False}).start()
        until(frames, lambda frame: frame.index >= first.index + 60)
        status = source.status()  # type: ignore[attr-defined]
    assert status.connected
    assert (status.outages, status.stalls) == (1, 1)
    assert any("(no frame for 2 s); opening it again" in line for line in said)


def test_a_wrong_password_is_said_and_not_shown(rtsp_camera: Callable[[], Any]) -> None:
    camera = rtsp_camera()
    camera.start(size="320x180", fps=5, login="viewer:s3cret")
    place = camera.url.removeprefix("rtsp://")
    with pytest.raises(SourceError, match="401: the server asks for a user and a password"):
        open_source(camera.url)
    with pytest.raises(SourceError, match="401: the server refuses this user or this pass") as err:
        open_source(f"rtsp://viewer:wr0ng@{place}")
    assert "wr0ng" not in str(err.value)
    with pytest.raises(SourceError, match="404: the server has no such stream"):
        open_source(f"rtsp://viewer:s3cret@{place}/none")
    with open_source(f"rtsp://viewer:s3cret@{place}") as source:
        assert next(iter(source)).image.shape == (180, 320, 3)
        assert "s3cret" not in source.uri + source.name


def test_nobody_there() -> None:
    with pytest.raises(SourceError, match=r"127.0.0.1, port 9: connection refused"):
        open_source("rtsp://127.0.0.1:9/cam")


def test_the_newest_frame_is_not_an_old_one(rtsp_camera: Callable[[], Any]) -> None:
    """A consumer that is slower than the camera falls behind by no more than a few frames."""
    camera = rtsp_camera()
    camera.start(size="320x180", fps=20)
    ages = []
    with open_source(camera.url) as source:
        for frame in source:
            time.sleep(0.2)
            ages.append(age(frame) - 0.2)
            if len(ages) == 25:
                break
        assert source.dropped > 5  # type: ignore[attr-defined]
    # A backlog would grow by 0.15 s a frame: to 3.75 s.
    assert np.median(ages[-5:]) < 2.5
