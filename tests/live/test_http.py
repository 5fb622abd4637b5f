"""Streams over HTTP: motion JPEG whose size changes on the way, and a recording."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jdetrt.errors import SourceError
from jdetrt.runtime.sources.camera import Camera
from jdetrt.runtime.sources.finite import FiniteStream
from jdetrt.runtime.sources.open import open_source

PATIENCE = 60.0  # seconds


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class MotionJpeg(BaseHTTPRequestHandler):
    """Motion JPEG, 64x48 at first, then 96x64; for those with a password."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic bWU6czNjcmV0":  # me:s3cret
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in range(10_000):
                size = (64, 48) if number < 30 else (96, 64)
                image = np.full((size[1], size[0], 3), number % 200, np.uint8)
                data = cv2.imencode(".jpg", image)[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(0.02)
        except OSError:  # whoever watched has gone
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_size_that_changes_within_a_stream_is_noticed() -> None:
    said: list[str] = []
    deadline = time.monotonic() + PATIENCE
    with serving(MotionJpeg) as address:
        url = address.replace("//", "//me:s3cret@") + "/video.mjpg"
        with open_source(url, say=said.append) as source:
            assert isinstance(source, Camera)
            shapes = set()
            for frame in source:
                shapes.add(frame.image.shape)
                assert time.monotonic() < deadline
                if len(shapes) == 2:
                    break
            assert source.size == (96, 64)
            status = source.status()
        assert source.uri == address.replace("//", "//me:***@") + "/video.mjpg"
    assert shapes == {(48, 64, 3), (64, 96, 3)}
    assert (status.outages, status.size_changes) == (0, 1)
    assert said[-1].endswith("is 96x64, those before it 64x48")


def test_a_password_that_is_wrong() -> None:
    with serving(MotionJpeg) as address:
        with pytest.raises(SourceError, match="401: the server asks for a user and a password"):
            open_source(f"{address}/video.mjpg")
        with pytest.raises(SourceError, match="401: the server refuses this user") as caught:
            open_source(address.replace("//", "//me:wr0ng@") + "/video.mjpg")
        assert "wr0ng" not in str(caught.value)


def test_a_recording_on_a_server_is_read_to_its_end(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "walk.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48)
    )
    for index in range(60):
        writer.write(np.full((48, 64, 3), index * 4, np.uint8))
    writer.release()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(partial(Quiet, directory=str(tmp_path))) as address:
        with open_source(f"{address}/walk.mp4") as source:
            assert isinstance(source, FiniteStream)
            assert (source.live, source.length, source.frame_rate) == (False, 60, 25.0)
            frames = [(frame.index, frame.timestamp) for frame in source]
        with pytest.raises(SourceError, match="404: the server has no such stream"):
            open_source(f"{address}/run.mp4")
    assert [index for index, _ in frames] == list(range(1, 61))
    assert [time for _, time in frames] == pytest.approx([i / 25 for i in range(60)], abs=1e-3)
