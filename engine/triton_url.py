"""Address of a model on Triton: ``grpc://host:8001/model``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jdetrt.errors import SessionError

__all__ = ["TritonUrl", "is_triton_url"]

_SCHEMES = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 8000}  # and Triton's ports
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?")
_EXAMPLE = "expected such as grpc://host:8001/model, or http://host1:8000,host2:8000/model/1"


@dataclass(frozen=True, slots=True)
class TritonUrl:
    """A model on one server, or on several that serve the same.

    Attributes:
        scheme: ``"grpc"``, ``"grpcs"``, ``"http"`` or ``"https"``.
        servers: ``host:port`` of each.
        model: its name.
        version: its version; "" for the newest.
        timeout: seconds that a request may take.
        retry: seconds after which a server that does not answer is an error.
        jpeg: quality of images that are sent as JPEG, in percent.
        shared_memory: whether inputs are passed in shared memory; of a server on this machine.
        ca: file of the certificates that a server's is checked against; None for the system's.
    """

    scheme: str
    servers: tuple[str, ...]
    model: str
    version: str = ""
    timeout: float = 10.0
    retry: float = 60.0
    jpeg: int = 90
    shared_memory: bool = False
    ca: str | None = None

    @classmethod
    def parse(cls, text: str) -> TritonUrl:
        """Read an address; the settings follow a question mark: ``?timeout=2&retry=600``.

        Raises:
            SessionError: it has another form; the message does not repeat a password.

        >>> TritonUrl.parse("grpc://gpu1,gpu2:9001/jde?retry=600").servers
        ('gpu1:8001', 'gpu2:9001')
        """
        parts = urlsplit(text)
        if parts.scheme not in _SCHEMES:
            raise SessionError(f"{text}: {_EXAMPLE}")
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if "@" in parts.netloc:
            raise SessionError(
                f"{shown}: a user and password in the address are not supported; put a token into "
                "the environment variable JDETRT_TRITON_TOKEN"
            )
        servers = []
        for address in parts.netloc.split(","):
            match = _ADDRESS.fullmatch(address)
            if match is None or int(match[1] or 1) not in range(1, 65536):
                raise SessionError(f"{shown}: {address!r} is not a host with a port; {_EXAMPLE}")
            servers.append(address if match[1] else f"{address}:{_SCHEMES[parts.scheme]}")
        model, _, version = unquote(parts.path).strip("/").partition("/")
        if not model or (version and not re.fullmatch(r"[1-9]\d{0,8}", version)):
            raise SessionError(f"{shown}: does not name a model; {_EXAMPLE}")
        return cls(parts.scheme, tuple(servers), model, version, **_settings(shown, parts.query))

    def __str__(self) -> str:
        version = f"/{self.version}" if self.version else ""
        return f"{self.scheme}://{','.join(self.servers)}/{self.model}{version}"


def is_triton_url(model: object) -> bool:
    """Tell whether what names a model is the address of a server rather than a file."""
    return isinstance(model, str) and model.partition("://")[0] in _SCHEMES and "://" in model


def _settings(shown: str, query: str) -> dict[str, Any]:
    names = {field.name for field in fields(TritonUrl)} - {"scheme", "servers", "model", "version"}
    settings: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in names:
            raise SessionError(
                f"{shown}: unknown setting {name!r}; expected one of {', '.join(sorted(names))}"
            )
        settings[name] = _value(shown, name, value)
    return settings


def _value(shown: str, name: str, value: str) -> Any:
    if name == "ca":
        return value
    if name == "shared_memory":
        if value not in ("on", "off"):
            raise SessionError(f"{shown}: {name}: expected on or off, got {value!r}")
        return value == "on"
    low, high = (1.0, 100.0) if name == "jpeg" else (0.001, math.inf)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high or (name == "timeout" and number == math.inf):
        raise SessionError(f"{shown}: {name}: expected a number from {low:g}, got {value!r}")
    return round(number) if name == "jpeg" else number
