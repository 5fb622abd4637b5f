"""GStreamer pipelines as text, for cameras that OpenCV reaches no other way.

Pure functions: they build a string and open nothing.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["csi_pipeline", "how_to_get_gstreamer", "on_jetson", "rtsp_pipeline"]

# The last frame only, as soon as it is there: a tracker wants the present, not the backlog.
_SINK = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
# nvvidconv copies out of the Jetson's own memory and cannot make BGR; videoconvert can.
_FROM_NVMM = "nvvidconv{flip} ! video/x-raw,format=BGRx ! videoconvert ! " + _SINK


def on_jetson() -> bool:
    """Whether this machine is an NVIDIA Jetson, whose GStreamer has the nv... elements."""
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
    """What to do about an OpenCV without GStreamer, as one sentence or two."""
    return "This OpenCV was built without GStreamer, as all opencv-python wheels are. " + (
        "JetPack brings one with it: pip uninstall opencv-python, and make the virtual "
        "environment with --system-site-packages"
        if on_jetson()
        else "Use the one of the system (Debian, Ubuntu: apt-get install python3-opencv, "
        "pip uninstall opencv-python, and a virtual environment with "
        "--system-site-packages), or build OpenCV with -DWITH_GSTREAMER=ON"
    )
