"""Cost of association: time per frame against the number of targets, and beside others.

Only ``update`` of a tracker is timed, frame by frame, on one thread; detections are made
before.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from jdetrt.config import TrackerConfig, default_config
from jdetrt.errors import ConfigError, DataError, MissingDependencyError
from jdetrt.evaluation.trackeval import score
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.runtime.mot.files import mot_lines
from jdetrt.runtime.mot.public_detections import every_frame, read_detections
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.crowd import crowd
from jdetrt.types import Detections, Tracks

__all__ = [
    "PEERS",
    "Candidate",
    "Maker",
    "compare_trackers",
    "measure_crowds",
    "ours",
    "peers",
    "run_passes",
]

MOST_TARGETS = 10_000  # everybody against everybody then takes a gigabyte
WARM_UP = 30  # frames before the clock counts: kernels compiled, lost tracks built up
PEERS = ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "BoTSORTTracker", "CBIoUTracker")


class CrowdRow(msgspec.Struct):
    """Milliseconds of a frame with so many people, and means of its detections and tracks."""

    targets: int
    detections: float
    tracks: float
    median_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


class CrowdSettings(msgspec.Struct):
    """Options of ``bench association``."""

    preset: str
    frames: int
    warm_up: int
    embedding_dim: int
    seed: int


class CrowdResult(msgspec.Struct):
    """Result of ``bench association``.

    ``growth`` is the exponent of the power law through the medians from 100 targets on (2 would be
    quadratic), or None with fewer than two of them.
    """

    benchmark: str
    machine: Machine
    settings: CrowdSettings
    rows: list[CrowdRow]
    growth: float | None


class TrackerRow(msgspec.Struct):
    """Milliseconds of a frame of one tracker, and its scores, of all and of each sequence."""

    tracker: str
    median_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    combined: dict[str, Any]
    sequences: dict[str, dict[str, Any]]
    read: dict[str, Any] = {}  # account of the rows that were scored and left out


class TrackersResult(msgspec.Struct):
    """Result of ``bench trackers``; ``speedup``: mean time of the fastest other over ours."""

    benchmark: str
    machine: Machine
    settings: dict[str, Any]
    rows: list[TrackerRow]
    speedup: float


def measure_crowds(
    targets: Sequence[int],
    *,
    preset: str = "reference",
    frames: int = 150,
    embedding_dim: int = 512,
    seed: int = 0,
) -> CrowdResult:
    """Time association on seeded crowds (``jdetrt.synthetic.crowd``).

    Args:
        targets: people per frame, one measurement each.
        preset: of the tracker.
        frames: timed frames of each measurement, after ``WARM_UP`` others.
        embedding_dim: length of the embeddings.
        seed: of the crowds.

    Raises:
        ConfigError: a number that makes no measurement.
    """
    if not targets or not all(1 <= count <= MOST_TARGETS for count in targets):
        raise ConfigError(f"targets: expected 1 to {MOST_TARGETS} each, got {list(targets)}")
    for name, value, least in (("frames", frames, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name}: expected {least} or more, got {value}")
    rows = []
    for count in targets:
        tracker = Tracker(preset)
        milliseconds, detections, tracks = [], [], []
        stream = crowd(count, WARM_UP + frames, seed, embedding_dim=embedding_dim)
        for frame, people in enumerate(stream):
            begin = time.perf_counter()
            output = tracker.update(people)
            elapsed = time.perf_counter() - begin
            if frame >= WARM_UP:
                milliseconds.append(1e3 * elapsed)
                detections.append(len(people))
                tracks.append(len(output))
        rows.append(
            CrowdRow(
                targets=count,
                detections=float(np.mean(detections)),
                tracks=float(np.mean(tracks)),
                **_milliseconds(np.array(milliseconds)),
            )
        )
    settings = CrowdSettings(preset, frames, WARM_UP, embedding_dim, seed)
    return CrowdResult("association", manifest(), settings, rows, _growth(rows))


def _growth(rows: Sequence[CrowdRow]) -> float | None:
    rows = [row for row in rows if row.targets >= 100]
    if len({row.targets for row in rows}) < 2:
        return None
    x, y = (np.log([getattr(row, name) for row in rows]) for name in ("targets", "median_ms"))
    return float(np.polyfit(x, y, 1)[0])


def _milliseconds(milliseconds: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        "median_ms": float(np.median(milliseconds)),
        "p90_ms": float(np.percentile(milliseconds, 90)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "mean_ms": float(np.mean(milliseconds)),
    }


def compare_trackers(
    root: str | Path, *, sequences: Iterable[str] | None = None, repeats: int = 3
) -> TrackersResult:
    """Compare motion-only association with others on the public detections of MOT sequences.

    The others are those of the PyPI package ``trackers`` that need no images. All run in turn in
    one process, see ``run_passes``.

    Args:
        root: folder with ``<sequence>/det/det.txt``, ``gt/gt.txt`` and ``seqinfo.ini``.
        sequences: their names; by default all of ``root`` that have detections.
        repeats: timed passes.

    Raises:
        ConfigError: fewer than 1 repeat.
        DataError: a file is missing or wrong.
        MissingDependencyError: ``trackers`` or TrackEval is not installed.
    """
    if repeats < 1:
        raise ConfigError(f"repeats: expected 1 or more, got {repeats}")
    root = Path(root)
    names = sorted(
        {p.parent.parent.name for p in root.glob("*/det/det.txt")}
        if sequences is None
        else set(sequences)
    )
    if not names:
        raise DataError(
            f"{root}: expected folders with det/det.txt, found none"
            if sequences is None
            else f"{root}: no sequence named"
        )
    inputs, read = {}, {}
    for name in names:
        info = read_seqinfo(root / name)
        public = read_detections(root / name / "det" / "det.txt", length=info.length)
        inputs[name] = info.frame_rate, every_frame(public, info.length)
        read[name] = public.account.to_dict()

    makers = {"jdetrt iou": ours("iou"), **peers()}
    passes = run_passes(makers, inputs, repeats)
    rows = []
    for label in makers:
        with scratch_folder("trackers") as folder:
            for name in names:
                Path(folder, f"{name}.txt").write_text(passes[label, name].lines)
            scores = score(root, folder, sequences=names)
        milliseconds = np.concatenate([passes[label, name].milliseconds for name in names])
        times: Any = _milliseconds(milliseconds)
        rows.append(TrackerRow(label, **times, **scores.to_dict()))
    speedup = min(row.mean_ms for row in rows[1:]) / rows[0].mean_ms
    settings = {"sequences": names, "repeats": repeats, "read": read}
    return TrackersResult("trackers", manifest(), settings, rows, speedup)


class Candidate(NamedTuple):
    """A tracker, with conversions of its input and output from and into ours (not timed)."""

    update: Callable[[Any], Any]
    prepare: Callable[[Detections], Any]
    tracks: Callable[[Any], Tracks]


Maker = Callable[[float], Candidate]  # from the frame rate of a video


class Passes(NamedTuple):
    """Fastest milliseconds of each frame, and the tracks as rows of MOT Challenge."""

    milliseconds: npt.NDArray[np.float64]
    lines: str


def run_passes(
    makers: Mapping[str, Maker],
    inputs: Mapping[str, tuple[float, Sequence[Detections]]],
    repeats: int,
) -> dict[tuple[str, str], Passes]:
    """Run trackers over sequences in turn; the fastest time of each frame counts.

    Args:
        makers: by the tracker's label; each makes a new tracker.
        inputs: by the sequence's name: its frame rate and the detections of every frame.
        repeats: timed passes; a first pass only warms up.

    Returns:
        By label and name.
    """
    passes: dict[tuple[str, str], Passes] = {}
    for attempt in range(repeats + 1):
        for name, (frame_rate, frames) in inputs.items():
            for label, make in makers.items():
                one = _follow(make(frame_rate), frames)
                if attempt > 1:
                    fastest = np.minimum(passes[label, name].milliseconds, one.milliseconds)
                    one = Passes(fastest, one.lines)
                passes[label, name] = one
    return passes


def _follow(tracker: Candidate, frames: Sequence[Detections]) -> Passes:
    inputs = [tracker.prepare(people) for people in frames]
    milliseconds = np.empty(len(inputs))
    lines = []
    for k, people in enumerate(inputs):
        begin = time.perf_counter()
        output = tracker.update(people)
        milliseconds[k] = 1e3 * (time.perf_counter() - begin)
        lines.append(mot_lines(k + 1, tracker.tracks(output)))
    return Passes(milliseconds, "".join(lines))


def ours(settings: str | TrackerConfig, *, score_threshold: float | None = None) -> Maker:
    """Make our tracker with a preset or settings, with their score threshold or another one."""
    config = default_config(settings) if isinstance(settings, str) else settings
    if score_threshold is not None:
        config = msgspec.structs.replace(config, score_threshold=score_threshold)

    def make(frame_rate: float) -> Candidate:
        return Candidate(Tracker(config, frame_rate).update, lambda people: people, lambda out: out)

    return make


def peers(names: Sequence[str] = PEERS) -> dict[str, Maker]:
    """Trackers of the package ``trackers`` with their own defaults, by name.

    Args:
        names: of their classes. BoT-SORT goes without camera-motion compensation.

    Raises:
        MissingDependencyError: ``trackers`` is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import trackers
    except ImportError as err:
        raise MissingDependencyError("trackers", "bench", "Comparing with other trackers") from err

    def prepare(people: Detections) -> Any:
        return Detections(people.boxes, people.scores).to_supervision()

    def tracks(out: Any) -> Tracks:
        out = out[out.tracker_id >= 0]  # -1: not confirmed yet
        return Tracks(out.tracker_id + 1, out.xyxy, out.confidence)

    def maker(name: str) -> Maker:
        options = {"enable_cmc": False} if name == "BoTSORTTracker" else {}

        def make(frame_rate: float) -> Candidate:
            tracker = getattr(trackers, name)(frame_rate=frame_rate, **options)
            return Candidate(tracker.update, prepare, tracks)

        return make

    return {f"trackers {name.removesuffix('Tracker')}": maker(name) for name in names}
