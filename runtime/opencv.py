"""OpenCV, imported at the first use: it is optional, and a Jetson brings its own with GStreamer."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from types import ModuleType

from jdetrt.errors import JdetrtError, MissingDependencyError

__all__ = ["gstreamer_version", "has_gstreamer", "load_cv2", "native_name"]

_FFMPEG_QUIET = "-8"  # AV_LOG_QUIET
_LOG_FATAL = 1  # cv::utils::logging::LOG_LEVEL_FATAL


@functools.cache
def load_cv2() -> ModuleType:
    """Import ``cv2`` at the first call and return it, its own log silenced.

    OpenCV and FFmpeg print a line or more to stderr for every file that does not open. Whoever
    calls here turns the failure into one message of our own, so theirs are switched off; the
    environment variable ``OPENCV_FFMPEG_LOGLEVEL`` switches FFmpeg's on again.

    Raises:
        MissingDependencyError: OpenCV is not installed.
        JdetrtError: it is installed and does not load, often for want of a system library.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    try:
        import cv2
    except ModuleNotFoundError as err:
        raise MissingDependencyError(
            package="opencv-python", extra="video", purpose="Reading and writing images and video"
        ) from err
    except ImportError as err:
        raise JdetrtError(
            f"OpenCV is installed but does not load: {err}\n"
            "On Debian and Ubuntu the missing libraries come with: apt-get install libgl1 "
            "libglib2.0-0; or install opencv-python-headless in place of opencv-python"
        ) from err
    _silence(cv2)
    return cv2


def _silence(cv2: ModuleType) -> None:
    # OpenCV 4.5 has cv2.setLogLevel, OpenCV 5 cv2.utils.logging.setLogLevel, most of 4.x have both.
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(_LOG_FATAL)
    elif hasattr(getattr(cv2, "utils", None), "logging"):
        cv2.utils.logging.setLogLevel(_LOG_FATAL)


def has_gstreamer() -> bool:
    """Tell whether this OpenCV was built with GStreamer; the wheels of PyPI are not."""
    return gstreamer_version() is not None


def gstreamer_version() -> tuple[int, int] | None:
    """Version of the GStreamer that this OpenCV was built with; None without, (0, 0) unknown."""
    match = re.search(r"GStreamer:\s+YES(?:\s*\((\d+)\.(\d+))?", load_cv2().getBuildInformation())
    return None if match is None else (int(match[1] or 0), int(match[2] or 0))


def native_name(name: str | Path, error: type[JdetrtError]) -> str:
    """A file name or URI that OpenCV and ONNX Runtime may be given.

    Both hand names on to the system as UTF-8. A name with other bytes has none (Python shows such
    bytes as lone surrogates), and OpenCV crashes on it.

    Raises:
        JdetrtError: of the type ``error``; the name is not UTF-8.

    >>> native_name("walk é.mp4", JdetrtError)
    'walk é.mp4'
    """
    try:
        # By way of its bytes: in the locale C, Python itself does not know that they are UTF-8.
        return os.fsencode(name).decode("utf-8")
    except UnicodeError as err:
        raise error(
            f"{name}: OpenCV and ONNX Runtime take only names in UTF-8, this one has other bytes; "
            "rename it"
        ) from err
