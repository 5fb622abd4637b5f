"""Detector: a model with its letterbox, decoding and thresholds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jdetrt.config import AnyTrackerConfig, TrackerConfig
from jdetrt.errors import SessionError
from jdetrt.runtime.decode import Candidates, candidates, detections
from jdetrt.runtime.input_buffer import BufferedSession, InputBuffer, make_buffers
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.runtime.session import Closing, name_list, shape_text
from jdetrt.runtime.settings import tracker_config
from jdetrt.types import Array, Detections, Session, Size

__all__ = [
    "Candidates",
    "Detector",
    "check_model",
    "detector_for",
    "has_embeddings",
    "network_size",
]

_EXPORT = "make one with: jdetrt export CHECKPOINT -o model.onnx --size 1088x608"


class Detector(Closing):
    """Detects people in images, with a model that is loaded.

    It is a context manager; at the end of its block the session is closed. A session on a GPU
    letterboxes there too. One thread at a time may use a detector.

    Args:
        session: a JDE model with no run open.
        size: width and height of the network input; by default as the model says.
        score_threshold: detections have a score above it, 0 to 1.
        nms_iou: of two detections that overlap by more the lower one goes, 0 to 1.

    Attributes:
        session: the model.
        size: width and height of the network input.
        depth: images that may be submitted before the first is waited for.
        collect: waits for the oldest run and gives its outputs, which may be good only until its
            buffer is given back.
        embedding_dim: length of its embeddings; None where it gives none or does not say.
        score_threshold: may be changed between images.
        nms_iou: may be changed between images.
        full: every candidate of the image decoded last was above the score threshold; a model
            exported with a larger k may find more there.

    Raises:
        SessionError: the session holds another model, or one that leaves its size free.

    ::

        with Detector(open_session("model.onnx"), score_threshold=0.4) as detector:
            people = detector.detect(cv2.imread("street.jpg"))
        print(people.boxes)
    """

    def __init__(
        self,
        session: Session,
        *,
        size: tuple[int, int] | None = None,
        score_threshold: float = 0.5,
        nms_iou: float = 0.4,
    ) -> None:
        check_model(session)
        self.session = session
        self.size = Size(*(size or network_size(session)))
        self.score_threshold = score_threshold
        self.nms_iou = nms_iou
        self.full = False
        dims = [spec.shape[-1] for spec in session.outputs if spec.name == "embeddings"]
        self.embedding_dim = dims[0] if dims and dims[0] > 0 else None
        self.depth = 1
        self.collect: Callable[[], dict[str, Array]] = session.wait
        if isinstance(session, BufferedSession):
            self.depth, self.collect = session.depth, session.collect
        self._free: deque[InputBuffer] | None = None  # made at the first image
        self._submitted: deque[tuple[InputBuffer, Letterbox]] = deque()

    @property
    def tracker_config(self) -> AnyTrackerConfig:
        """Settings for a `Tracker` of what this model detects: its own, or those of a preset."""
        return tracker_config(self.session)

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Detect the people in an image.

        Args:
            image: ``(H, W, 3)`` uint8, BGR.

        Returns:
            Detections in pixels of the image, by descending score.

        Raises:
            DataError: it is no such image.
            SessionError: the network fails, or a submitted image has not been waited for.
        """
        self._refuse_open_run()
        self.submit(image)
        return self.wait()

    def detect_batch(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
        """Detect the people in several images: in one run where the model takes a batch.

        The letterbox of a batch is computed on the CPU.

        Args:
            images: each ``(H, W, 3)`` uint8, BGR; sizes may differ.

        Raises:
            DataError: one is no such image.
            SessionError: as in `detect`.
        """
        spec = self.session.inputs[0]
        if spec.shape[0] != -1 or len(images) < 2:
            return [self.detect(image) for image in images]
        self._refuse_open_run()
        tensor = np.empty((len(images), 3, *self.size.shape), np.float32)
        fits = [
            letterbox(image, self.size, out=out)[1]
            for image, out in zip(images, tensor, strict=True)
        ]
        outputs = self.session.infer({spec.name: tensor})
        return [self.decode(outputs, fit, index) for index, fit in enumerate(fits)]

    def candidates(
        self, image: npt.NDArray[np.uint8], score_threshold: float | None = None
    ) -> Candidates:
        """Run the network on an image without suppressing anything.

        Args:
            image: ``(H, W, 3)`` uint8, BGR.
            score_threshold: of the candidates; by default that of the detector.

        Raises:
            DataError, SessionError: as in `detect`.
        """
        self._refuse_open_run()
        self.submit(image)
        outputs, fit = self._collect()
        threshold = self.score_threshold if score_threshold is None else score_threshold
        return candidates(outputs, fit, score_threshold=threshold)

    def submit(self, image: npt.NDArray[np.uint8]) -> None:
        """Letterbox an image, start the network on it and return.

        Up to ``depth`` images may be submitted before the first is waited for.

        Args:
            image: ``(H, W, 3)`` uint8, BGR; it may be changed once this has returned.

        Raises:
            DataError: it is no such image.
            SessionError: too many images are submitted, or the session is closed.
        """
        if self._free is None:
            self._free = deque(self.buffers(self.depth))
        if not self._free:
            raise SessionError(f"{self.depth} submitted already: call wait() before submit()")
        buffer = self._free[0]
        fit = buffer.fill(image)
        buffer.submit()
        self._free.popleft()
        self._submitted.append((buffer, fit))

    def wait(self) -> Detections:
        """Wait for the image that was submitted first and return its detections.

        Raises:
            SessionError: no image is submitted, or the network failed.
        """
        return self.decode(*self._collect())

    def decode(
        self, outputs: Mapping[str, Array], letterbox: Letterbox, batch_index: int = 0
    ) -> Detections:
        """Turn outputs of the session into detections in source pixels.

        Args:
            outputs: of one run.
            letterbox: of the image.
            batch_index: number of the image in the batch, from 0.

        Raises:
            SessionError: the outputs have another shape or are not finite.
        """
        result = detections(
            outputs,
            letterbox,
            score_threshold=self.score_threshold,
            nms_iou=self.nms_iou,
            batch_index=batch_index,
        )
        scores = outputs["scores"][batch_index]
        self.full = bool(len(scores) and scores[-1] > self.score_threshold)
        return result

    def buffers(self, count: int) -> Sequence[InputBuffer]:
        """Make input buffers, to letterbox images in another thread while the network runs.

        After ``submit`` of a buffer, wait with ``collect``, decode with `decode`, and only then
        fill the buffer again.
        """
        return make_buffers(self.session, self.size, count)

    def close(self) -> None:
        """Close the session; a second call does nothing."""
        self.session.close()

    def _collect(self) -> tuple[dict[str, Array], Letterbox]:
        if not self._submitted:
            raise SessionError("no image is submitted: call submit() before wait()")
        try:
            outputs = self.collect()
        except Exception:  # an interrupted wait leaves the run open, a failed one does not
            self._give_back()
            raise
        return outputs, self._give_back()

    def _give_back(self) -> Letterbox:
        buffer, fit = self._submitted.popleft()
        assert self._free is not None
        self._free.append(buffer)
        return fit

    def _refuse_open_run(self) -> None:
        if self._submitted:
            raise SessionError("an image is submitted already: call wait() first")


def check_model(session: Session) -> None:
    """Check that a session holds a JDE model of this package.

    That is: one float32 input ``[N, 3, H, W]`` that takes one image at a time, and outputs
    ``boxes [N, k, 4]``, ``scores [N, k]`` and perhaps ``embeddings [N, k, D]``.

    Raises:
        SessionError: it is another model; the message says what it takes and gives.
    """
    takes = ", ".join(f"{s.name} {s.dtype} {shape_text(s.shape)}" for s in session.inputs)
    gives = {spec.name: spec for spec in session.outputs}
    for name, rank in (("boxes", 3), ("scores", 2)):
        if name not in gives or len(gives[name].shape) != rank:
            raise SessionError(
                f"not a JDE model with decoding in its graph: it has no output '{name}' of "
                f"{rank} dimensions (inputs: {takes}; outputs: {name_list(list(gives))}); {_EXPORT}"
            )
    if len(session.inputs) != 1 or len(session.inputs[0].shape) != 4:
        raise SessionError(f"expected one input [N, 3, H, W], the model takes {takes}; {_EXPORT}")
    spec = session.inputs[0]
    batch, channels = spec.shape[:2]
    if spec.dtype != "float32" or channels not in (3, -1):
        raise SessionError(f"expected a float32 input [N, 3, H, W], the model takes {takes}")
    if batch not in (1, -1):
        raise SessionError(
            f"the model takes exactly {batch} images at a time, but tracking uses one; "
            f"export it with a dynamic batch or a batch of 1"
        )


def network_size(session: Session) -> Size:
    """Width and height of the network input of a model, in pixels.

    Raises:
        SessionError: the model leaves its size free.
    """
    height, width = session.inputs[0].shape[2:]
    if height < 1 or width < 1:
        raise SessionError("the model has no fixed input size; give the network size to use")
    return Size(width, height)


def has_embeddings(session: Session) -> bool:
    """Tell whether a model gives appearance vectors beside its boxes."""
    return any(spec.name == "embeddings" for spec in session.outputs)


def detector_for(
    model: Session | Detector, tracker: TrackerConfig, size: tuple[int, int] | None = None
) -> Detector:
    """Make the detector of a pipeline: a session gets the thresholds of the tracker's settings.

    Args:
        model: a session of a JDE model; or a detector, which is returned as it is.
        tracker: settings with ``score_threshold`` and ``nms_iou``.
        size: width and height of the network input; by default as the model says.

    Raises:
        SessionError: the session holds another model, or one that leaves its size free.
    """
    if isinstance(model, Detector):
        return model
    return Detector(
        model, size=size, score_threshold=tracker.score_threshold, nms_iou=tracker.nms_iou
    )
