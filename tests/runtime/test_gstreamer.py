from __future__ import annotations

import pytest

from jdetrt.runtime.sources import gstreamer
from jdetrt.runtime.sources.gstreamer import csi_pipeline, how_to_get_gstreamer, rtsp_pipeline

NEWEST = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


def test_csi() -> None:
    assert csi_pipeline(1, width=1280, height=720, fps=60, flip=2) == (
        "nvarguscamerasrc sensor-id=1 ! "
        "video/x-raw(memory:NVMM),width=1280,height=720,framerate=60/1,format=NV12 ! "
        "nvvidconv flip-method=2 ! video/x-raw,format=BGRx ! videoconvert ! " + NEWEST
    )


def test_rtsp_with_the_decoder_of_the_jetson() -> None:
    assert rtsp_pipeline("rtsp://h/s", codec="h265", hardware=True, latency_ms=50) == (
        'rtspsrc location="rtsp://h/s" protocols=tcp latency=50 tcp-timeout=20000000 ! '
        "rtph265depay ! h265parse ! nvv4l2decoder enable-max-performance=1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! " + NEWEST
    )


def test_rtsp_elsewhere_lets_gstreamer_choose() -> None:
    assert rtsp_pipeline("rtsp://h/s") == (
        'rtspsrc location="rtsp://h/s" protocols=tcp latency=200 tcp-timeout=20000000 ! '
        "decodebin ! videoconvert ! " + NEWEST
    )


def test_a_url_cannot_break_out_of_its_quotes() -> None:
    assert r'location="rtsp://a\"b\\c" protocols' in rtsp_pipeline('rtsp://a"b\\c')


@pytest.mark.parametrize(("jetson", "hint"), [(True, "JetPack"), (False, "python3-opencv")])
def test_how_to_get_it_depends_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, jetson: bool, hint: str
) -> None:
    monkeypatch.setattr(gstreamer, "on_jetson", lambda: jetson)
    text = how_to_get_gstreamer()
    assert hint in text
    assert "--system-site-packages" in text
