"""Open a source of frames by its URI.

==============================  ============================================================
``video.mp4``                   a video file
``folder/``                     its images, in natural order
``MOT17-09/``                   a MOT Challenge sequence (a folder with a seqinfo.ini)
``"folder/*.jpg"``              the images that a pattern finds (``**`` goes into folders)
``0``, ``camera:0``             a USB camera, as ``/dev/video0`` is;
                                ``camera:0?width=1280&height=720&fps=30``
``csi://0``                     a CSI camera of a Jetson; the same options, and ``flip``
``rtsp://host/stream``          a network camera; ``#h265`` at the end says its codec on a Jetson
``http://host/video.mjpg``      a stream that FFmpeg reads: http, https, udp, rtp, tcp, srt, rtmp;
                                a recording on a web server is read to its end
``gst:PIPELINE``                a GStreamer pipeline that ends in an appsink, word for word; one
                                that reads a file is read to its end
==============================  ============================================================
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from jdetrt.account import Account
from jdetrt.errors import SourceError
from jdetrt.passwords import without_passwords
from jdetrt.runtime.sources.camera import STALLED_AFTER
from jdetrt.runtime.sources.camera_uri import Decoder, is_camera_uri, open_camera
from jdetrt.runtime.sources.finite import FiniteStream
from jdetrt.runtime.sources.gstreamer import file_pipeline, open_gstreamer, require_nvdec
from jdetrt.runtime.sources.images import (
    IMAGE_SUFFIXES,
    Images,
    folder_images,
    natural_order,
)
from jdetrt.runtime.sources.rate import LOWEST
from jdetrt.runtime.sources.status import Say, silent
from jdetrt.runtime.sources.video import VideoFile
from jdetrt.types import Frame

__all__ = ["Source", "account_of", "image_paths", "open_source"]

_FORMS = (
    "a video file, a folder of images, a MOT sequence, a pattern such as 'folder/*.jpg', "
    "0 or camera:0, csi://0, rtsp://host/stream, http://host/stream or gst:PIPELINE"
)


@runtime_checkable
class Source(Protocol):
    """Frames in order, numbered from 1; a context manager that closes it.

    Attributes:
        uri: what it was opened with, passwords left out.
        name: short, for file names and titles.
        frame_rate: frames per second, 30 where nobody knows.
        size: width and height in pixels, or None where they are not known yet.
        length: number of frames, or None where it is not known.
        live: whether frames come at their own time and those not taken are lost.
    """

    uri: str
    name: str
    frame_rate: float
    size: tuple[int, int] | None
    length: int | None
    live: bool

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. Raises SourceError where the source breaks off."""

    def close(self) -> None:
        """End the iteration and free the device; a second call does nothing."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def open_source(
    uri: str | Path,
    *,
    frame_rate: float | None = None,
    reconnect_for: float | None = None,
    stall_timeout: float = STALLED_AFTER,
    wait: bool = False,
    say: Say = silent,
    decoder: Decoder = "auto",
) -> Source:
    """Open a source of frames.

    Args:
        uri: one of the forms above; a file whose name looks like a camera is given as ./camera:0.
        frame_rate: frames per second, in place of what the source says about itself.
        reconnect_for: seconds that a live source may be away before it counts as lost for good;
            None for any time, 0 to end with its first failure.
        stall_timeout: seconds without a frame after which a live source counts as away.
        wait: also wait for a live source that is away at the beginning.
        say: gets a line when a live source goes away and when it comes back.
        decoder: of video files and RTSP: ``"cpu"``; ``"nvdec"``, that of a Jetson, through
            GStreamer; ``"auto"`` is the Jetson's for RTSP, and the CPU everywhere else.

    Raises:
        SourceError: there is no such thing, or it cannot be opened; the message says what was
            tried.
        MissingDependencyError: OpenCV is not installed.
    """
    text = str(uri)
    if not text.strip():
        raise SourceError(f"no source given; expected {_FORMS}")
    if frame_rate is not None and not LOWEST <= frame_rate < float("inf"):
        raise SourceError(
            f"{without_passwords(text)}: expected a frame rate above 0, got {frame_rate}"
        )
    if decoder == "nvdec":
        _check_nvdec(text)
    if is_camera_uri(text):
        return open_camera(
            text,
            frame_rate=frame_rate,
            reconnect_for=reconnect_for,
            stall_timeout=stall_timeout,
            wait=wait,
            say=say,
            decoder=decoder,
        )
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        shown = without_passwords(text)
        raise SourceError(f"{shown}: {scheme[0]} is not supported; expected {_FORMS}")
    return _files(text, frame_rate, decoder)


def _check_nvdec(text: str) -> None:
    """Refuse the hardware decoder for what it does not decode, or where it is not."""
    shown, path = without_passwords(text), Path(text)
    is_video = path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES
    if not (is_video or text.startswith("rtsp")):
        raise SourceError(
            f"{shown}: the hardware decoder takes video files and rtsp://; use the decoder auto"
        )
    require_nvdec(shown)


def _files(text: str, frame_rate: float | None, decoder: Decoder) -> Source:
    path = Path(text)
    try:
        if path.is_dir():
            return Images.from_folder(path, frame_rate)
        if path.is_file():
            if path.suffix.lower() in IMAGE_SUFFIXES:
                return Images(text, [path], name=path.stem, frame_rate=frame_rate or 30.0)
            if decoder == "nvdec":
                start = partial(open_gstreamer, text, file_pipeline(text))
                return FiniteStream(
                    text, start, name=path.stem, frame_rate=frame_rate, stated_times=False
                )
            return VideoFile(path, frame_rate)
        if path.exists():
            raise SourceError(f"{text}: neither a file nor a folder; expected {_FORMS}")
    except OSError as err:
        raise SourceError(f"{text}: cannot be read ({err.strerror or err})") from err
    if not glob.has_magic(text):
        shown = without_passwords(text)  # it may be a URL that is written wrongly
        raise SourceError(f"{shown}: no such file or folder; expected {_FORMS}")
    name = path.parent.name or "pictures"
    if glob.has_magic(name):
        name = "pictures"
    return Images(text, _matches(text), name=name, frame_rate=frame_rate or 30.0)


def account_of(source: Source) -> Account:
    """Account of the frames of a source's last iteration; an empty one where it keeps none."""
    account: Account = getattr(source, "account", None) or Account("frame")
    return account


def image_paths(uri: str | Path) -> tuple[Path, ...]:
    """List the images of a source in their order, unread; empty where it is not of images.

    For those who want some of them only, or who go on where one is damaged.

    Raises:
        SourceError: a folder cannot be read, or its seqinfo.ini promises other images.
    """
    path = Path(uri)
    if path.is_dir():
        found = folder_images(path).paths
    elif path.is_file():
        found = [path] if path.suffix.lower() in IMAGE_SUFFIXES else []
    else:
        found = _matches(str(uri)) if glob.has_magic(str(uri)) else []
    return tuple(natural_order(found))


def _matches(pattern: str) -> list[Path]:
    found = (Path(name) for name in glob.glob(pattern, recursive=True))
    return [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
