"""Cameras and network streams by URI: 0, camera:0, csi://0, rtsp://..., http://..., gst:..."""

from __future__ import annotations

import glob
import os
import re
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl

from jdetrt.errors import SourceError
from jdetrt.machine.board import on_jetson
from jdetrt.passwords import HASH_HINT, without_passwords
from jdetrt.runtime.opencv import has_gstreamer, load_cv2, native_name
from jdetrt.runtime.sources import network
from jdetrt.runtime.sources.camera import FRAME_COUNT, STALLED_AFTER, Camera, Capture
from jdetrt.runtime.sources.finite import FiniteStream
from jdetrt.runtime.sources.gstreamer import (
    csi_pipeline,
    file_of,
    is_finite,
    open_gstreamer,
    rtsp_pipeline,
)
from jdetrt.runtime.sources.status import Say, silent

__all__ = ["Decoder", "is_camera_uri", "open_camera"]

Decoder = Literal["auto", "cpu", "nvdec"]

_SCHEME = re.compile(rf"(?:{'|'.join(network.SCHEMES)})://", re.IGNORECASE)
_DEVICE = re.compile(r"/dev/video[0-9]+(\?.*)?|[0-9]{1,2}(\?.*)?")


def is_camera_uri(text: str) -> bool:
    """Tell whether `open_camera` opens a URI; a bare number is a file where there is one."""
    if text.startswith(("camera:", "csi:", "rtsp:", "rtsps:", "gst:")) or _SCHEME.match(text):
        return True
    return _DEVICE.fullmatch(text) is not None and (text[0] == "/" or not os.path.exists(text))


def open_camera(
    uri: str,
    *,
    frame_rate: float | None = None,
    reconnect_for: float | None = None,
    stall_timeout: float = STALLED_AFTER,
    wait: bool = False,
    say: Say = silent,
    decoder: Decoder = "auto",
) -> Camera | FiniteStream:
    """Open a camera or a stream; see ``jdetrt.runtime.sources.open`` for the forms.

    Args:
        uri: for which ``is_camera_uri`` is true.
        frame_rate: frames per second, in place of what the camera says.
        reconnect_for: seconds that it may be away; None for any time.
        stall_timeout: seconds without a frame after which it counts as away.
        wait: also wait for one that is away at the beginning.
        say: gets a line when it goes away and when it comes back.
        decoder: of RTSP; ``"auto"`` is the hardware's on a Jetson.

    Raises:
        SourceError: the URI is malformed, or the camera does not open. Where OpenCV lacks
            GStreamer, the message has the pipeline and says how to get an OpenCV with it.
    """
    uri = native_name(uri, SourceError)
    make = partial(
        Camera,
        without_passwords(uri),
        frame_rate=frame_rate,
        reconnect_for=reconnect_for,
        stall_timeout=stall_timeout,
        wait=wait,
        say=say,
    )
    if uri.startswith("gst:"):
        return _pipeline(uri, uri.removeprefix("gst:"), make, frame_rate)
    if uri.startswith("csi:"):
        return _csi(uri, make, frame_rate)
    if _SCHEME.match(uri) or uri.startswith("rtsp"):
        return _stream(uri, make, frame_rate, decoder)
    rest = uri.removeprefix("camera:").removeprefix("/dev/video")
    number, options = _options(uri, rest, {"width", "height", "fps"})
    return make(partial(_open_usb, uri, number, options), name=f"camera{number}")


def _csi(uri: str, make: partial[Camera], frame_rate: float | None) -> Camera:
    rest = uri.removeprefix("csi:").removeprefix("//")
    sensor, options = _options(uri, rest, {"width", "height", "fps", "flip"})
    return make(
        partial(open_gstreamer, uri, csi_pipeline(sensor, **options)),
        name=f"csi{sensor}",
        frame_rate=frame_rate or float(options.get("fps", 30)),
    )


