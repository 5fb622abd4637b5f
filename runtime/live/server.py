"""Web server of the live page.

Whoever can reach it can watch the cameras. It listens on the loopback interface unless told
otherwise, and elsewhere it asks for a token.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from jdetrt.errors import DataError, MissingDependencyError, OutputError
from jdetrt.runtime.events.edit import drawn_regions, save_regions
from jdetrt.runtime.live.hub import LiveHub, LiveStream

__all__ = ["TOKEN", "LiveServer", "create_app"]

TOKEN = "JDETRT_LIVE_TOKEN"  # environment variable
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WAIT = 5.0  # seconds that a request for a frame waits for one
_COOKIE = "jdetrt-token"
_CSP = (
    "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' blob:; frame-ancestors 'none'"
)
_BODY = 1 << 20  # bytes of a drawing
_BOUNDARY = b"--frame"
_START = 10.0  # seconds that the server may take to start, and to end


def create_app(
    hub: LiveHub, *, token: str | None = None, machine: Callable[[], dict[str, Any]] | None = None
) -> Any:
    """The live page as an ASGI application, to be run by any server.

    Routes: ``/`` the page; ``/api/state`` JSON; ``/api/regions/NAME`` GET and PUT;
    ``/frame/NAME.jpg?after=N`` the next frame after number N; ``/stream/NAME.mjpg`` MJPEG.

    Args:
        hub: its streams.
        token: asked for by every route, as ``?token=``, a bearer token or the cookie that the page
            sets. Without one only requests whose Host is a name of the loopback interface are
            answered, so that a page from elsewhere cannot reach it through a name of its own.
        machine: power and temperature, for ``/api/state``.

    Raises:
        MissingDependencyError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.requests import Request
        from starlette.responses import JSONResponse, Response, StreamingResponse
        from starlette.routing import Route
    except ModuleNotFoundError as err:
        raise MissingDependencyError("starlette", "live", "The live page") from err

    def stream_of(request: Request) -> LiveStream:
        return hub[request.path_params["name"]]

    async def page(request: Request) -> Response:
        text = (
            files("jdetrt.runtime.live").joinpath("static").joinpath("live.html").read_text("utf-8")
        )
        response = Response(text, media_type="text/html", headers={"Content-Security-Policy": _CSP})
        if token is not None:
            response.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
        return response

    async def state(request: Request) -> Response:
        return JSONResponse(
            {
                "streams": [stream.state() for stream in hub],
                "machine": machine() if machine is not None else {},
            }
        )

    async def frame(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isascii() or not after.isdecimal() or len(after) > 15:
            return JSONResponse({"error": "after: expected a frame number"}, 400)
        shot = await stream_of(request).jpeg(int(after), _WAIT)
        if shot is None:
            return Response(status_code=204)
        headers = {"X-Frame": str(shot[0]), "Cache-Control": "no-store"}
        return Response(shot[1], media_type="image/jpeg", headers=headers)

    async def mjpeg(request: Request) -> Response:
        return StreamingResponse(
            _parts(stream_of(request)),
            media_type="multipart/x-mixed-replace; boundary=frame",
            headers={"Cache-Control": "no-store"},
        )

    async def regions(request: Request) -> Response:
        stream = stream_of(request)
        if stream.counter is None:
            return JSONResponse({"error": "this source has no lines or zones"}, 404)
        if request.method == "GET":
            return JSONResponse(_fractions(stream))
        if stream.regions_file is None:
            return JSONResponse({"error": _not_editable(stream)}, 403)
        if request.headers.get("content-type") != "application/json":
            return JSONResponse({"error": "expected application/json"}, 415)  # no form of a page
        drawing = b""
        async for chunk in request.stream():
            drawing += chunk
            if len(drawing) > _BODY:
                return JSONResponse({"error": "larger than 1 MiB"}, 413)
        try:
            new = drawn_regions(stream.counter.regions, drawing)
            save_regions(new, stream.regions_file)
        except (DataError, OutputError) as err:
            return JSONResponse({"error": str(err)}, 400 if isinstance(err, DataError) else 500)
        stream.counter.replace(new)
        return JSONResponse(_fractions(stream, new))

    async def unknown(request: Request, err: Exception) -> Response:
        return JSONResponse({"error": "no such source or page"}, 404)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/state", state),
            Route("/api/regions/{name}", regions, methods=["GET", "PUT"]),
            Route("/frame/{name}.jpg", frame),
            Route("/stream/{name}.mjpg", mjpeg),
        ],
        middleware=[Middleware(_Guard, token=token)],
        exception_handlers={KeyError: unknown, 404: unknown},
    )


