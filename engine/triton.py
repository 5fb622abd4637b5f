"""Triton Inference Server behind the ``Session`` protocol: the network runs elsewhere.

The server is stateless: it gets a letterboxed image and gives candidates. Decoding, tracker and ids
stay here, so a server may end and another take over without a track being lost.
"""

from __future__ import annotations

import itertools
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from jdetrt.documents import decode_json
from jdetrt.engine.triton_url import TritonUrl
from jdetrt.errors import SessionError, requiring
from jdetrt.runtime.input_buffer import ArrayBuffer, InputBuffer
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.session import SessionBase, check_feeds
from jdetrt.types import Array, TensorSpec

__all__ = ["METADATA", "TOKEN", "TritonSession"]

METADATA = "jdetrt"  # parameter of a served model: its metadata, as JSON
TOKEN = "JDETRT_TRITON_TOKEN"  # environment variable

_DTYPES = {
    "FP32": "float32",
    "FP16": "float16",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BYTES": "object",
}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between tries
_FULL = "queue size"  # in what a server says whose queue is full
# What a server, a proxy or the network says when the same request may succeed later.
_PASSING = (
    *("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "[502]", "[503]", "[504]"),
    *("unavailable", "timed out", "timeout", "Connection", "connection", _FULL),
)
# And what no second try mends, whatever it says beside it.
_LASTING = ("certificate", "CERTIFICATE", "SSL", "Ssl", "handshake", "UNAUTHENTICATED", "401")


class TritonSession(SessionBase):
    """A JDE model on Triton. Implements :class:`jdetrt.types.Session`.

    Up to four requests are under way at a time. A request that fails for a passing reason (server
    gone, full queue, time-out) is sent again, to the next server where there are several, with
    growing pauses. Images are sent as the model takes them: float32 tensors, uint8 images, or JPEG.

    Args:
        url: of the model; its settings say how long to try (`TritonUrl`).
        token: sent as a bearer token; by default that of the environment variable
            ``JDETRT_TRITON_TOKEN``.

    Attributes:
        depth: requests that may be open at a time.
        sent_bytes: bytes of images sent so far, those sent again included.
        retries: requests that were sent again.

    Raises:
        SessionError: no server answers, it has no such model, or another one than a JDE model.
        MissingDependencyError: tritonclient is not installed.
    """

    depth = 4

    def __init__(self, url: str | TritonUrl, *, token: str | None = None) -> None:
        self.url = url if isinstance(url, TritonUrl) else TritonUrl.parse(url)
        token = os.environ.get(TOKEN) if token is None else token
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = _client_module(self.url)
        _check_authority(self.url)
        self._servers = itertools.cycle(self.url.servers)
        self._server = next(self._servers)
        self._local = threading.local()
        self._ended = threading.Event()
        self.sent_bytes = 0
        self.retries = 0
        inputs, outputs, metadata = self._try(self._describe)
        self._remote_input = inputs[0]
        super().__init__([_network_input(self.url, inputs, metadata)], outputs, metadata)
        self._workers = ThreadPoolExecutor(self.depth, thread_name_prefix="triton")

    def frame_buffers(self, size: tuple[int, int], count: int) -> Sequence[InputBuffer]:
        """Input buffers on the CPU, so that several frames may be under way."""
        return [ArrayBuffer(self, size) for _ in range(count)]

    def submit(self, feeds: Mapping[str, Array]) -> None:
        """Send a request and return; leave the arrays alone until ``wait`` has returned.

        Raises:
            SessionError: a wrong name, dtype or shape; too many are open; or it is closed.
        """
        self._check_room(self.depth)
        check_feeds(self._inputs, feeds)
        self._open.append(self._start(feeds))

    def close(self) -> None:
        """Give up what is under way; a second call does nothing."""
        self._ended.set()
        super().close()
        self._workers.shutdown(cancel_futures=True)

    # -- one request

    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        return self._workers.submit(self._run, feeds[self._inputs[0].name]).result

    def _run(self, tensor: Array) -> dict[str, Array]:
        start = time.perf_counter()
        data = _upload(tensor, self._remote_input.dtype, self.url.jpeg)
        outputs: dict[str, Array] = self._try(lambda client: self._infer(client, data))
        self.last_run_seconds = time.perf_counter() - start
        return outputs

    def _infer(self, client: Any, data: Array) -> dict[str, Array]:
        spec = self._remote_input
        kind = next(name for name, dtype in _DTYPES.items() if dtype == spec.dtype)
        given = self._client.InferInput(spec.name, list(data.shape), kind)
        if self.url.shared_memory:
            self._share(client, given, data)
        else:
            given.set_data_from_numpy(data)
        names = [output.name for output in self._outputs]
        self.sent_bytes += sum(map(len, data.flat)) if data.dtype == object else data.nbytes
        result = client.infer(
            self.url.model,
            [given],
            model_version=self.url.version,
            outputs=[self._client.InferRequestedOutput(name) for name in names],
            headers=self._headers,
            **self._deadline(),
        )
        return {name: result.as_numpy(name) for name in names}

    def _share(self, client: Any, given: Any, data: Array) -> None:
        """Pass the input through a region of shared memory, one a thread."""
        from tritonclient.utils import shared_memory

        region = getattr(self._local, "region", None)
        if region is None:
            key = f"/jdetrt-{os.getpid()}-{threading.get_ident()}-{random.getrandbits(32):x}"
            region = shared_memory.create_shared_memory_region(key[1:], key, data.nbytes)
            self._local.region, self._local.key = region, key
            self._local.registered = None
        shared_memory.set_shared_memory_region(region, [data])
        if self._local.registered is not client:  # also after another connection
            with suppress(Exception):
                client.unregister_system_shared_memory(self._local.key[1:])
            client.register_system_shared_memory(
                self._local.key[1:], self._local.key, data.nbytes, headers=self._headers
            )
            self._local.registered = client
        given.set_shared_memory(self._local.key[1:], data.nbytes)

    # -- servers

    def _describe(self, client: Any) -> tuple[list[TensorSpec], list[TensorSpec], dict[str, str]]:
        """Inputs, outputs and metadata of the served model."""
        where: dict[str, Any] = {"model_version": self.url.version, "headers": self._headers}
        if self.url.scheme.startswith("grpc"):
            where["as_json"] = True
        meta = client.get_model_metadata(self.url.model, **where)
        config = client.get_model_config(self.url.model, **where)
        config = config.get("config", config)
        note = config.get("parameters", {}).get(METADATA, {}).get("string_value", "{}")
        try:
            metadata = decode_json(note, dict[str, str])
        except ValueError as err:
            raise SessionError(
                f"{self.url}: the parameter '{METADATA}' of the served model cannot be read "
                f"({err}); write its repository again with: jdetrt deploy triton"
            ) from err
        batched = int(config.get("max_batch_size", 0)) > 0
        inputs = [_spec(self.url, tensor, batched) for tensor in meta.get("inputs", [])]
        outputs = [_spec(self.url, tensor, batched) for tensor in meta.get("outputs", [])]
        if len(inputs) != 1:
            raise SessionError(f"{self.url}: the served model takes {len(inputs)} inputs, not one")
        return inputs, outputs, metadata

    def _try(self, request: Callable[[Any], Any]) -> Any:
        """Send a request, again and again where the reason that it failed is a passing one."""
        begin = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            server = self._server
            try:
                return request(self._connection(server))
            except SessionError:
                raise
            except Exception as err:  # those of gRPC, gevent, sockets and TLS share no base
                reason = _reason(err)
                waited = time.monotonic() - begin
                if not _passing(err, reason):
                    raise SessionError(f"{self.url}: {_plain(reason, self.url)}") from err
                if waited + pause > self.url.retry or self._ended.wait(pause):
                    raise SessionError(f"{self.url}: {_given_up(reason, waited)}") from err
                self.retries += 1
                pause = min(pause * 2, _LONGEST_PAUSE) * random.uniform(0.8, 1.0)
                self._local.client = None
                if server == self._server:  # no other thread has gone on to the next one yet
                    self._server = next(self._servers)

    def _connection(self, server: str) -> Any:
        """The client of this thread: those of HTTP serve one thread only."""
        client = getattr(self._local, "client", None)
        if client is None or self._local.server != server:
            client = self._connect(server)
            self._local.client, self._local.server = client, server
        return client

    def _connect(self, server: str) -> Any:
        secure = self.url.scheme in ("grpcs", "https")
        if self.url.scheme.startswith("grpc"):
            return self._client.InferenceServerClient(
                server,
                ssl=secure,
                root_certificates=self.url.ca,
                channel_args=[
                    ("grpc.max_receive_message_length", -1),
                    ("grpc.max_send_message_length", -1),
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.initial_reconnect_backoff_ms", 100),
                    ("grpc.max_reconnect_backoff_ms", 2000),
                ],
            )
        options: dict[str, Any] = {}
        if secure:
            options = {
                "ssl": True,
                "ssl_context_factory": lambda: ssl.create_default_context(cafile=self.url.ca),
            }
        return self._client.InferenceServerClient(
            server,
            connection_timeout=self.url.timeout,
            network_timeout=self.url.timeout,
            **options,
        )

    def _deadline(self) -> dict[str, Any]:
        grpc = self.url.scheme.startswith("grpc")
        return {"client_timeout": self.url.timeout} if grpc else {}


def _client_module(url: TritonUrl) -> Any:
    with requiring("triton", "A model on Triton"):
        if url.scheme.startswith("grpc"):
            import tritonclient.grpc as client
        else:
            import tritonclient.http as client
    return client


def _check_authority(url: TritonUrl) -> None:
    """Refuse a file of certificates that cannot be used, which would only show as no answer."""
    if url.ca is None:
        return
    try:
        ssl.create_default_context(cafile=url.ca)
    except OSError as err:  # as is what OpenSSL does not read
        raise SessionError(
            f"{url}: ca={url.ca}: cannot be read as certificates ({err.strerror or err}); name a "
            "PEM file"
        ) from err


def _spec(url: TritonUrl, tensor: Mapping[str, Any], batched: bool) -> TensorSpec:
    name, kind = str(tensor.get("name", "")), str(tensor.get("datatype", ""))
    if kind not in _DTYPES:
        raise SessionError(f"{url}: tensor '{name}' has the type {kind}")
    shape = tuple(int(size) for size in tensor.get("shape", []))
    if batched and shape:
        shape = (-1, *shape[1:])
    return TensorSpec(name, _DTYPES[kind], shape)


def _network_input(
    url: TritonUrl, inputs: Sequence[TensorSpec], metadata: Mapping[str, str]
) -> TensorSpec:
    """The input of the network behind a served model that takes images."""
    spec = inputs[0]
    if spec.dtype not in ("uint8", "object"):
        return spec
    try:
        height, width = int(metadata["height"]), int(metadata["width"])
    except (KeyError, ValueError) as err:
        raise SessionError(
            f"{url}: the served model takes images, but does not state their size; write its "
            "repository again with: jdetrt deploy triton"
        ) from err
    return TensorSpec(spec.name, "float32", (spec.shape[0], 3, height, width))


def _upload(tensor: Array, dtype: str, quality: int) -> Array:
    """Turn a network input ``(N, 3, H, W)`` float32, RGB, 0..1, into an upload.

    Returns:
        The input itself; ``(N, H, W, 3)`` uint8, RGB, which loses nothing; or ``(N, 1)`` JPEG.
    """
    if dtype not in ("uint8", "object"):
        return tensor.astype(dtype, copy=False)
    images = np.rint(tensor * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    if dtype == "uint8":
        return np.ascontiguousarray(images)
    cv2 = load_cv2()
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    files = [cv2.imencode(".jpg", np.ascontiguousarray(x[..., ::-1]), options)[1] for x in images]
    return np.array([[file.tobytes()] for file in files], dtype=object)


def _reason(err: Exception) -> str:
    """The words of an error, on one line."""
    status = getattr(err, "status", None)
    text = getattr(err, "message", None)
    text = text() if callable(text) else str(err)
    line = " ".join(str(text).split()) or type(err).__name__
    code = status() if callable(status) else None
    return f"[{str(code).removeprefix('StatusCode.')}] {line}" if code else line


def _passing(err: Exception, reason: str) -> bool:
    if any(word in reason for word in _LASTING):
        return False
    return isinstance(err, OSError) or any(word in reason for word in _PASSING)


def _given_up(reason: str, waited: float) -> str:
    """Say in plain words that a passing error did not pass."""
    if _FULL in reason:
        return (
            f"the server's queue stayed full for {waited:.1f} s ({reason}); have fewer clients, "
            "more of the network (jdetrt deploy triton --instances), or wait longer with ?retry="
        )
    return (
        f"no answer for {waited:.0f} s ({reason}); is the server running, and is this its address?"
    )


def _plain(reason: str, url: TritonUrl) -> str:
    """Say in plain words an error that is no passing one, and what to do about it."""
    if any(word in reason for word in ("UNAUTHENTICATED", "401", "PERMISSION_DENIED", "403")):
        return f"the server asks for a valid token; set {TOKEN} ({reason})"
    if any(word in reason for word in ("ertificate", "CERTIFICATE", "SSL", "Ssl", "handshake")):
        return (
            f"no secure connection ({reason}); name the server's certificate authority with "
            "?ca=FILE, or use a plain scheme for a server without TLS"
        )
    if "unknown model" in reason or "not found" in reason or "NOT_FOUND" in reason:
        return f"the server has no model '{url.model}' in this version ({reason})"
    if "unexpected shape" in reason:
        return (
            f"the served model takes images of another size than when the run began ({reason}); "
            "begin again"
        )
    return f"the server refuses the request ({reason})"
