"""GStreamer's elements that the pipelines of jdetrt are made of, and the packages they come in.

OpenCV says that it has GStreamer where only the library is there: without these, no pipeline opens
or one that opens stands still.
"""

from __future__ import annotations

from jdetrt.machine.probe import Probe

__all__ = ["missing_elements"]

_INSPECT = "gst-inspect-1.0"
# Element -> package of Debian and Ubuntu.
_PACKAGES = {
    **dict.fromkeys(("appsink", "videoconvert", "decodebin"), "gstreamer1.0-plugins-base"),
    **dict.fromkeys(("rtspsrc", "rtph264depay"), "gstreamer1.0-plugins-good"),
    "h264parse": "gstreamer1.0-plugins-bad",
}
_SOFTWARE = {"avdec_h264": "gstreamer1.0-libav"}
_JETSON = dict.fromkeys(("nvv4l2decoder", "nvvidconv"), "nvidia-l4t-gstreamer")


def missing_elements(probe: Probe, *, jetson: bool) -> dict[str, str] | None:
    """Packages of the elements that are not there, by element; None where nothing can say so."""
    if probe.run((_INSPECT, "--version")) is None:
        return None
    needed = {**_PACKAGES, **(_JETSON if jetson else _SOFTWARE)}
    missing = {}
    for element, package in needed.items():
        done = probe.run((_INSPECT, "--exists", element))
        if done is None or done.code != 0:
            missing[element] = package
    return missing
