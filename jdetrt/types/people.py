"""People in a frame, detected or tracked: arrays with one row for each.

Both are frozen: a part makes new ones, it never changes those it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.types.session import Array

__all__ = ["Detections", "Tracks"]

Index = int | slice | list[int] | Array

_set = object.__setattr__  # the values are frozen


def _array(name: str, value: ArrayLike, dtype: type, shape: tuple[int | None, ...]) -> Array:
    """``value`` as an array of a dtype and shape; a list of nothing has any shape."""
    try:
        array = np.asarray(value)
    except ValueError as err:
        raise DataError(f"{name}: rows of different lengths ({err})") from err
    if array.shape == (0,):
        array = np.empty([size or 0 for size in shape], dtype)
    convertible = array.dtype == dtype or array.dtype.kind in (
        "iuf" if dtype is np.float32 else "iu"
    )
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if not convertible or not fits:
        expected = ", ".join("n" if size is None else str(size) for size in shape)
        raise DataError(
            f"{name}: expected numbers for {np.dtype(dtype)} of shape ({expected}), got "
            f"{array.dtype} of shape {array.shape}"
        )
    return array.astype(dtype, copy=False)


def _rows(index: Index) -> Index:
    """An index that keeps the axis of rows: a number stands for one row."""
    return np.array([index]) if isinstance(index, (int, np.integer)) else index


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Detections:
    """The people detected in one frame.

    Lists and other numeric dtypes are converted. ``detections[index]`` takes rows by a mask, an
    array of indices, a slice or a number, and is `Detections` again.

    Attributes:
        boxes: ``(N, 4)`` float32, x1 y1 x2 y2 in source pixels.
        scores: ``(N,)`` float32, 0 to 1.
        embeddings: ``(N, D)`` float32 appearance vectors, or None where there are none.

    Raises:
        DataError: an array of another shape, or of something other than numbers.

    >>> people = Detections([[10, 10, 50, 110], [60, 10, 90, 100]], [0.9, 0.4])
    >>> people[people.scores > 0.5].boxes
    array([[ 10.,  10.,  50., 110.]], dtype=float32)
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32] | None

    def __init__(
        self, boxes: ArrayLike, scores: ArrayLike, embeddings: ArrayLike | None = None
    ) -> None:
        _set(self, "boxes", _array("Detections.boxes", boxes, np.float32, (None, 4)))
        n = len(self.boxes)
        _set(self, "scores", _array("Detections.scores", scores, np.float32, (n,)))
        if embeddings is not None:
            embeddings = _array("Detections.embeddings", embeddings, np.float32, (n, None))
        _set(self, "embeddings", embeddings)

    @classmethod
    def unchecked(
        cls,
        boxes: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        embeddings: npt.NDArray[np.float32] | None,
    ) -> Detections:
        """Detections of arrays that have the right dtypes and shapes; nothing is checked."""
        self = object.__new__(cls)
        _set(self, "boxes", boxes)
        _set(self, "scores", scores)
        _set(self, "embeddings", embeddings)
        return self

    @classmethod
    def empty(cls, dim: int | None = None) -> Detections:
        """No detection, with embeddings of length ``dim`` or without any."""
        return cls([], [], None if dim is None else np.empty((0, dim), np.float32))

    @classmethod
    def from_supervision(cls, detections: Any) -> Detections:
        """Convert ``supervision.Detections``.

        Args:
            detections: with embeddings as ``data["embedding"]``, or without; without a confidence
                all scores are 1.

        Raises:
            DataError: an array has another shape.
        """
        scores = detections.confidence
        return cls(
            detections.xyxy,
            np.ones(len(detections.xyxy), np.float32) if scores is None else scores,
            detections.data.get("embedding"),
        )

    def to_supervision(self) -> Any:
        """Convert to ``supervision.Detections``, all of class 0.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        return _supervision(self.boxes, self.scores, None, {"embedding": self.embeddings})

    def scaled(self, x: float, y: float) -> Detections:
        """The same people in an image that is ``x`` times as wide and ``y`` times as high."""
        boxes = self.boxes * np.array([x, y, x, y], np.float32)
        return Detections.unchecked(boxes, self.scores, self.embeddings)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> Detections:
        rows = _rows(index)
        embeddings = self.embeddings
        return Detections.unchecked(
            self.boxes[rows], self.scores[rows], None if embeddings is None else embeddings[rows]
        )


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Tracks:
    """The people tracked in one frame.

    Lists and other numeric dtypes are converted. ``tracks[index]`` takes rows by a mask, an array
    of indices, a slice or a number, and is `Tracks` again.

    Attributes:
        ids: ``(M,)`` int64, from 1 in each tracker.
        boxes: ``(M, 4)`` float32, x1 y1 x2 y2 in source pixels.
        scores: ``(M,)`` float32, of the detection that each was last matched with.
        detection: ``(M,)`` int64, row of the detection matched in this frame; -1 for none.
        embeddings: ``(M, D)`` float32 unit vectors, smoothed over time, or None for a tracker
            without appearance.
        age: ``(M,)`` int64, frames since the first detection; 0 in that frame.

    Raises:
        DataError: an array of another shape, or of something other than numbers.

    >>> tracks = Tracks([4, 7], [[10, 10, 50, 110], [60, 10, 90, 100]], [0.9, 0.4])
    >>> tracks[tracks.ids == 7].boxes
    array([[ 60.,  10.,  90., 100.]], dtype=float32)
    """

    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    detection: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32] | None
    age: npt.NDArray[np.int64]

    def __init__(
        self,
        ids: ArrayLike,
        boxes: ArrayLike,
        scores: ArrayLike,
        detection: ArrayLike | None = None,
        embeddings: ArrayLike | None = None,
        age: ArrayLike | None = None,
    ) -> None:
        _set(self, "ids", _array("Tracks.ids", ids, np.int64, (None,)))
        n = len(self.ids)
        _set(self, "boxes", _array("Tracks.boxes", boxes, np.float32, (n, 4)))
        _set(self, "scores", _array("Tracks.scores", scores, np.float32, (n,)))
        detection = np.full(n, -1) if detection is None else detection
        _set(self, "detection", _array("Tracks.detection", detection, np.int64, (n,)))
        if embeddings is not None:
            embeddings = _array("Tracks.embeddings", embeddings, np.float32, (n, None))
        _set(self, "embeddings", embeddings)
        age = np.zeros(n, np.int64) if age is None else age
        _set(self, "age", _array("Tracks.age", age, np.int64, (n,)))

    @classmethod
    def unchecked(
        cls,
        ids: npt.NDArray[np.int64],
        boxes: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        detection: npt.NDArray[np.int64],
        embeddings: npt.NDArray[np.float32] | None,
        age: npt.NDArray[np.int64],
    ) -> Tracks:
        """Tracks of arrays that have the right dtypes and shapes; nothing is checked."""
        self = object.__new__(cls)
        _set(self, "ids", ids)
        _set(self, "boxes", boxes)
        _set(self, "scores", scores)
        _set(self, "detection", detection)
        _set(self, "embeddings", embeddings)
        _set(self, "age", age)
        return self

    @classmethod
    def empty(cls, dim: int | None = None) -> Tracks:
        """No track, with embeddings of length ``dim`` or without any."""
        none = np.empty((0, dim), np.float32) if dim is not None else None
        return cls([], [], [], embeddings=none)

    @classmethod
    def from_supervision(cls, detections: Any) -> Tracks:
        """Convert ``supervision.Detections`` that have a ``tracker_id``.

        Raises:
            DataError: there are no ids, or an array has another shape.
        """
        people = Detections.from_supervision(detections)
        if detections.tracker_id is None:
            raise DataError("supervision.Detections: tracker_id is None; track them first")
        data = detections.data
        return cls(
            detections.tracker_id,
            people.boxes,
            people.scores,
            data.get("detection"),
            people.embeddings,
            data.get("age"),
        )

    def to_supervision(self) -> Any:
        """Convert to ``supervision.Detections``, all of class 0; the ids are ``tracker_id``.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        data = {"detection": self.detection, "embedding": self.embeddings, "age": self.age}
        return _supervision(self.boxes, self.scores, self.ids, data)

    def scaled(self, x: float, y: float) -> Tracks:
        """The same people in an image that is ``x`` times as wide and ``y`` times as high."""
        boxes = self.boxes * np.array([x, y, x, y], np.float32)
        return Tracks.unchecked(
            self.ids, boxes, self.scores, self.detection, self.embeddings, self.age
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Index) -> Tracks:
        rows = _rows(index)
        embeddings = self.embeddings
        return Tracks.unchecked(
            self.ids[rows],
            self.boxes[rows],
            self.scores[rows],
            self.detection[rows],
            None if embeddings is None else embeddings[rows],
            self.age[rows],
        )


def _supervision(
    boxes: Array, scores: Array, ids: Array | None, data: Mapping[str, Array | None]
) -> Any:
    try:
        from supervision import Detections as Supervision
    except ModuleNotFoundError as err:
        raise MissingDependencyError("supervision", "bench", "Converting detections") from err
    return Supervision(
        xyxy=boxes,
        confidence=scores,
        class_id=np.zeros(len(boxes), np.int64),
        tracker_id=ids,
        data={name: array for name, array in data.items() if array is not None},
    )
