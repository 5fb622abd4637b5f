"""What the commands about models and checkpoints share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jdetrt.errors import MissingDependencyError

if TYPE_CHECKING:
    from jdetrt.types import TensorSpec

__all__ = ["missing", "shapes"]


def missing(err: ModuleNotFoundError, purpose: str, extra: str = "export") -> Exception:
    """Turn a missing optional package into words; a missing module of ours is a defect."""
    package = (err.name or "?").split(".")[0]
    return err if package == "jdetrt" else MissingDependencyError(package, extra, purpose)


def shapes(specs: Iterable[TensorSpec]) -> str:
    """Names, shapes and dtypes on one line."""
    return ", ".join(
        f"{spec.name} [{', '.join('N' if d == -1 else str(d) for d in spec.shape)}] {spec.dtype}"
        for spec in specs
    )
