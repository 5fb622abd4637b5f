"""Base of sessions: their inputs and outputs, checks of arrays, one run at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from jdetrt.errors import SessionError
from jdetrt.types import Array, TensorSpec

__all__ = ["Closing", "SessionBase", "check_feeds", "name_list", "shape_text"]

_Self = TypeVar("_Self", bound="Closing")


class Closing(ABC):
    """A context manager that calls ``close`` at the end of its block, however that ends."""

    @abstractmethod
    def close(self) -> None:
        """Free what it holds; a second call does nothing."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class SessionBase(Closing):
    """Implements :class:`jdetrt.types.Session`, but for the run itself.

    Args:
        inputs: what the model takes.
        outputs: what it gives.
        metadata: what it says about itself.

    Attributes:
        last_run_seconds: time of the last run itself, without the wait for the caller; None before
            the first.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        metadata: Mapping[str, str],
    ) -> None:
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._metadata = metadata
        self._open: deque[Callable[[], dict[str, Array]]] = deque()  # runs, oldest first
        self._closed = False
        self.last_run_seconds: float | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of ``infer``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs of ``infer``."""
        return self._outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's own key-value notes (ONNX ``metadata_props``)."""
        return self._metadata

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once. Raises SessionError on a wrong name, dtype or shape."""
        self.submit(feeds)
        return self.wait()

    def submit(self, feeds: Mapping[str, Array]) -> None:
        """Start a run and return at once; leave the arrays alone until ``wait`` has returned.

        Raises:
            SessionError: a wrong name, dtype or shape; a run is open already; or it is closed.
        """
        self._check_room(1)
        check_feeds(self._inputs, feeds)
        self._open.append(self._start(feeds))

    def wait(self) -> dict[str, Array]:
        """Wait for the oldest run that is open and return its outputs by name.

        Raises:
            SessionError: no run is open, or the run failed.
        """
        if not self._open:
            raise SessionError("no run is open: call submit() before wait()")
        # An interrupted wait leaves the run open, so that it can be waited for again.
        try:
            outputs = self._open[0]()
        except Exception:
            self._open.popleft()
            raise
        self._open.popleft()
        return outputs

    def collect(self) -> dict[str, Array]:
        """Wait as ``wait`` does; the arrays may be good only until their buffer's next use."""
        return self.wait()

    def close(self) -> None:
        """Run no more; a second call does nothing."""
        self._closed = True
        self._open.clear()

    def _check_room(self, most: int) -> None:
        """Refuse a run when the session is closed or has ``most`` open. Raises SessionError."""
        if self._closed:
            raise SessionError("the session is closed")
        if len(self._open) >= most:
            raise SessionError(
                f"{'a run is' if most == 1 else f'{most} runs are'} open already: call wait() "
                "before the next submit()"
            )

    @abstractmethod
    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        """Start a run on feeds that are checked; give what waits for it and returns its outputs."""


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Check the arrays of one run against the inputs of a model.

    Raises:
        SessionError: a name is missing or unknown, or a dtype or shape is another one.

    >>> import numpy as np
    >>> spec = TensorSpec("images", "float32", (-1, 3, 32, 64))
    >>> check_feeds([spec], {"images": np.zeros((1, 3, 32, 64), np.float32)})
    >>> check_feeds([spec], {"images": np.zeros((1, 3, 32, 64))})
    Traceback (most recent call last):
    jdetrt.errors.SessionError: input 'images': expected float32 (n, 3, 32, 64), \
got float64 (1, 3, 32, 64)
    """
    expected = [spec.name for spec in inputs]
    if set(expected) != set(feeds):
        raise SessionError(f"the model takes {name_list(expected)}, got {name_list(list(feeds))}")
    for spec in inputs:
        array = feeds[spec.name]
        fits = len(spec.shape) == array.ndim and all(
            want in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise SessionError(
                f"input '{spec.name}': expected {spec.dtype} {shape_text(spec.shape)}, "
                f"got {array.dtype} {array.shape}"
            )


def name_list(names: Sequence[str]) -> str:
    """Names of tensors for a message."""
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def shape_text(shape: Sequence[int]) -> str:
    """A shape for a message, ``n`` for a free dimension."""
    return "(" + ", ".join("n" if d == -1 else str(d) for d in shape) + ")"
