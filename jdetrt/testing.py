"""A session without a model, to run the whole flow in tests: ours, and those of your program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

import numpy as np

from jdetrt.errors import SessionError
from jdetrt.runtime.contract import check_feeds
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.types import Array, Detections, TensorSpec

__all__ = ["FakeSession"]


class FakeSession:
    """Implements :class:`jdetrt.types.Session`; its outputs are made up by the caller.

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
        self._inputs = (TensorSpec("images", "float32", (-1, 3, height, width)),)
        self._outputs: tuple[TensorSpec, ...] = (
            TensorSpec("boxes", "float32", (-1, -1, 4)),
            TensorSpec("scores", "float32", (-1, -1)),
        )
        if embedding_size is not None:
            self._outputs += (TensorSpec("embeddings", "float32", (-1, -1, embedding_size)),)
        self._function = outputs if callable(outputs) else _one_a_run(outputs)
        self._metadata = dict(metadata or {})
        self._seconds = seconds
        self._running: tuple[float, Mapping[str, Array]] | None = None
        self._closed = False
        self.runs = 0
        self.last_run_seconds = seconds

    @classmethod
    def from_detections(
        cls,
        frames: Sequence[Detections],
        *,
        size: tuple[int, int],
        source_size: tuple[int, int] | None = None,
        seconds: float = 0.0,
    ) -> FakeSession:
        """A session that "sees" given detections, such as a clip's ground truth.

        Args:
            frames: the detections of frame 1, 2 and so on; all with embeddings or none.
            size: width and height of the network input.
            source_size: width and height of the source when the boxes are in source pixels; by
                default they are in network pixels.
            seconds: what a run takes.

        >>> box = np.array([[100, 50, 160, 200]], np.float32)
        >>> person = Detections(box, np.array([0.9], np.float32))
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
        )

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """One: ``images`` float32 ``(n, 3, height, width)``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """``boxes``, ``scores`` and perhaps ``embeddings``."""
        return self._outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """What was given to the constructor."""
        return self._metadata

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Raises SessionError on a wrong name, dtype or shape."""
        self.submit(feeds)
        return self.wait()

    def submit(self, feeds: Mapping[str, Array]) -> None:
        """Start a run. Raises SessionError as a real session does."""
        if self._closed:
            raise SessionError("the session is closed")
        if self._running is not None:
            raise SessionError("a run is open already: call wait() before the next submit()")
        check_feeds(self._inputs, feeds)
        self.runs += 1
        done_at = time.perf_counter() + self._seconds
        self._running = (done_at, self._function(feeds))

    def wait(self) -> dict[str, Array]:
        """Sleep for what is left of ``seconds`` and return the outputs, copied."""
        if self._running is None:
            raise SessionError("no run is open: call submit() before wait()")
        done_at, outputs = self._running
        time.sleep(max(0.0, done_at - time.perf_counter()))
        self._running = None
        return {name: array.copy() for name, array in outputs.items()}

    def close(self) -> None:
        """Run no more; a second call does nothing."""
        self._closed = True
        self._running = None

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


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