class _Guard:
    """Lets nobody in without the token, or, without one, from another host."""

    def __init__(self, app: Any, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            from starlette.requests import Request
            from starlette.responses import JSONResponse

            refusal = self._refusal(Request(scope))
            if refusal is not None:
                await JSONResponse({"error": refusal}, 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, request: Any) -> str | None:
        if self._token is None:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
            return None if host in _LOOPBACK else "this page is for this machine alone"
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        offers = (request.query_params.get("token"), bearer, request.cookies.get(_COOKIE))
        if any(hmac.compare_digest((x or "").encode(), self._token.encode()) for x in offers):
            return None
        return "wrong or missing token: open the address with ?token=... as printed at the start"


async def _parts(stream: LiveStream) -> AsyncIterator[bytes]:
    """MJPEG: every part is the newest frame at the time when the browser takes it."""
    after = 0
    while not stream.ended:
        shot = await stream.jpeg(after, _WAIT)
        if shot is None:
            continue
        after, data = shot
        yield b"%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
            _BOUNDARY,
            len(data),
            data,
        )


def _not_editable(stream: LiveStream) -> str:
    if stream.shared_file is None:
        return "start with --regions FILE to save lines and zones"
    return f"several cameras share {stream.shared_file.name}; change lines and zones there"


def _fractions(stream: LiveStream, regions: Any = None) -> dict[str, Any]:
    """The regions of a stream with their points as fractions of the frame."""
    import msgspec

    assert stream.counter is not None
    regions = regions or stream.counter.regions
    tables: dict[str, Any] = {}
    for name in ("line", "zone", "include", "ignore"):
        tables[name] = msgspec.to_builtins(getattr(regions, name))
        for table, region in zip(tables[name], getattr(regions, name), strict=True):
            table["points"] = regions.pixels(region.points, (1, 1)).tolist()
    return tables


class LiveServer:
    """Serves the live page in a thread while the context lasts.

    Args:
        hub: its streams; more may be added while it runs.
        host: interface; other than the loopback one it needs a token.
        port: 0 for a free one.
        token: see `create_app`; by default a new one where the host is not loopback.
        machine: power and temperature, for the page.

    Attributes:
        url: address of the page, with the token.

    Raises:
        MissingDependencyError: starlette or uvicorn is not installed.
        OutputError: the port is taken or not allowed, or there is no such interface.
    """

    def __init__(
        self,
        hub: LiveHub,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        machine: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        try:
            import uvicorn
        except ModuleNotFoundError as err:
            raise MissingDependencyError("uvicorn", "live", "The live page") from err
        if token is None and host not in _LOOPBACK:
            token = secrets.token_urlsafe(16)
        self._hub = hub
        app = create_app(hub, token=token, machine=machine)
        self._socket = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        suffix = f"?token={quote(token)}" if token is not None else ""
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}/{suffix}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="live page", daemon=True
        )

    def __enter__(self) -> LiveServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub.close()
        self._server.should_exit = True
        self._thread.join(_START)
        with contextlib.suppress(OSError):
            self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)
    except (OSError, OverflowError) as err:
        listener.close()
        reason = getattr(err, "strerror", None) or err
        raise OutputError(
            f"{host}:{port}: the live page cannot listen there ({reason}); give another port"
        ) from err
    return listener
