"""Load a model of any kind as a detector, with the settings to track with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from jdetrt import config, shipped
from jdetrt.engine.open import open_session
from jdetrt.engine.triton_url import is_triton_url
from jdetrt.errors import CheckpointError, SessionError, requiring
from jdetrt.file_kind import CHECKPOINTS, kind_of
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.settings import tracker_config
from jdetrt.types import Session, Size

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig

__all__ = ["load", "tracking_settings"]


def load(
    model: str | Path = shipped.NANO,
    *,
    size: tuple[int, int] | None = None,
    trained_size: tuple[int, int] | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool | None = None,
) -> Detector:
    """Load a model.

    Args:
        model: a model that ships by its name (``"nano"``, ``"nano:864x480"``), an ONNX model, a
            TensorRT plan, or a checkpoint, which needs torch; or the address of one on Triton,
            ``"grpc://host:8001/model"``.
        size: width and height of the network input, for a checkpoint or for ``"nano"``; by default
            what the model records.
        trained_size: width and height that a checkpoint was trained at, if it does not record them
            (`jdetrt.export.sizes.settle_sizes`).
        score_threshold: detections have a score above it, 0 to 1; by default what the model's
            settings of the tracker say (`jdetrt.runtime.settings.tracker_config`), as `track` does.
        nms_iou: of two detections that overlap by more the lower one goes, 0 to 1; default as for
            ``score_threshold``.
        backend: ``"onnxruntime"``; ``"tensorrt"`` or ``"tensorrt-rtx"``, which build the plan of an
            ONNX model or take it from the cache folder; ``"auto"``: TensorRT for a plan, ONNX
            Runtime for an ONNX model.
        provider: where ONNX Runtime or torch computes: ``"auto"`` (a GPU if there is one),
            ``"cpu"``, ``"cuda"``, ``"tensorrt"``.
        threads: CPU threads; None for one per physical core.
        cuda_graph: run a plan as a CUDA graph; by default wherever that can be done.

    Returns:
        A detector; close it, or use it as a context manager.

    Raises:
        ConfigError: no model of this name ships.
        CheckpointError: there is no such file, or the checkpoint cannot be used.
        ExportError: the checkpoint holds a body alone, or does not record its size.
        SessionError: the model cannot be opened, has another size, or the provider is missing.
        PlanMismatchError: the plan does not fit this machine.
        BuildError: TensorRT cannot build the model.
        MissingDependencyError: the backend, or torch for a checkpoint, is not installed.

    ::

        with jdetrt.load("nano") as detector:
            people = detector.detect(cv2.imread("street.jpg"))
        print(people.boxes, people.scores)
    """
    if model == shipped.NANO and size is not None:
        model = f"{shipped.NANO}:{Size(*size)}"
    path = model if is_triton_url(model) else shipped.resolve(model)
    if isinstance(path, Path) and kind_of(path, CheckpointError) in CHECKPOINTS:
        if backend != "auto" or cuda_graph:
            raise SessionError(
                f"{path}: is a checkpoint, which only torch runs; leave "
                f"backend and cuda_graph out, or export it first"
            )
        session = _open_checkpoint(path, size, trained_size, provider, threads)
    else:
        session = open_session(
            path, backend=backend, provider=provider, threads=threads, cuda_graph=cuda_graph
        )
    try:
        height, width = session.inputs[0].shape[2:]
        if size is not None and (width not in (-1, size[0]) or height not in (-1, size[1])):
            raise SessionError(
                f"{path}: takes images of {width}x{height}, not {Size(*size)}; leave the "
                f"size out, or export the checkpoint at that size"
            )
        settings = tracker_config(session)
        return Detector(
            session,
            size=size,
            score_threshold=(
                settings.score_threshold if score_threshold is None else score_threshold
            ),
            nms_iou=settings.nms_iou if nms_iou is None else nms_iou,
        )
    except BaseException:
        session.close()
        raise


def _open_checkpoint(
    path: Path,
    size: tuple[int, int] | None,
    trained_size: tuple[int, int] | None,
    provider: str,
    threads: int | None,
) -> Session:
    with requiring("export", f"{path}: is a checkpoint; running it"):
        import torch

        from jdetrt.export.torch_session import open_checkpoint

    if provider not in ("auto", "cpu", "cuda"):
        raise SessionError(
            f"{path}: is a checkpoint, which runs in torch: expected the provider 'cpu' or "
            f"'cuda', got '{provider}'"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    if provider == "auto":
        provider = "cuda" if torch.cuda.is_available() else "cpu"
    return open_checkpoint(path, size, trained_size=trained_size, device=provider)


def tracking_settings(
    detector: Detector,
    tracker: str | Path | TrackerConfig | None,
    score_threshold: float | None,
    nms_iou: float | None,
) -> TrackerConfig:
    """Settings to track with; arguments as for `jdetrt.api.track`."""
    settings: TrackerConfig
    if isinstance(tracker, Path):
        settings = config.load(tracker, cast(Any, config.AnyTrackerConfig))
    elif tracker is None or isinstance(tracker, str):
        settings = tracker_config(detector.session, tracker)
    else:
        settings = tracker
    changes = {"score_threshold": score_threshold, "nms_iou": nms_iou}
    given = {key: value for key, value in changes.items() if value is not None}
    return msgspec.structs.replace(settings, **given)
