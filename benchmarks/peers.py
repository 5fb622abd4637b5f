"""A model beside detectors that are free in packages, on one MOT sequence and the same cores.

Every detector is tracked by the same stock ByteTrack (package ``trackers``, its own defaults), and
ours by its own settings too. FPS count detection and tracking of one frame after the other; images
are read before the clock runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.benchmarks.association import Candidate, peers
from jdetrt.config import TrackerConfig, preset_of
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, SessionError
from jdetrt.evaluation.average_precision import judge
from jdetrt.evaluation.trackeval import score_files
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.runtime.decode import detections, nms
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.mot.files import mot_lines
from jdetrt.runtime.mot.public_detections import every_frame, read_detections
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.preprocess import letterbox
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.runtime.tracking.filter import reportable
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.shipped import name_of, resolve
from jdetrt.types import Detections, Tracks

if TYPE_CHECKING:
    from jdetrt.training.data.datasets import DataSet

__all__ = ["NanoDet", "PeersResult", "measure_peers"]

_LEAST = 0.05  # scores from here count for the average precision; trackers have limits of their own
_BYTETRACK = "ByteTrackTracker"

Image = npt.NDArray[np.uint8]
Detect = Callable[[Image], Detections]


class PeerRow(msgspec.Struct):
    """Scores and speed of a detector with a tracker; ``fps`` is None where boxes come from a file.

    ``ap50`` is from 0 to 1; ``mota``, ``idf1`` and ``hota`` are percent.
    """

    detector: str
    tracker: str
    ap50: float
    mota: float
    idf1: float
    hota: float
    idsw: int
    fps: float | None


class PeersResult(msgspec.Struct):
    """Result of ``bench peers``; ``read`` is the account of the images."""

    benchmark: str
    machine: Machine
    settings: dict[str, Any]
    rows: list[PeerRow]
    read: dict[str, dict[str, Any]]


class _Detector(NamedTuple):
    name: str
    detect: Detect | None  # None: the boxes come from a file
    tracker: TrackerConfig | None  # of its own, beside ByteTrack


def measure_peers(
    sequence: str | Path,
    models: Sequence[str | Path],
    *,
    nanodet: Sequence[Path] = (),
    hog: bool = True,
    frames: int | None = None,
    threads: int | None = None,
) -> PeersResult:
    """Score and time detectors on a sequence, one after the other in this process.

    The public detections of the sequence (``det/det.txt``), where it has them, are one of them. In
    an image that cannot be read nobody is detected.

    Args:
        sequence: folder of a MOT sequence with images and ground truth.
        models: of ours: built-in names or paths of models.
        nanodet: published ONNX files of NanoDet.
        hog: take OpenCV's own detector of people as well (Dalal and Triggs 2005).
        frames: the first so many; default: all, which scores need: a shorter run is for speed.
        threads: of ONNX Runtime and OpenCV; default: one a physical core.

    Raises:
        ConfigError: there is nothing to measure.
        DataError: images or ground truth are missing or wrong.
        SessionError: a model cannot be used.
        MissingDependencyError: ``trackers`` or TrackEval is not installed.
    """
    from jdetrt.training.data.datasets import open_data_set, readable  # which loads torch

    folder = Path(sequence)
    if not models and not nanodet:
        raise ConfigError("nothing to measure: name a model")
    data, info = open_data_set(folder), read_seqinfo(folder)
    count = len(data) if frames is None else min(frames, len(data))
    stock = peers([_BYTETRACK])
    (stock_name,) = stock
    if threads is not None:
        load_cv2().setNumThreads(threads)
    images = Account("image")
    truth = {
        at: (one.boxes.clip(min=0), one.ignore) for at, one in readable(data, images, range(count))
    }
    rows = []
    for detector in _detectors(folder, models, nanodet, hog, threads):
        boxes, seconds = _detect(detector, data, list(truth), count, folder)
        people, ignore = zip(*truth.values(), strict=True)
        ap50 = judge([boxes[at] for at in truth], people, ignore).average_precision()
        trackers = {stock_name: stock[stock_name](info.frame_rate)}
        if detector.tracker is not None:
            trackers[f"jdetrt {preset_of(detector.tracker)}"] = _own(
                detector.tracker, info.frame_rate
            )
        for name, tracker in trackers.items():
            lines, spent = _track(tracker, boxes)
            with scratch_folder("peers") as temporary:
                results = Path(temporary, "tracks.txt")
                results.write_text("".join(lines))
                score = score_files({folder.resolve().name: (folder, results)}).combined
            fps = None if seconds is None else len(truth) / (seconds + spent)
            scores = (score.mota, score.idf1, score.hota, score.idsw)
            rows.append(PeerRow(detector.name, name, ap50, *scores, fps))
    settings = {"sequence": folder.resolve().name, "frames": count, "threads": threads}
    return PeersResult("peers", manifest(), settings, rows, {images.many: images.to_dict()})


class NanoDet:
    """A published NanoDet as ONNX file, of which the class person is taken.

    It takes square BGR images, letterboxed to the top left, and gives for the strides 8, 16 and 32
    class scores and logits of the distances of edges (RangiLyu/nanodet, config/nanodet-g.yml).

    Args:
        path: of the file.
        threads: of ONNX Runtime; default: one a physical core.

    Raises:
        SessionError: the file is not such a model.
    """

    strides = (8, 16, 32)
    mean = np.array([103.53, 116.28, 123.675], np.float32)
    deviation = np.array([57.375, 57.12, 58.395], np.float32)

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._session = OrtSession(path, provider="cpu", threads=threads)
        shape = self._session.inputs[0].shape
        if len(self._session.outputs) != 6 or len(shape) != 4 or shape[2] != shape[3]:
            raise SessionError(
                f"{path}: is not a NanoDet with one square input and six outputs, scores and "
                "distances at three strides"
            )
        self._side = int(shape[2])

    def __call__(self, image: Image) -> Detections:
        """Detect people in a BGR image."""
        cv2 = load_cv2()
        height, width = image.shape[:2]
        gain = self._side / max(height, width)
        wide, tall = round(width * gain), round(height * gain)
        canvas = np.full((self._side, self._side, 3), 114, np.float32)
        canvas[:tall, :wide] = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_AREA)
        blob = ((canvas - self.mean) / self.deviation).transpose(2, 0, 1)[None]
        named = self._session.infer({self._session.inputs[0].name: np.ascontiguousarray(blob)})
        outputs = [named[spec.name] for spec in self._session.outputs]
        boxes, scores = [], []
        for stride, classes, edges in zip(self.strides, outputs[:3], outputs[3:], strict=True):
            people = classes[0, :, 0]
            rows = np.flatnonzero(people > _LEAST)
            logits = edges[0, rows].reshape(len(rows), 4, edges.shape[2] // 4)
            shares = np.exp(logits - logits.max(axis=2, keepdims=True))
            shares /= shares.sum(axis=2, keepdims=True)
            distance = (shares @ np.arange(logits.shape[2], dtype=np.float32)) * stride
            row, column = np.divmod(rows, self._side // stride)
            centre = (np.stack([column, row], axis=1) + 0.5) * stride
            boxes.append(np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], 1))
            scores.append(people[rows])
        found, best = np.concatenate(boxes).astype(np.float32), np.concatenate(scores)
        found = (found / gain).clip(0, np.array([width, height] * 2, np.float32))
        chosen = nms(found, best, 0.5)
        return Detections(found[chosen], best[chosen])


def _detectors(
    folder: Path,
    models: Sequence[str | Path],
    nanodet: Sequence[Path],
    hog: bool,
    threads: int | None,
) -> Iterator[_Detector]:
    for model in models:
        path = resolve(model)
        with open_session(path, provider="cpu", threads=threads) as session:
            settings, size = tracker_config(session), network_size(session)

            def detect(image: Image, session: Any = session, size: Any = size) -> Detections:
                blob, fit = letterbox(image, size)
                outputs = session.infer({session.inputs[0].name: blob[None]})
                return detections(outputs, fit, score_threshold=_LEAST, nms_iou=0.5)

            yield _Detector(name_of(path), detect, settings)
    for path in nanodet:
        yield _Detector(path.name, NanoDet(path, threads), None)
    if hog:
        yield _Detector("OpenCV HOG", _hog(), None)
    if (folder / "det" / "det.txt").is_file():
        yield _Detector("public detections", None, None)


def _hog() -> Detect:
    cv2 = load_cv2()
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def detect(image: Image) -> Detections:
        boxes, margins = detector.detectMultiScale(image, winStride=(8, 8), scale=1.05)
        found = np.array(boxes, np.float32).reshape(-1, 4)
        found[:, 2:] += found[:, :2]
        scores = 1 / (1 + np.exp(-np.array(margins, np.float32).reshape(-1)))
        order = np.argsort(-scores, kind="stable")
        return Detections(found[order], scores[order])

    return detect


def _detect(
    detector: _Detector, data: DataSet, indices: list[int], count: int, folder: Path
) -> tuple[list[Detections], float | None]:
    """Detections of the first frames, none but in those of the indices; seconds that they took."""
    if detector.detect is None:
        return every_frame(read_detections(folder / "det" / "det.txt"), count), None
    boxes, seconds = [Detections([], [])] * count, 0.0
    detector.detect(data[indices[0]].image)  # warms up
    for at in indices:
        image = data[at].image
        begin = time.perf_counter()
        boxes[at] = detector.detect(image)
        seconds += time.perf_counter() - begin
    return boxes, seconds


def _own(settings: Any, frame_rate: float) -> Candidate:
    def prepare(people: Detections) -> Detections:
        return people[people.scores > settings.score_threshold]

    def tracks(out: Tracks) -> Tracks:
        return reportable(out, settings.max_aspect, settings.min_area)

    return Candidate(Tracker(settings, frame_rate).update, prepare, tracks)


def _track(tracker: Candidate, boxes: Sequence[Detections]) -> tuple[list[str], float]:
    """Rows of MOT Challenge, and the seconds of association."""
    lines, seconds = [], 0.0
    for frame, people in enumerate(boxes, start=1):
        inputs = tracker.prepare(people)
        begin = time.perf_counter()
        output = tracker.update(inputs)
        seconds += time.perf_counter() - begin
        lines.append(mot_lines(frame, tracker.tracks(output)))
    return lines, seconds
