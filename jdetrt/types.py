"""Values that pass between the parts, and the protocols of a session and of progress.

All values are frozen: a part makes new ones, it never changes those it was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError

__all__ = [
    "NO_PROGRESS",
    "Array",
    "Detections",
    "Frame",
    "Progress",
    "Session",
    "Size",
    "TensorSpec",
    "Tracks",
]

Array = npt.NDArray[Any]


class Size(NamedTuple):
    """Width and height in pixels, in this order; a plain tuple ``(width, height)`` equals it.

    >>> Size.parse("1088x608")
    Size(width=1088, height=608)
    >>> str(Size(1088, 608)), Size(1088, 608).shape
    ('1088x608', (608, 1088))
    """

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``WIDTHxHEIGHT``, such as ``1088x608``.

        Raises:
            DataError: the text has another form, or a side is 0.
        """
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text.strip().lower())
        if match is None:
            raise DataError(f"{text!r}: expected WIDTHxHEIGHT in pixels, such as 1088x608")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, image: Array) -> Size:
        """Size of an image ``(H, W)`` or ``(H, W, C)``."""
        return cls(image.shape[1], image.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, as the first two axes of an array."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Progress(Protocol):
    """Receives the progress of long work; methods may be called from any thread.

    A phase is named by its text. A caller starts a phase, advances it, and finishes it; work that
    ends by an exception leaves its phase unfinished.
    """

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Begin a phase of ``total`` steps, or of an unknown number; within another, or not."""

    def advance(self, phase: str, done: int) -> None:
        """Report how many steps of a phase are done so far."""

    def finish(self, phase: str) -> None:
        """End a phase."""

    def message(self, text: str) -> None:
        """Tell the user something that does not belong to a phase."""


class _NoProgress:
    """Progress that nobody watches."""

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Ignore it."""

    def advance(self, phase: str, done: int) -> None:
        """Ignore it."""

    def finish(self, phase: str) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""


NO_PROGRESS: Progress = _NoProgress()


def _expect(name: str, array: Array, dtype: type, shape: tuple[int | None, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != len(shape):
        raise DataError(
            f"{name}: expected {np.dtype(dtype)} of shape {_shape(shape)}, "
            f"got {getattr(array, 'dtype', type(array).__name__)} of shape "
            f"{getattr(array, 'shape', '?')}"
        )
    for want, got in zip(shape, array.shape, strict=True):
        if want is not None and want != got:
            raise DataError(f"{name}: expected shape {_shape(shape)}, got {array.shape}")


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("n" if d is None else str(d) for d in shape) + ")"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: ``(H, W, 3)`` uint8, BGR as OpenCV reads it.
        index: frame number in the source, from 1 (MOT Challenge counts so).
        timestamp: capture time in seconds, or None where the source has none.
        name: file name of the picture where there is one, else "".
    """

    image: npt.NDArray[np.uint8]
    index: int
    timestamp: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What the network saw in one frame.

    Attributes:
        boxes: ``(N, 4)`` float32, x1 y1 x2 y2 in source pixels.
        scores: ``(N,)`` float32, 0 to 1.
        embeddings: ``(N, D)`` float32 appearance vectors, or None where there are none.

    Raises:
        DataError: an array of another dtype or shape.

    >>> d = Detections(np.zeros((2, 4), np.float32), np.ones(2, np.float32), None)
    >>> len(d)
    2
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _expect("Detections.boxes", self.boxes, np.float32, (None, 4))
        n = len(self.boxes)
        _expect("Detections.scores", self.scores, np.float32, (n,))
        if self.embeddings is not None:
            _expect("Detections.embeddings", self.embeddings, np.float32, (n, None))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The people followed in one frame.

    Attributes:
        ids: ``(M,)`` int64, from 1 in each tracker.
        boxes: ``(M, 4)`` float32, x1 y1 x2 y2 in source pixels.
        scores: ``(M,)`` float32, of the detection that each was last matched with.
    """

    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


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
        """What ``infer`` takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``infer`` gives."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model file says about itself; empty where it says nothing."""

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
