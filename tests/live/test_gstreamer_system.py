"""GStreamer pipelines of files and of RTSP, in the OpenCV of the system, which has GStreamer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

FRAMES = 300
READ = """
import itertools, json, sys
from jdetrt.errors import JdetrtError
from jdetrt.runtime.sources.open import open_source

try:
    with open_source(sys.argv[1], reconnect_for=0) as source:
        frames = [
            (f.index, f.timestamp, int(f.image[0, 0, 0]))
            for f in itertools.islice(source, int(sys.argv[2]))
        ]
        print(json.dumps([source.live, source.name, source.frame_rate, frames]))
except JdetrtError as err:
    print(json.dumps(str(err)))
"""


@pytest.fixture(scope="module")
def read(system_python: Any) -> Any:
    """A function that reads a source in the system's Python, with the OpenCV of the system."""
    return lambda uri, most=1000: json.loads(system_python(READ, uri, str(most)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for index in range(FRAMES):
        writer.write(np.full((48, 64, 3), index % 250, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    "source", ["filesrc location={} ! decodebin", 'uridecodebin uri="file://{}"']
)
def test_a_file_is_read_to_its_end(read: Any, clip: Path, source: str) -> None:
    sink = "videoconvert ! video/x-raw,format=BGR ! appsink sync=false"
    live, name, rate, frames = read(f"gst:{source.format(clip)} ! {sink}")
    assert (live, name, rate) == (False, "walk", 25.0)
    assert [index for index, _, _ in frames] == list(range(1, FRAMES + 1))
    for index, time, shade in frames:
        assert time == pytest.approx((index - 1) / 25, abs=0.005)
        assert abs(shade - (index - 1) % 250) <= 3


def test_a_test_pattern_that_is_counted_ends(read: Any) -> None:
    sink = "videoconvert ! video/x-raw,format=BGR ! appsink"
    live, name, _, frames = read(f"gst:videotestsrc num-buffers=40 ! {sink}")
    assert (live, name, len(frames)) == (False, "gst", 40)


def test_a_file_may_not_drop_frames(read: Any, clip: Path) -> None:
    message = read(f"gst:filesrc location={clip} ! decodebin ! videoconvert ! appsink drop=true")
    assert "drop=true would leave frames out" in message


def test_a_file_that_is_missing(read: Any) -> None:
    message = read("gst:filesrc location=/nowhere.mp4 ! decodebin ! videoconvert ! appsink")
    assert "GStreamer cannot start the pipeline" in message


def test_rtsp(read: Any, rtsp_camera: Any) -> None:
    camera = rtsp_camera()
    camera.start(size="320x180", fps=15)
    live, name, _, frames = read(camera.url, 20)
    assert (live, name) == (True, f"127-0-0-1-{camera.port}-cam")
    assert len(frames) == 20
    times = [time for _, time, _ in frames]
    assert times == sorted(times)
    assert "connection refused" in read("rtsp://127.0.0.1:9/cam")
