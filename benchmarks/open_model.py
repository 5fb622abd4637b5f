"""Open whatever holds a JDE model: a checkpoint with torch, anything else as the tracker would."""

from __future__ import annotations

from pathlib import Path

from jdetrt.engine.open import open_session
from jdetrt.errors import CheckpointError, SessionError
from jdetrt.file_kind import CHECKPOINTS, kind_of
from jdetrt.types import Session

__all__ = ["open_model"]


def open_model(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    provider: str = "auto",
    threads: int | None = None,
) -> Session:
    """Open a checkpoint or a model for inference.

    Args:
        path: a weight file of any kind, or a model that ``jdetrt.engine.open`` opens.
        size: network width and height; by default what the file records.
        provider: what computes: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or,
            for models, ``"tensorrt"``.
        threads: CPU threads; None for one a physical core.

    Raises:
        CheckpointError: there is no such file, or the checkpoint cannot be used.
        ExportError: the checkpoint is of a body alone, or does not say its size.
        SessionError: the model cannot be opened, is of another size, or the provider is not there.
    """
    if kind_of(path, CheckpointError) in CHECKPOINTS:
        return _open_checkpoint(path, size, provider, threads)
    session = open_session(path, provider=provider, threads=threads)
    height, width = session.inputs[0].shape[2:]
    if size is not None and (width not in (-1, size[0]) or height not in (-1, size[1])):
        session.close()
        raise SessionError(
            f"{path}: takes pictures of {width}x{height}, not of {size[0]}x{size[1]}; leave --size "
            "out, or export the checkpoint at that size"
        )
    return session


def _open_checkpoint(
    path: str | Path, size: tuple[int, int] | None, provider: str, threads: int | None
) -> Session:
    import torch  # a machine that only runs models has none

    from jdetrt.export.torch_session import open_checkpoint

    if provider not in ("auto", "cpu", "cuda"):
        raise SessionError(
            f"{path}: is a checkpoint, which torch runs on 'cpu' or 'cuda', not on '{provider}'"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    if provider == "auto":
        provider = "cuda" if torch.cuda.is_available() else "cpu"
    return open_checkpoint(path, size, device=provider)
