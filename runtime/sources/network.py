"""Network streams: opened by FFmpeg, and where one does not open, why."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from jdetrt.errors import SourceError
from jdetrt.passwords import without_passwords
from jdetrt.runtime.opencv import gstreamer_version, load_cv2
from jdetrt.runtime.pyav import load_av
from jdetrt.runtime.sources.av_capture import AvCapture
from jdetrt.runtime.sources.camera import Capture
from jdetrt.runtime.sources.gstreamer import any_pipeline, open_gstreamer

__all__ = ["SCHEMES", "explain", "open_stream", "stream_name"]

# Those that FFmpeg may know; rtsp goes another way where there is GStreamer.
SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "rtp", "tcp", "srt", "rtmp", "rtmps")
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
_CONNECT_SECONDS = 10
# More than Camera takes for a stall: its watchdog is the one to notice and to count it.
_READ_SECONDS = 20
_ASK_SECONDS = 3.0
_HOST = re.compile(r"\w+://(?:.*@)?(\[[^\]]+\]|[^/:?#\s]+)(?::(\d{1,5}))?", re.DOTALL)


def stream_name(url: str) -> str:
    """Name for files and titles: host and path of a URL; "" where it has none.

    >>> stream_name("rtsp://me:secret@10.0.0.7/door?channel=1")
    '10-0-0-7-door-channel-1'
    """
    rest = without_passwords(url).partition("://")[2].rpartition("@")[2]
    return re.sub(r"[^A-Za-z0-9]+", "-", rest).strip("-")


def open_stream(url: str) -> Capture:
    """Open a stream by FFmpeg, of PyAV or else of OpenCV; by GStreamer where FFmpeg cannot.

    Raises:
        SourceError: neither can; the message has the answer of the server, where it gives one.
    """
    av = load_av()
    try:
        if av is None:
            return _open_cv2(url)
        return AvCapture(av, url, open_seconds=_CONNECT_SECONDS, read_seconds=_READ_SECONDS)
    except OSError as err:
        said = f": {err}" if str(err) else ""
        tried = f"FFmpeg{said}; this OpenCV has no GStreamer"
    reason = explain(url)
    version = gstreamer_version()
    if version is not None:
        tried = "FFmpeg and GStreamer"
        if not reason:
            with suppress(SourceError):
                return open_gstreamer(
                    without_passwords(url), any_pipeline(url, gives_up=version >= (1, 22))
                )
    elif "protocol not found" in said:
        scheme = url.partition("://")[0]
        raise SourceError(
            f"{without_passwords(url)}: this FFmpeg has no {scheme}. An OpenCV with GStreamer has "
            "it, such as Debian's python3-opencv or that of a Jetson; or let another FFmpeg pass "
            f"it on: ffmpeg -i {scheme}://... -c copy -f mpegts udp://127.0.0.1:5000, and open "
            "udp://127.0.0.1:5000"
        )
    raise SourceError(
        f"{without_passwords(url)}: does not open ({reason or f'tried {tried}'}); check the "
        "address, the password and that the camera is on"
    )


def _open_cv2(url: str) -> Capture:
    """OpenCV's FFmpeg. Raises OSError."""
    cv2 = load_cv2()
    limits = [
        value
        for name, seconds in (
            ("CAP_PROP_OPEN_TIMEOUT_MSEC", _CONNECT_SECONDS),
            ("CAP_PROP_READ_TIMEOUT_MSEC", _READ_SECONDS),
        )
        if hasattr(cv2, name)  # from OpenCV 4.5.2
        for value in (getattr(cv2, name), seconds * 1000)
    ]
    capture = (
        cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
        if limits
        else cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    )
    if not capture.isOpened():
        capture.release()
        raise OSError
    opened: Capture = capture
    return opened


def explain(url: str) -> str:
    """Why a stream does not open, as far as its host and its server say; "" where they do not.

    The server is asked without the password of the URL.
    """
    scheme = url.partition("://")[0].lower()
    match = _HOST.match(url)
    port = int((match and match[2]) or _PORTS.get(scheme, 0))
    if match is None or not 0 < port < 65536 or scheme not in (*_PORTS, "tcp"):
        return ""  # udp and srt have nobody to ask
    host = match[1].strip("[]")
    where = f"{host}, port {port}"
    try:
        with socket.create_connection((host, port), _ASK_SECONDS) as connection:
            if scheme not in ("rtsp", "http"):
                return ""
            path = re.sub(r"[\s\x00-\x1f]", "%20", url[match.end() :]) or "/"
            request = (
                f"DESCRIBE rtsp://{match[1]}:{port}{path} RTSP/1.0\r\nCSeq: 1\r\n"
                "Accept: application/sdp\r\n\r\n"
                if scheme == "rtsp"
                else f"GET {path} HTTP/1.0\r\nHost: {match[1]}\r\n\r\n"
            )
            connection.sendall(request.encode(errors="replace"))
            answer = connection.recv(64)
    except socket.gaierror:
        return f"there is no host {host}"
    except TimeoutError:
        return f"no answer from {where}"
    except OSError as err:
        return f"{where}: {(err.strerror or str(err)).lower()}"
    return _meaning(answer, "@" in url)


def _meaning(answer: bytes, has_user: bool) -> str:
    """Meaning of the first line of an answer of RTSP or HTTP (RFC 2326, 7.1.1)."""
    match = re.match(rb"(?:RTSP|HTTP)/[\d.]+ (\d{3})", answer)
    code = int(match[1]) if match else 200
    if code in (401, 403):
        if has_user:
            return f"{code}: the server refuses this user or this password"
        return f"{code}: the server asks for a user and a password, as in rtsp://user:password@host"
    if code in (404, 454):
        return f"{code}: the server has no such stream"
    return f"the server answers {code}" if code >= 300 else ""
