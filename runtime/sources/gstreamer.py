"""GStreamer pipelines for OpenCV: of cameras, of network streams, and those that users write."""

from __future__ import annotations

import re
from pathlib import Path

from jdetrt.errors import SourceError
from jdetrt.machine.board import on_jetson
from jdetrt.machine.gstreamer import missing_elements
from jdetrt.machine.probe import Probe
from jdetrt.passwords import without_passwords
from jdetrt.runtime.opencv import has_gstreamer, load_cv2
from jdetrt.runtime.sources.camera import Capture

__all__ = [
    "any_pipeline",
    "csi_pipeline",
    "file_of",
    "file_pipeline",
    "how_to_get_gstreamer",
    "is_finite",
    "open_gstreamer",
    "require_nvdec",
    "rtsp_pipeline",
]

# The last frame only, as soon as it is there: a tracker wants the present, not the backlog.
_SINK = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
# nvvidconv copies out of the Jetson's own memory and cannot make BGR; videoconvert can.
_FROM_NVMM = "nvvidconv{flip} ! video/x-raw,format=BGRx ! videoconvert ! " + _SINK
_STALL_US = 20_000_000  # or a read of a stream that has stalled never returns
# Elements that read files, and properties that name one or say how long a test lasts.
_FILE_ELEMENTS = re.compile(r"(?:^|[\s!])(?:filesrc|multifilesrc|splitmuxsrc|splitfilesrc)\b")
_FILE_URI = re.compile(r"\buri\s*=\s*\"?file:")
_COUNTED = re.compile(r"\bnum-buffers\s*=\s*\"?[1-9]")
_LOCATION = re.compile(r"\b(?:location|uri)\s*=\s*(?:\"([^\"]*)\"|(\S+))")


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
    source = (
        f'rtspsrc location="{_quoted(url)}" protocols=tcp latency={latency_ms} '
        f"tcp-timeout={_STALL_US} ! "
    )
    if not hardware:
        return f"{source}decodebin ! videoconvert ! {_SINK}"
    decoder = f"rtp{codec}depay ! {codec}parse ! nvv4l2decoder enable-max-performance=1 ! "
    return source + decoder + _FROM_NVMM.format(flip="")


def file_pipeline(path: str) -> str:
    """Pipeline of a video file that the Jetson's own decoder decodes, every frame of it.

    Args:
        path: of an MP4, MKV or AVI file; its video may be H.264, H.265, VP9 or AV1.

    >>> file_pipeline("walk.mp4").split(" ! ")[:3]
    ['filesrc location="walk.mp4"', 'parsebin', 'nvv4l2decoder enable-max-performance=1']
    """
    source = (
        f'filesrc location="{_quoted(path)}" ! parsebin ! nvv4l2decoder enable-max-performance=1'
    )
    return f"{source} ! " + _FROM_NVMM.format(flip="").replace("drop=true max-buffers=1 ", "")


def require_nvdec(shown_uri: str) -> None:
    """Refuse the hardware decoder where it is not. Raises SourceError."""
    missing = missing_elements(Probe(), jetson=True) if on_jetson() else {}
    lacks = [name for name in ("nvv4l2decoder", "nvvidconv") if name in (missing or {})]
    if on_jetson() and has_gstreamer() and not lacks:
        return
    reason = (
        "it is used by GStreamer on a Jetson, and this machine is none"
        if not on_jetson()
        else f"GStreamer lacks {' and '.join(lacks)}, of the package nvidia-l4t-gstreamer"
        if lacks
        else how_to_get_gstreamer()
    )
    raise SourceError(f"{shown_uri}: no hardware decoder ({reason}). Use the decoder cpu or auto")


def any_pipeline(url: str, *, gives_up: bool = False) -> str:
    """Pipeline of a stream of any protocol that GStreamer knows, such as SRT.

    Args:
        url: of the stream.
        gives_up: whether GStreamer's SRT can be told to give up, which is so from 1.22 on; by
            itself it tries a refused passphrase for ever.

    >>> any_pipeline("srt://host:9000").split(" ! ")[0]
    'uridecodebin uri="srt://host:9000"'
    >>> any_pipeline("srt://host:9000", gives_up=True).split(" ! ")[0]
    'srtsrc uri="srt://host:9000" auto-reconnect=false'
    """
    source = f'uridecodebin uri="{_quoted(url)}"'
    if gives_up and url.lower().startswith("srt:"):
        source = f'srtsrc uri="{_quoted(url)}" auto-reconnect=false ! decodebin'
    return f"{source} ! videoconvert ! {_SINK}"


def is_finite(pipeline: str) -> bool:
    """Tell whether a pipeline reads a file, or counts its frames, and so comes to an end.

    >>> is_finite("filesrc location=walk.mp4 ! decodebin ! videoconvert ! appsink")
    True
    >>> is_finite("v4l2src device=/dev/video0 ! videoconvert ! appsink")
    False
    """
    return any(what.search(pipeline) for what in (_FILE_ELEMENTS, _FILE_URI, _COUNTED))


def file_of(pipeline: str) -> str:
    """Stem of the file that a pipeline reads; "" where it names none.

    >>> file_of("filesrc location=clips/walk.mp4 ! decodebin ! videoconvert ! appsink")
    'walk'
    """
    match = _LOCATION.search(pipeline)
    return Path(match[1] or match[2] or "").stem if match else ""


def open_gstreamer(shown_uri: str, pipeline: str) -> Capture:
    """Start a pipeline.

    Args:
        shown_uri: what the user asked for, without passwords.
        pipeline: ends in an appsink.

    Raises:
        SourceError: this OpenCV has no GStreamer, there is no appsink, or it does not start.
    """
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


def _quoted(url: str) -> str:
    return url.replace("\\", "\\\\").replace('"', '\\"')
