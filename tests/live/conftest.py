"""A real RTSP server that can be killed, stopped and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

collect_ignore = ["rtsp_server.py"]  # which the system's Python runs

SERVER = Path(__file__).with_name("rtsp_server.py")
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0')\nfrom gi.repository import Gst\n"
NEEDS += "Gst.init(None); assert Gst.ElementFactory.find('x264enc')"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspCamera:
    """A camera at ``rtsp://127.0.0.1:PORT/cam``."""

    def __init__(self, python: str) -> None:
        self.port = free_port()
        self._python = python
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def start(self, **options: object) -> None:
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self._process = subprocess.Popen(
            [self._python, str(SERVER), "--port", str(self.port), *words],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.communicate()
            self._process = None

    def pause(self, *, on: bool) -> None:
        """Stop it in its tracks, connections open, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)


@pytest.fixture(scope="session")
def gstreamer_python() -> str:
    """A Python with GStreamer's RTSP server."""
    python = shutil.which("python3", path="/usr/bin")
    if python is None or subprocess.run([python, "-c", NEEDS], capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server for Python is not installed (scripts/system.sh dev)")
    return python


@pytest.fixture
def rtsp_camera(gstreamer_python: str) -> Iterator[Callable[[], RtspCamera]]:
    cameras: list[RtspCamera] = []

    def make() -> RtspCamera:
        cameras.append(RtspCamera(gstreamer_python))
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.kill()


@pytest.fixture(scope="session")
def system_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that runs code in the system's Python, whose OpenCV has GStreamer."""
    python = shutil.which("python3", path="/usr/bin")
    folder = tmp_path_factory.mktemp("packages")
    (folder / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    (folder / "jdetrt").symlink_to(Path(__file__).parents[2] / "jdetrt")
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}

    def run(*arguments: str) -> str:
        assert python is not None
        done = subprocess.run(
            [python, "-c", *arguments], capture_output=True, text=True, env=environment, timeout=120
        )
        return done.stdout if done.returncode == 0 else done.stderr

    has = "import msgspec, cv2; print(cv2.getBuildInformation().replace(' ', ''))"
    if python is None or "GStreamer:YES" not in run(has):
        pytest.skip("the system's Python has no OpenCV with GStreamer (scripts/system.sh dev)")
    return run
