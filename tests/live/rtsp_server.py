"""An RTSP camera for tests: GStreamer's own RTSP server, with a clock drawn into each frame.

Run by the system's Python, which has the packages python3-gi and gir1.2-gst-rtsp-server-1.0::

    /usr/bin/python3 tests/live/rtsp_server.py --port 8554 --size 640x360 --fps 25

The stream is rtsp://127.0.0.1:PORT/cam. The upper left corner of a frame shows the time of its
creation, ``time.monotonic()`` in milliseconds: 32 cells of 8x8 pixels in two rows of 16, the lowest
bit first, black for 0 and white for 1. A bright block of 40 pixels' width moves to the right on the
grey ground, 4 pixels a frame, an eighth of the frame's height high; its top is at ``--row``
sixteenths of that height. It prints "ready".
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CELL, COLUMNS, BITS = 8, 16, 32


def draw(width: int, height: int, number: int, row: int) -> bytes:
    """A grey frame with the block and the clock, I420."""
    luma = bytearray([90]) * (width * height)
    left = (number * 4) % (width - 40)
    for y in range(row * height // 16, row * height // 16 + height // 8):
        luma[y * width + left : y * width + left + 40] = b"\xd0" * 40
    now = int(time.monotonic() * 1000)
    for row in range(BITS // COLUMNS):
        bits = (now >> (row * COLUMNS)) & 0xFFFF
        line = b"".join(
            (b"\xeb" if bits >> column & 1 else b"\x10") * CELL for column in range(COLUMNS)
        )
        for y in range(row * CELL, (row + 1) * CELL):
            luma[y * width : y * width + len(line)] = line
    return bytes(luma) + b"\x80" * (width * height // 2)


class Camera(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """Frames at a fixed rate, each made when it is due."""

    def __init__(self, width: int, height: int, fps: int, row: int) -> None:
        super().__init__()
        self.width, self.height, self.fps, self.row = width, height, fps, row
        self.set_shared(True)

    def do_create_element(self, url: Any) -> Any:
        return Gst.parse_launch(
            "appsrc name=frames is-live=true format=time do-timestamp=true block=false "
            f"caps=video/x-raw,format=I420,width={self.width},height={self.height},"
            f"framerate={self.fps}/1 "
            "! x264enc tune=zerolatency speed-preset=ultrafast bitrate=1500 "
            f"key-int-max={self.fps} "
            "! rtph264pay config-interval=1 name=pay0 pt=96"
        )

    def do_configure(self, media: Any) -> None:
        source = media.get_element().get_child_by_name("frames")
        count = [0]

        def push() -> bool:
            count[0] += 1
            frame = draw(self.width, self.height, count[0], self.row)
            buffer = Gst.Buffer.new_wrapped(frame)
            return bool(source.emit("push-buffer", buffer) == Gst.FlowReturn.OK)

        GLib.timeout_add(1000 // self.fps, push)  # until nobody takes the frames


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--row", type=int, default=8, choices=range(2, 15))
    parser.add_argument("--login", help="USER:PASSWORD that it asks for")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    camera = Camera(width, height, options.fps, options.row)
    if options.login:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        user, _, password = options.login.partition(":")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        camera.set_permissions(permissions)
    server.get_mount_points().add_factory("/cam", camera)
    if not server.attach(None):
        raise SystemExit(f"port {options.port} is taken")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
