"""Streams that FFmpeg and GStreamer send in earnest: RTMP, UDP, RTP, TCP and SRT."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jdetrt.errors import SourceError
from jdetrt.runtime.sources.open import open_source

SIZE = (160, 120)
FFMPEG = shutil.which("ffmpeg")
LAUNCH = shutil.which("gst-launch-1.0")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
needs_gstreamer = pytest.mark.skipif(LAUNCH is None, reason="gst-launch-1.0 is not installed")
H264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h264parse"
TO_TS = f"{H264} config-interval=1 ! mpegtsmux alignment=7"


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: object) -> Iterator[None]:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([str(word) for word in command], **quiet) as process:
        try:
            yield
        finally:
            process.kill()


def pattern(sink: str) -> list[str]:
    """GStreamer's test pattern at 25 FPS, to a sink."""
    caps = f"video/x-raw,width={SIZE[0]},height={SIZE[1]},framerate=25/1"
    return ["-q", *f"videotestsrc is-live=true ! {caps} ! {sink}".split()]


def check(url: str, secret: str = "s3cret") -> None:
    """Read some frames; nothing that is said has the password."""
    said: list[str] = []
    with open_source(url, wait=True, say=said.append) as source:
        frames = list(itertools.islice(source, 10))
        shown = [source.uri, source.name, repr(source.status()), *said]  # type: ignore[attr-defined]
    assert [frame.image.shape for frame in frames] == [(SIZE[1], SIZE[0], 3)] * 10
    times = [frame.timestamp for frame in frames]
    assert times == sorted(times)  # type: ignore[type-var]
    assert not any(secret in text for text in shown)


@needs_ffmpeg
def test_rtmp() -> None:
    address = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}/live/cam"
    pattern = f"testsrc=size={SIZE[0]}x{SIZE[1]}:rate=25"
    encode = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g 10 -f flv"
    with running(
        *(FFMPEG, "-re", "-f", "lavfi", "-i", pattern, *encode.split()),
        *("-listen", 1, f"rtmp://{address}"),
    ):
        check(f"rtmp://me:s3cret@{address}")


@needs_gstreamer
@pytest.mark.parametrize("scheme", ["udp", "rtp", "tcp"])
def test_transport_stream(scheme: str) -> None:
    port = free_port(socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM)
    sink = {
        "udp": f"{TO_TS} ! udpsink host=127.0.0.1 port={port}",
        "rtp": f"{TO_TS} ! rtpmp2tpay ! udpsink host=127.0.0.1 port={port}",
        "tcp": f"{TO_TS} ! tcpserversink host=127.0.0.1 port={port}",
    }[scheme]
    with running(LAUNCH, *pattern(sink)):
        check(f"{scheme}://127.0.0.1:{port}")


def test_srt_without_it() -> None:
    """PyAV's FFmpeg has no SRT: that is said, not that the camera might be off."""
    url = "srt://127.0.0.1:9?passphrase=s3cretpassphrase"
    with pytest.raises(SourceError, match="has no srt") as info, open_source(url):
        pass
    assert "s3cret" not in str(info.value)


@needs_gstreamer
@pytest.mark.parametrize("right", [True, False])
def test_srt_by_the_opencv_of_the_system(read_by_system: Any, right: bool) -> None:
    port = free_port(socket.SOCK_DGRAM)
    uri = f"srt://127.0.0.1:{port}?mode=listener&passphrase=s3cretpassphrase&pbkeylen=16"
    asked = f"srt://127.0.0.1:{port}?passphrase=s3cretpassphrase&pbkeylen=16"
    if not right:
        asked = asked.replace("s3cret", "0therr")
    with running(LAUNCH, *pattern(f"{TO_TS} ! srtsink uri={uri} wait-for-connection=false")):
        answer = read_by_system(asked)
    assert ("frames" in answer) == right, answer
    assert "passphrase" not in json.dumps(answer).replace("passphrase=***", "")


READ = """
import itertools, json, sys
from jdetrt.errors import JdetrtError
from jdetrt.runtime.sources.open import open_source

said = []
try:
    with open_source(sys.argv[1], reconnect_for=5, say=said.append) as source:
        shapes = [frame.image.shape for frame in itertools.islice(source, 10)]
        print(json.dumps({"frames": shapes, "uri": source.uri, "said": said}))
except JdetrtError as err:
    print(json.dumps({"error": str(err), "said": said}))
"""


@pytest.fixture
def read_by_system(system_python: Any) -> Any:
    """A function that reads some frames in the system's Python, whose OpenCV has GStreamer."""
    return lambda uri: json.loads(system_python(READ, uri))
