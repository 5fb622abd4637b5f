from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from jdetrt.errors import JdetrtError, MissingDependencyError
from jdetrt.runtime import opencv


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    opencv.load_cv2.cache_clear()
    yield
    opencv.load_cv2.cache_clear()


def test_gives_cv2() -> None:
    assert opencv.load_cv2().__name__ == "cv2"


def test_a_missing_opencv_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jdetrt\[video\]'"):
        opencv.load_cv2()


def test_an_opencv_that_does_not_load_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object')")
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(JdetrtError, match=r"libGL.so.1.*\n.*apt-get install libgl1"):
        opencv.load_cv2()


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("    GStreamer:                   YES (1.20.3)", True),
        ("    GStreamer:                   NO", False),
        ("    v4l/v4l2:                    YES", False),
    ],
)
def test_gstreamer_is_read_off_the_build(
    monkeypatch: pytest.MonkeyPatch, line: str, there: bool
) -> None:
    built = SimpleNamespace(getBuildInformation=lambda: f"  Video I/O:\n{line}\n")
    monkeypatch.setattr(opencv, "load_cv2", lambda: built)
    assert opencv.has_gstreamer() is there


def test_the_log_is_silenced_in_old_and_new_opencv() -> None:
    levels: list[int] = []
    old = ModuleType("cv2")
    vars(old)["setLogLevel"] = levels.append
    new = ModuleType("cv2")
    vars(new)["utils"] = SimpleNamespace(logging=SimpleNamespace(setLogLevel=levels.append))
    opencv._silence(old)
    opencv._silence(new)
    opencv._silence(ModuleType("cv2"))
    assert levels == [1, 1]


def test_a_file_that_does_not_open_prints_nothing() -> None:
    code = (
        "from jdetrt.runtime.opencv import load_cv2\n"
        "cv2 = load_cv2()\n"
        "cv2.VideoCapture('/nowhere.mp4'); cv2.VideoCapture(99); cv2.imread('/nowhere.png')\n"
        "cv2.VideoWriter('/nowhere/x.mp4', cv2.VideoWriter_fourcc(*'avc1'), 25, (64, 64))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("text", "version"), [("YES (1.20.3)", (1, 20)), ("YES", (0, 0)), ("NO", None)]
)
def test_gstreamer_version(
    monkeypatch: pytest.MonkeyPatch, text: str, version: tuple[int, int] | None
) -> None:
    built = SimpleNamespace(getBuildInformation=lambda: f"    GStreamer:     {text}\n")
    monkeypatch.setattr(opencv, "load_cv2", lambda: built)
    assert opencv.gstreamer_version() == version