def _pipeline(
    uri: str, pipeline: str, make: partial[Camera], frame_rate: float | None
) -> Camera | FiniteStream:
    """A pipeline of the user: of a file, to its end; of anything else, live."""
    shown = without_passwords(uri)
    open_capture = partial(open_gstreamer, shown, pipeline)
    if not is_finite(pipeline):
        return make(open_capture, name="gst")
    if re.search(r"\bdrop\s*=\s*(true|1)\b", pipeline):
        raise SourceError(
            f"{shown}: it reads a file, and drop=true would leave frames out; leave drop out"
        )
    name = file_of(pipeline) or "gst"
    return FiniteStream(shown, open_capture, name=name, frame_rate=frame_rate, stated_times=False)


def _stream(
    uri: str, make: partial[Camera], frame_rate: float | None, decoder: Decoder
) -> Camera | FiniteStream:
    codec = next((name for name in ("h264", "h265") if uri.endswith(f"#{name}")), None)
    url = uri.removesuffix(f"#{codec}")
    shown = without_passwords(url)
    if "#" in url:
        raise SourceError(f"{shown}: expected #h264 or #h265 at its end, if any; {HASH_HINT}")
    name = network.stream_name(url)
    if not name:
        raise SourceError(f"{shown}: expected a host, as in rtsp://host/stream")
    if url.startswith("rtsp") and has_gstreamer():
        hardware = decoder != "cpu" and on_jetson()
        pipeline = rtsp_pipeline(url, codec=codec or "h264", hardware=hardware)
        return make(partial(_open_rtsp, url, pipeline), name=name)
    open_capture = partial(network.open_stream, url)
    if not url.lower().startswith("http"):  # a recording on a web server is not live
        return make(open_capture, name=name)
    try:
        first: list[Capture] = [open_capture()]
    except SourceError:
        if not make.keywords["wait"]:
            raise
        return make(open_capture, name=name)
    if first[0].get(FRAME_COUNT) > 0:
        first.pop().release()
        return FiniteStream(shown, open_capture, name=name, frame_rate=frame_rate)
    return make(lambda: first.pop() if first else open_capture(), name=name)


def _open_rtsp(url: str, pipeline: str) -> Capture:
    try:
        return open_gstreamer(without_passwords(url), pipeline)
    except SourceError as err:
        if reason := network.explain(url):
            raise SourceError(f"{without_passwords(url)}: does not open ({reason})") from err
        raise


def _open_usb(uri: str, number: int, options: dict[str, int]) -> Capture:
    cv2 = load_cv2()
    present = sorted(glob.glob("/dev/video*"))
    if Path("/dev").is_dir() and f"/dev/video{number}" not in present:
        raise SourceError(
            f"{uri}: /dev/video{number} does not exist; cameras on this machine: "
            f"{', '.join(present) or 'none'}"
        )
    capture = cv2.VideoCapture(number, cv2.CAP_V4L2 if present else cv2.CAP_ANY)
    if not capture.isOpened():
        raise SourceError(
            f"{uri}: the camera does not open; check that no other program is using it and "
            f"that you may read /dev/video{number} (group video)"
        )
    if options:
        # Uncompressed images above 640 x 480 do not fit through USB 2 at a full frame rate.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
    for option, property_ in (
        ("width", cv2.CAP_PROP_FRAME_WIDTH),
        ("height", cv2.CAP_PROP_FRAME_HEIGHT),
        ("fps", cv2.CAP_PROP_FPS),
    ):
        if option in options:
            capture.set(property_, options[option])
    opened: Capture = capture
    return opened


def _options(uri: str, text: str, known: set[str]) -> tuple[int, dict[str, int]]:
    """Split ``0?width=640&fps=30`` into the number of the device and its options."""
    shown = without_passwords(uri)
    device, _, query = text.partition("?")
    if not re.fullmatch("[0-9]{1,3}", device):
        raise SourceError(f"{shown}: expected the number of a camera, as in camera:0 or csi://0")
    options = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known or not re.fullmatch("[0-9]{1,5}", value):
            raise SourceError(
                f"{shown}: expected whole numbers for {', '.join(sorted(known))}, "
                f"got {without_passwords(f'{key}={value}')}"
            )
        options[key] = int(value)
    return int(device), options
