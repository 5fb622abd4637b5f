"""Open a model file with the backend that its kind, or the caller, asks for."""

from __future__ import annotations

from pathlib import Path

from jdetrt.engine.model import Model
from jdetrt.engine.tensorrt.compat import BACKENDS, load
from jdetrt.engine.triton_url import is_triton_url
from jdetrt.errors import MissingDependencyError, SessionError
from jdetrt.file_kind import FileKind
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import check_model
from jdetrt.types import Session

__all__ = ["open_session"]


def open_session(
    model: str | Path,
    *,
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool | None = None,
    progress: Progress = NO_PROGRESS,
) -> Session:
    """Open a JDE model for inference.

    Args:
        model: an ``.onnx`` file written by ``jdetrt export``, or a plan of ``jdetrt build``; or, as
            text, the name of a model that ships (`jdetrt.shipped.resolve`), or the address of one
            on Triton (`jdetrt.engine.triton_url`).
        backend: ``"onnxruntime"``; ``"tensorrt"`` or ``"tensorrt-rtx"``, which for an ONNX file
            find its plan in the cache folder or build it; or ``"auto"``: plans by the TensorRT that
            made them, ONNX files by ONNX Runtime.
        provider: execution provider of ONNX Runtime: ``"auto"``, ``"cpu"``, ``"cuda"``,
            ``"tensorrt"``.
        threads: CPU threads of the network in ONNX Runtime; None for one a physical core.
        cuda_graph: run plans as a CUDA graph, which takes the CPU less time; by default wherever
            the driver and the plan allow it.
        progress: told which plan is used or built, and of the phases of a build.

    Raises:
        ConfigError: no model of this name ships.
        SessionError: the file cannot be loaded or holds another model, the provider is not there,
            or the backend does not take such a file.
        BuildError: TensorRT cannot build the model.
        PlanMismatchError: the plan does not fit this machine.
        MissingDependencyError: the backend is not installed.
    """
    if is_triton_url(model):
        from jdetrt.engine.triton import TritonSession

        return _checked(TritonSession(str(model)), str(model))
    file = Model(model)
    if backend not in ("auto", "onnxruntime", *BACKENDS):
        raise SessionError(
            f"backend '{backend}': expected auto, onnxruntime, {', '.join(BACKENDS)}"
        )
    is_plan = file.require("track") is FileKind.PLAN
    if is_plan and backend == "onnxruntime":
        raise SessionError(
            f"{file.path}: is a TensorRT plan, which ONNX Runtime cannot run; name the .onnx "
            f"file that it was built from, or leave --backend out"
        )
    # Nothing large is imported but what this file needs.
    session: Session
    if not is_plan and backend in ("auto", "onnxruntime"):
        if cuda_graph:
            raise SessionError(
                f"{file.path}: CUDA graphs need a TensorRT plan; build one with: jdetrt build"
            )
        try:
            from jdetrt.engine.onnxruntime import OrtSession
        except ModuleNotFoundError as err:
            if err.name != "onnxruntime":
                raise
            raise MissingDependencyError(
                *("onnxruntime", "onnxruntime", f"Running the ONNX model {file.path.name}"),
                "With TensorRT it is not needed: `--backend tensorrt` builds and runs a plan.",
            ) from err

        session = OrtSession(file.path, provider=provider, threads=threads)
    else:
        from jdetrt.engine.tensorrt.session import TensorRtSession

        plan = file.plan
        if not is_plan:
            from jdetrt.engine.tensorrt.plan_cache import find_or_build

            plan = find_or_build(load(backend), file.onnx, progress=progress)
        elif backend != "auto" and (host := plan.sidecar.host.backend) != backend:
            raise SessionError(
                f"{file.path}: is a plan of {host}, not of {backend}; leave --backend out"
            )
        session = TensorRtSession(plan, graphs=cuda_graph is not False)
    return _checked(session, str(file.path))


def _checked(session: Session, name: str) -> Session:
    """The session, if it holds a JDE model; else close it and raise SessionError."""
    try:
        check_model(session)
    except SessionError as err:
        session.close()
        raise SessionError(f"{name}: {err}") from err
    return session
