"""Open a model file with the backend that its kind asks for."""

from __future__ import annotations

from pathlib import Path

from jdetrt.errors import SessionError
from jdetrt.runtime.contract import check_model
from jdetrt.shipped import resolve
from jdetrt.types import Session

__all__ = ["open_session"]


def open_session(
    model: str | Path, *, provider: str = "auto", threads: int | None = None
) -> Session:
    """Open a JDE model for inference.

    Args:
        model: an ``.onnx`` file written by ``jdetrt export``; or, as text, the name of a model that
            ships (`jdetrt.shipped.resolve`).
        provider: what ONNX Runtime computes with: ``"auto"``, ``"cpu"``, ``"cuda"``,
            ``"tensorrt"``.
        threads: CPU threads of the network; None for one a physical core.

    Raises:
        ConfigError: no model of this name ships.
        SessionError: the file cannot be loaded or holds another model, or the provider is not
            there.
    """
    path = resolve(model)
    if path.suffix.lower() in (".plan", ".engine", ".trt"):
        raise SessionError(
            f"{path}: TensorRT plans cannot be opened yet; use the .onnx file that it was made from"
        )
    # Not at the top: a program that opens TensorRT plans only needs no ONNX Runtime.
    from jdetrt.engine.ort_session import OrtSession

    session = OrtSession(path, provider=provider, threads=threads)
    try:
        check_model(session)
    except SessionError as err:
        session.close()
        raise SessionError(f"{path}: {err}") from err
    return session
