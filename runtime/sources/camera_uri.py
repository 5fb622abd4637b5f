"""Cameras and network streams by URI: camera:0, /dev/video0, csi://0, rtsp://..., gst:..."""

from __future__ import annotations

import glob
import re
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from jdetrt.errors import SourceError
from jdetrt.passwords import HASH_HINT, without_passwords
from jdetrt.runtime.opencv import has_gstreamer, load_cv2, native_name
from jdetrt.runtime.sources.camera import Camera, Capture

__all__ = [
    "csi_pipeline",
    "how_to_get_gstreamer",
    "is_camera_uri",
    "on_jetson",
    "open_camera",
    "rtsp_pipeline",
]

_CONNECT_MS = 10_000
# The last frame only, as soon as it is there: a tracker wants the present, not the backlog.
_SINK = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
# nvvidconv copies out of the Jetson's own memory and cannot make BGR; videoconvert can.
_FROM_NVMM = "nvvidconv{flip} ! video/x-raw,format=BGRx ! videoconvert ! " + _SINK


def is_camera_uri(text: str) -> bool:
    """Tell whether `open_camera` opens a URI."""
    schemes = ("camera:", "csi:", "rtsp:", "rtsps:", "gst:")
    return text.startswith(schemes) or re.fullmatch(r"/dev/video[0-9]+", text) is not None


def open_camera(uri: str, *, frame_rate: float | None = None, reconnect_tries: int = 5) -> Camera:
    """Open a camera or a stream; see ``jdetrt.runtime.sources.open`` for the forms.

    Args:
        uri: for which ``is_camera_uri`` is true.
        frame_rate: frames per second, in place of what the camera says.
        reconnect_tries: how often in a row a network stream that fails is opened again.

    Raises:
        SourceError: the URI is malformed, or the camera does not open. Where OpenCV lacks
            GStreamer, the message has the pipeline and says how to get an OpenCV with it.
    """
    uri = native_name(uri, SourceError)
    if uri.startswith("gst:"):
        return _gstreamer(uri, uri.removeprefix("gst:"), name="gst", frame_rate=frame_rate)
    if uri.startswith("csi:"):
        return _csi(uri, frame_rate)
    if uri.startswith("rtsp"):
        return _rtsp(uri, frame_rate, reconnect_tries)
    return _usb(uri, frame_rate)


def _usb(uri: str, frame_rate: float | None) -> Camera:
    rest = uri.removeprefix("camera:").removeprefix("/dev/video")
    number, options = _options(uri, rest, {"width", "height", "fps"})
    return Camera(
        uri, partial(_open_usb, uri, number, options), name=f"camera{number}", frame_rate=frame_rate
    )


def _csi(uri: str, frame_rate: float | None) -> Camera:
    rest = uri.removeprefix("csi:").removeprefix("//")
    sensor, options = _options(uri, rest, {"width", "height", "fps", "flip"})
    return _gstreamer(
        uri,
        csi_pipeline(sensor, **options),
        name=f"csi{sensor}",
        frame_rate=frame_rate or float(options.get("fps", 30)),
    )


def _rtsp(uri: str, frame_rate: float | None, tries: int) -> Camera:
    codec = next((name for name in ("h264", "h265") if uri.endswith(f"#{name}")), None)
    url = uri.removesuffix(f"#{codec}")
    shown = without_passwords(url)
    if "#" in url:
        raise SourceError(f"{shown}: expected #h264 or #h265 at its end, if any; {HASH_HINT}")
    host_and_path = shown.partition("://")[2].rpartition("@")[2]
    name = re.sub(r"[^A-Za-z0-9]+", "-", host_and_path).strip("-")
    if not name:
        raise SourceError(f"{shown}: expected rtsp://host/stream")
    if has_gstreamer():
        pipeline = rtsp_pipeline(url, codec=codec or "h264", hardware=on_jetson())
        return _gstreamer(uri, pipeline, name=name, frame_rate=frame_rate, reconnect_tries=tries)
    return Camera(
        shown, partial(_open_ffmpeg, url), name=name, frame_rate=frame_rate, reconnect_tries=tries
    )


def _gstreamer(
    uri: str, pipeline: str, *, name: str, frame_rate: float | None, reconnect_tries: int = 0
) -> Camera:
    shown = without_passwords(uri)
    return Camera(
        shown,
        partial(_open_gstreamer, shown, pipeline),
        name=name,
        frame_rate=frame_rate,
        reconnect_tries=reconnect_tries,
    )


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


