"""FakeSession: a session without a model, to test pipelines, ours and yours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from jdetrt.errors import SessionError
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.runtime.session import SessionBase
from jdetrt.types import Array, Detections, TensorSpec

__all__ = ["FakeSession"]


class FakeSession(SessionBase):
    """Implements :class:`jdetrt.types.Session`; its outputs come from the caller.

    It is as strict as a real one: it checks what it is fed, and that each ``submit`` has its
    ``wait``.

    Args:
        outputs: a function from feeds to outputs, called once a run; or a list of outputs, handed
            out one a run, after whose end a run fails.
        size: width and height of its input ``images``.
        embedding_size: D of the output ``embeddings``; None for a model without them.
        seconds: what a run takes, counted from ``submit``.
        metadata: what the model says about itself.

    Attributes:
        runs: how many runs were submitted.
        last_run_seconds: as in a real session.

    >>> def one_person(feeds):
    ...     return {
    ...         "boxes": np.array([[[8, 4, 24, 60]]], np.float32),
    ...         "scores": np.array([[0.9]], np.float32),
    ...     }
    >>> with FakeSession(one_person, size=(128, 64)) as session:
    ...     outputs = session.infer({"images": np.zeros((1, 3, 64, 128), np.float32)})
    >>> outputs["scores"].tolist() == [[np.float32(0.9)]]
    True
    """

    def __init__(
        self,
        outputs: Callable[[Mapping[str, Array]], Mapping[str, Array]]
        | Sequence[Mapping[str, Array]],
        *,
        size: tuple[int, int],
        embedding_size: int | None = None,
        seconds: float = 0.0,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        width, height = size
        given = [
            TensorSpec("boxes", "float32", (-1, -1, 4)),
            TensorSpec("scores", "float32", (-1, -1)),
        ]
        if embedding_size is not None:
            given.append(TensorSpec("embeddings", "float32", (-1, -1, embedding_size)))
        taken = TensorSpec("images", "float32", (-1, 3, height, width))
        super().__init__([taken], given, dict(metadata or {}))
        self._function = outputs if callable(outputs) else _one_a_run(outputs)
        self._seconds = seconds
        self.runs = 0

    @classmethod
    def from_detections(
        cls,
        frames: Sequence[Detections],
        *,
        size: tuple[int, int],
        source_size: tuple[int, int] | None = None,
        seconds: float = 0.0,
        metadata: Mapping[str, str] | None = None,
    ) -> FakeSession:
        """A session that "sees" given detections, such as a clip's ground truth.

        Args:
            frames: the detections of frame 1, 2 and so on; all with embeddings or none.
            size: width and height of the network input.
            source_size: width and height of the source when the boxes are in source pixels; by
                default they are in network pixels.
            seconds: what a run takes.
            metadata: what the model says about itself.

        >>> person = Detections([[100, 50, 160, 200]], [0.9])
        >>> session = FakeSession.from_detections([person], size=(128, 64), source_size=(256, 256))
        >>> outputs = session.infer({"images": np.zeros((1, 3, 64, 128), np.float32)})
        >>> outputs["boxes"][0].tolist()  # a quarter of the size, 32 pixels of border on the left
        [[57.0, 12.5, 72.0, 50.0]]
        """
        lengths = {d.embeddings.shape[1] for d in frames if d.embeddings is not None}
        if len(lengths) > 1:
            raise SessionError(f"embeddings of different lengths: {sorted(lengths)}")
        fit = None if source_size is None else Letterbox.fit(source_size, size)
        return cls(
            [_as_outputs(detections, fit) for detections in frames],
            size=size,
            embedding_size=lengths.pop() if lengths else None,
            seconds=seconds,
            metadata=metadata,
        )

    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        self.runs += 1
        done_at = time.perf_counter() + self._seconds
        outputs = self._function(feeds)

        def result() -> dict[str, Array]:
            time.sleep(max(0.0, done_at - time.perf_counter()))
            self.last_run_seconds = self._seconds
            return {name: array.copy() for name, array in outputs.items()}

        return result


def _one_a_run(
    outputs: Sequence[Mapping[str, Array]],
) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    left: Iterator[Mapping[str, Array]] = iter(outputs)

    def hand_out(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        item = next(left, None)
        if item is None:
            raise SessionError(f"the fake session has outputs for {len(outputs)} runs, no more")
        return item

    return hand_out


def _as_outputs(detections: Detections, fit: Letterbox | None) -> dict[str, Array]:
    boxes = detections.boxes
    if fit is not None:
        pads = np.array([fit.pad_x, fit.pad_y, fit.pad_x, fit.pad_y], np.float32)
        boxes = boxes * np.float32(fit.gain) + pads
    best_first = np.argsort(-detections.scores, kind="stable")
    outputs = {"boxes": boxes, "scores": detections.scores}
    if detections.embeddings is not None:
        outputs["embeddings"] = detections.embeddings
    return {name: array[best_first][np.newaxis] for name, array in outputs.items()}
