"""The video of a run that was killed plays in a browser: headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLED = """
import os, signal, sys
import numpy as np
from jdetrt.runtime.sinks.rotation import Rotation
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.types import Frame, Tracks

sink = VideoSink(sys.argv[1], 10, live=Rotation())
for i in range(1, 46):
    image = np.full((91, 161, 3), 40 + i, np.uint8)  # sides of an odd length
    sink.write(Frame(image, i, 50 + i / 10), Tracks([1], [[20, 20, 60, 80]], [0.9]))
os.kill(os.getpid(), signal.SIGKILL)
"""
PLAY = (
    "video => { video.muted = true; video.play().catch(err => { document.title = String(err); }); }"
)
STATE = """
video => ({
    size: [video.videoWidth, video.videoHeight], seconds: video.currentTime, ended: video.ended,
    error: video.error && video.error.message, title: document.title, ready: video.readyState
})
"""


def test_a_killed_video_plays_to_its_last_second(tmp_path: Path) -> None:
    pytest.importorskip("av")
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("no Chromium on this machine (Debian's package: chromium)")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "v.mp4")], check=False)
    assert done.returncode == -9
    page_file = tmp_path / "page.html"
    page_file.write_text('<!doctype html><video src="v.mp4" preload="auto"></video>')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(page_file.as_uri())
        video = page.locator("video")
        video.evaluate(PLAY)
        deadline = time.monotonic() + 60
        while not (state := video.evaluate(STATE))["seconds"] > 3.4 and not state["error"]:
            assert time.monotonic() < deadline, state
            time.sleep(0.2)
        browser.close()
    assert (state["error"], state["title"]) == (None, "")
    assert state["size"] == [162, 92]  # even, as H.264 in browsers has to be
