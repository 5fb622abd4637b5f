"""Session: the protocol of a loaded model, and the specification of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

__all__ = ["Array", "Session", "TensorSpec"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, NumPy dtype name and shape of one input or output; -1 stands for a free dimension."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@runtime_checkable
class Session(Protocol):
    """A loaded model: TensorRT, ONNX Runtime and the fake of ``jdetrt.testing`` alike.

    ``infer`` is ``submit`` followed by ``wait``. Between the two the caller is free to do other
    work; at most one submission may be open. The arrays that come back belong to the caller.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of ``infer``."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs of ``infer``."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Metadata of the model file; empty if there are none."""

    @property
    def last_run_seconds(self) -> float | None:
        """Time of the last run itself, without the wait for the caller; None before the first."""

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once. Raises SessionError on a wrong name, dtype or shape."""

    def submit(self, feeds: Mapping[str, Array]) -> None:
        """Start a run and return at once."""

    def wait(self) -> dict[str, Array]:
        """Wait for the run that ``submit`` started and return its outputs."""

    def close(self) -> None:
        """Free everything; a second call does nothing."""

    def __enter__(self) -> Session: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