def _open_ffmpeg(url: str) -> Capture:
    cv2 = load_cv2()
    limits = [
        value
        for name in ("CAP_PROP_OPEN_TIMEOUT_MSEC", "CAP_PROP_READ_TIMEOUT_MSEC")
        if hasattr(cv2, name)  # from OpenCV 4.5.2
        for value in (getattr(cv2, name), _CONNECT_MS)
    ]
    capture = (
        cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
        if limits
        else cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    )
    if not capture.isOpened():
        raise SourceError(
            f"{without_passwords(url)}: does not open (tried FFmpeg over TCP; this OpenCV has no "
            "GStreamer); check the address, the password and that the camera is on"
        )
    opened: Capture = capture
    return opened


def _open_gstreamer(shown_uri: str, pipeline: str) -> Capture:
    cv2 = load_cv2()
    shown = f"The pipeline is:\n  {without_passwords(pipeline)}"
    if not has_gstreamer():
        raise SourceError(f"{shown_uri}: {how_to_get_gstreamer()}. {shown}")
    if "appsink" not in pipeline:
        raise SourceError(f"{shown_uri}: the pipeline must end in an appsink. {shown}")
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(
            f"{shown_uri}: GStreamer cannot start the pipeline; try it with gst-launch-1.0 and "
            f"fakesink for appsink. {shown}"
        )
    opened: Capture = capture
    return opened


def _options(uri: str, text: str, known: set[str]) -> tuple[int, dict[str, int]]:
    """Split ``0?width=640&fps=30`` into the number of the device and its options."""
    device, _, query = text.partition("?")
    if not re.fullmatch("[0-9]{1,3}", device):
        raise SourceError(
            f"{without_passwords(uri)}: expected the number of a camera, as in camera:0 or csi://0"
        )
    options = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known or not re.fullmatch("[0-9]{1,5}", value):
            raise SourceError(
                f"{without_passwords(uri)}: expected whole numbers for {', '.join(sorted(known))}, "
                f"got {without_passwords(f'{key}={value}')}"
            )
        options[key] = int(value)
    return int(device), options


def on_jetson() -> bool:
    """Tell whether this machine is an NVIDIA Jetson, whose GStreamer has the nv... elements."""
    return Path("/etc/nv_tegra_release").exists()


def csi_pipeline(
    sensor: int = 0, *, width: int = 1920, height: int = 1080, fps: int = 30, flip: int = 0
) -> str:
    """Pipeline of a CSI camera on a Jetson.

    Args:
        sensor: number of the camera, ``sensor-id``.
        width: pixels; the sensor must have a mode of this size.
        height: likewise.
        fps: frames per second of that mode.
        flip: ``flip-method`` of nvvidconv; 2 turns by 180 degrees.

    >>> csi_pipeline(1, width=1280, height=720, fps=60).split(" ! ")[0]
    'nvarguscamerasrc sensor-id=1'
    """
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1,format=NV12 ! "
        + _FROM_NVMM.format(flip=f" flip-method={flip}")
    )


def rtsp_pipeline(
    url: str, *, codec: str = "h264", hardware: bool = False, latency_ms: int = 200
) -> str:
    """Pipeline of a network camera.

    Args:
        url: rtsp://...
        codec: ``h264`` or ``h265``; only ``hardware`` asks for it.
        hardware: decode with nvv4l2decoder, the Jetson's own decoder; otherwise GStreamer chooses.
        latency_ms: buffer against jitter of the network.

    >>> rtsp_pipeline("rtsp://host/stream").split(" ! ")[1]
    'decodebin'
    """
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    source = f'rtspsrc location="{quoted}" protocols=tcp latency={latency_ms} ! '
    if not hardware:
        return f"{source}decodebin ! videoconvert ! {_SINK}"
    decoder = f"rtp{codec}depay ! {codec}parse ! nvv4l2decoder enable-max-performance=1 ! "
    return source + decoder + _FROM_NVMM.format(flip="")


def how_to_get_gstreamer() -> str:
    """Explain how to get an OpenCV with GStreamer, in one or two sentences."""
    return "This OpenCV was built without GStreamer, as all opencv-python wheels are. " + (
        "JetPack brings one with it: pip uninstall opencv-python, and make the virtual "
        "environment with --system-site-packages"
        if on_jetson()
        else "Use the one of the system (Debian, Ubuntu: apt-get install python3-opencv, "
        "pip uninstall opencv-python, and a virtual environment with "
        "--system-site-packages), or build OpenCV with -DWITH_GSTREAMER=ON"
    )
