"""Free what a session holds on the GPU: all of it, in order, whatever goes wrong meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, TypeVar

from jdetrt.engine.cuda.api import CudaError

__all__ = ["free_later", "quietly"]

_log = logging.getLogger(__name__)


class _Freed(Protocol):
    def free(self) -> None: ...


_Thing = TypeVar("_Thing", bound=_Freed)


def free_later(cleanup: ExitStack, thing: _Thing) -> _Thing:
    """Let ``cleanup`` free it, before all that was handed over earlier."""
    cleanup.callback(quietly, thing.free)
    return thing


def quietly(step: Callable[[], object]) -> None:
    """Take a step of an ending. After a fault of the GPU every call fails: that is only logged."""
    try:
        step()
    except CudaError as err:
        _log.info("while freeing: %s", err)
