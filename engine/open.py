"""Open a model file with the backend that its kind, or the caller, asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt.engine.tensorrt.compat import BACKENDS
from jdetrt.engine.tensorrt.plan import PLAN_SUFFIXES, read_sidecar
from jdetrt.errors import SessionError
from jdetrt.runtime.detector import check_model
from jdetrt.shipped import resolve
from jdetrt.types import Session

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.build_progress import Progress

__all__ = ["open_session"]

_log = logging.getLogger(__name__)


def open_session(
    model: str | Path,
    *,
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool = False,
    announce: Callable[[str], None] = _log.info,
    progress: Progress | None = None,
) -> Session:
    """Open a JDE model for inference.

    Args:
        model: an ``.onnx`` file written by ``jdetrt export``, or a plan of ``jdetrt build``; or, as
            text, the name of a model that ships (`jdetrt.shipped.resolve`).
        backend: ``"onnxruntime"``; ``"tensorrt"`` or ``"tensorrt-rtx"``, which for an ONNX file
            find its plan in the cache folder or build it; or ``"auto"``: plans by the TensorRT that
            made them, ONNX files by ONNX Runtime.
        provider: what ONNX Runtime computes with: ``"auto"``, ``"cpu"``, ``"cuda"``,
            ``"tensorrt"``.
        threads: CPU threads of the network in ONNX Runtime; None for one a physical core.
        cuda_graph: replay plans as a CUDA graph, which takes the CPU less time.
        announce: told which plan is used or built, in a line for people.
        progress: who wants to know how far a build is.

    Raises:
        ConfigError: no model of this name ships.
        SessionError: the file cannot be loaded or holds another model, the provider is not there,
            or the backend does not take such a file.
        BuildError: TensorRT cannot build the model.
        PlanMismatchError: the plan does not fit this machine.
        MissingDependencyError: the backend is not installed.
    """
    path = resolve(model)
    session = _open(path, backend, provider, threads, cuda_graph, announce, progress)
    try:
        check_model(session)
    except SessionError as err:
        session.close()
        raise SessionError(f"{path}: {err}") from err
    return session


def _open(
    path: Path,
    backend: str,
    provider: str,
    threads: int | None,
    cuda_graph: bool,
    announce: Callable[[str], None],
    progress: Progress | None,
) -> Session:
    """Nothing large is imported but what this file needs."""
    if backend not in ("auto", "onnxruntime", *BACKENDS):
        raise SessionError(
            f"backend '{backend}': expected auto, onnxruntime, {', '.join(BACKENDS)}"
        )
    is_plan = path.suffix.lower() in PLAN_SUFFIXES
    if is_plan and backend == "onnxruntime":
        raise SessionError(
            f"{path}: is a TensorRT plan, which ONNX Runtime does not take; name the .onnx file "
            "that it was made from, or leave --backend out"
        )
    if not is_plan and backend in ("auto", "onnxruntime"):
        if cuda_graph:
            raise SessionError(f"{path}: CUDA graphs are for plans; build one: jdetrt build")
        from jdetrt.engine.onnxruntime import OrtSession

        return OrtSession(path, provider=provider, threads=threads)
    from jdetrt.engine.tensorrt.session import TensorRtSession

    if is_plan and backend != "auto" and (made := read_sidecar(path).made.backend) != backend:
        raise SessionError(f"{path}: is a plan of {made}, not of {backend}; leave --backend out")
    if not is_plan:
        from jdetrt.engine.tensorrt.compat import load
        from jdetrt.engine.tensorrt.plan_cache import find_or_build

        path = find_or_build(load(backend), path, announce=announce, progress=progress)
    return TensorRtSession(path, graphs=cuda_graph)
