"""Tracking where frames are missing: sequences at lower rates, walkers with drops, beside others.

A sequence is thinned evenly, which is a camera of a lower rate, and at random, which is a source
that drops frames: then trackers are given timestamps. The ground truth is thinned alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from jdetrt.benchmarks.association import Candidate, Maker, ours, peers
from jdetrt.config import PRESETS, TrackerConfig
from jdetrt.errors import ConfigError, DataError
from jdetrt.evaluation.trackeval import score_files
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.runtime.mot.files import mot_lines
from jdetrt.runtime.mot.public_detections import every_frame, read_detections
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.synthetic.crowd import labelled_crowd
from jdetrt.types import Detections

__all__ = ["RATES", "Given", "from_files", "from_model", "keep_frames", "measure_rates"]

RATES = (30.0, 15.0, 10.0, 7.5, 5.0)  # of a sequence at 30 FPS; others are thinned in proportion
_FULL = 30.0
_CROWD = 14
_SECONDS = 20
_DROPS = ("none", "steady", "irregular", "mean 4 FPS")
_LOOK = np.ones((1, 32), np.float32)


class Given(NamedTuple):
    """A sequence and its detections, of every frame."""

    folder: Path
    frame_rate: float
    detections: Sequence[Detections]


class RateRow(msgspec.Struct):
    """Scores of a tracker over all sequences at a part of their rate."""

    rate: float
    drops: str
    tracker: str
    HOTA: float
    MOTA: float
    IDF1: float
    IDSW: int


class DropRow(msgspec.Struct):
    """Ids given to walkers of a synthetic clip: ``switches`` counts changes of a person's id."""

    scene: str
    drops: str
    tracker: str
    people: int
    ids: int
    switches: int


class RatesResult(msgspec.Struct):
    """Result of ``bench rates``."""

    benchmark: str
    machine: Machine
    settings: dict[str, Any]
    rows: list[RateRow]
    drops: list[DropRow]


def keep_frames(frames: int, part: float, seed: int | None = None) -> npt.NDArray[np.int64]:
    """Choose a part of the frames.

    Args:
        frames: their number.
        part: to keep, above 0 to 1.
        seed: chooses at random; None keeps every so many-th.

    Returns:
        Their numbers in order, from 0; the first is among them.

    >>> keep_frames(10, 0.25).tolist()
    [0, 4, 8]
    """
    if seed is None:
        return np.unique(np.round(np.arange(0, frames - 0.5, 1 / part)).astype(np.int64))
    keep = np.random.default_rng(seed).random(frames) < part
    keep[0] = True
    return np.flatnonzero(keep)


def from_files(root: Path, names: Sequence[str] | None = None) -> dict[str, Given]:
    """The sequences of a folder with their public detections, by name.

    Raises:
        DataError: there is none, or a file is missing or wrong.
    """
    names = names or sorted(path.parent.parent.name for path in root.glob("*/det/det.txt"))
    if not names:
        raise DataError(f"{root}: expected folders with det/det.txt, found none")
    given = {}
    for name in names:
        info = read_seqinfo(root / name)
        rows = read_detections(root / name / "det" / "det.txt", length=info.length)
        given[name] = Given(root / name, info.frame_rate, every_frame(rows, info.length))
    return given


def from_model(model: str | Path, sequence: Path) -> tuple[dict[str, Given], TrackerConfig]:
    """A sequence with the detections of a model, and the tracker settings of the model.

    Raises:
        JdetrtError: the model cannot be opened, or an image cannot be read.
    """
    from jdetrt.engine.open import open_session
    from jdetrt.runtime.detector import detector_for
    from jdetrt.runtime.settings import tracker_config
    from jdetrt.runtime.sources.open import open_source

    with open_session(model) as session, open_source(sequence) as source:
        settings = tracker_config(session)
        detector = detector_for(session, settings)
        seen = [detector.detect(frame.image) for frame in source]
        return {sequence.resolve().name: Given(sequence, source.frame_rate, seen)}, settings


def measure_rates(
    given: Mapping[str, Given],
    *,
    rates: Sequence[float] = RATES,
    settings: TrackerConfig | None = None,
    seed: int = 0,
) -> RatesResult:
    """Compare trackers at several rates, and where frames of synthetic clips are dropped.

    Args:
        given: sequences by name.
        rates: frames a second that a sequence at 30 FPS is thinned to.
        settings: of our tracker; by default the presets ``fused`` and ``iou``.
        seed: of the random drops.

    Raises:
        ConfigError: a rate that makes no measurement.
        DataError: ground truth is missing or wrong.
        MissingDependencyError: ``trackers`` or TrackEval is not installed.
    """
    if not rates or not all(0 < rate <= _FULL for rate in rates):
        raise ConfigError(f"rates: expected numbers above 0 to {_FULL:g}, got {list(rates)}")
    own = (
        {f"jdetrt {preset}": ours(preset) for preset in ("fused", "iou")}
        if settings is None
        else {"jdetrt": ours(settings)}
    )
    makers = {**own, **peers()}
    rows = [
        _rate_row(given, rate, drops, label, make, seed)
        for rate in rates
        for drops in (("even",) if rate == _FULL else ("even", "random"))
        for label, make in makers.items()
    ]
    told = {"sequences": list(given), "rates": list(rates), "seed": seed}
    if settings is not None:
        told["tracker"] = msgspec.to_builtins(settings)
    return RatesResult("rates", manifest(), told, rows, _drop_rows(seed))


def _rate_row(
    given: Mapping[str, Given], rate: float, drops: str, label: str, make: Maker, seed: int
) -> RateRow:
    with scratch_folder("rates") as scratch:
        files = {}
        for name, one in given.items():
            frames = len(one.detections)
            keep = keep_frames(frames, rate / _FULL, None if drops == "even" else seed)
            stamps = None if drops == "even" else keep / one.frame_rate
            tracker = make(one.frame_rate * (rate / _FULL if stamps is None else 1.0))
            folder, results = Path(scratch, name), Path(scratch, f"{name}.txt")
            _thin_truth(one.folder, folder, keep)
            results.write_text(_lines(tracker, [one.detections[k] for k in keep], stamps))
            files[name] = folder, results
        score = score_files(files).combined
    return RateRow(rate, drops, label, score.hota, score.mota, score.idf1, score.idsw)


def _lines(
    tracker: Candidate, frames: Sequence[Detections], stamps: npt.NDArray[np.float64] | None
) -> str:
    lines = []
    for k, people in enumerate(frames):
        time = {} if stamps is None else {"timestamp": float(stamps[k])}
        tracks = tracker.tracks(tracker.update(tracker.prepare(people), **time))
        lines.append(mot_lines(k + 1, tracks))
    return "".join(lines)


def _thin_truth(sequence: Path, folder: Path, keep: npt.NDArray[np.int64]) -> None:
    """Write the ground truth of the frames ``keep``, numbered anew."""
    number = {frame + 1: k + 1 for k, frame in enumerate(keep.tolist())}
    rows = (sequence / "gt" / "gt.txt").read_text().splitlines()
    parts = [row.partition(",") for row in rows if row.strip()]
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text(
        "".join(f"{number[int(f)]},{rest}\n" for f, _, rest in parts if int(f) in number)
    )
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={len(keep)}\nframeRate=30\n")


def _drop_rows(seed: int) -> list[DropRow]:
    """One walker and a crowd, with frames dropped; each tracker with time and, ours, without."""
    frames = _SECONDS * int(_FULL)
    walker = [(_walker(frame), np.array([0])) for frame in range(frames)]
    scenes = {
        "walker": walker,
        f"crowd of {_CROWD}": list(
            labelled_crowd(_CROWD, frames, seed, embedding_dim=32, missed=0.0, hiding=0.0)
        ),
    }
    own = {f"jdetrt {preset}": ours(preset) for preset in PRESETS}
    makers = {**own, **peers(["ByteTrackTracker"])}
    return [
        _drop_row(scene, drops, label, make, stream, _kept_of(drops, frames, seed), timed)
        for scene, stream in scenes.items()
        for drops in _DROPS
        for label, make in makers.items()
        for timed in ((True, False) if label in own else (True,))
    ]


def _kept_of(drops: str, frames: int, seed: int) -> npt.NDArray[np.int64]:
    random = np.random.default_rng(seed)
    if drops == "none":
        return np.arange(frames)
    if drops == "steady":
        return np.arange(0, frames, 7)
    if drops == "irregular":
        steps = random.integers(1, 8, frames)
        return np.concatenate(([0], np.cumsum(steps)[np.cumsum(steps) < frames]))
    return keep_frames(frames, 4.0 / _FULL, seed)


def _walker(frame: int) -> Detections:
    """One person of 120 pixels at 1.4 m/s."""
    left = 100 + 3.2 * frame
    return Detections([[left, 100, left + 45, 220]], [0.9], _LOOK)


def _drop_row(
    scene: str,
    drops: str,
    label: str,
    make: Maker,
    stream: Sequence[tuple[Detections, npt.NDArray[np.int64]]],
    keep: npt.NDArray[np.int64],
    timed: bool,
) -> DropRow:
    tracker = make(_FULL)
    last: dict[int, int] = {}
    ids: dict[int, set[int]] = defaultdict(set)
    switches = 0
    for frame in keep.tolist():
        people, names = stream[frame]
        time = {"timestamp": frame / _FULL} if timed else {}
        tracks = tracker.tracks(tracker.update(tracker.prepare(people), **time))
        who = names[_detections_of(tracks.boxes, people.boxes)]
        for person, track in zip(who.tolist(), tracks.ids.tolist(), strict=True):
            if person >= 0:
                switches += last.setdefault(person, track) != track
                last[person] = track
                ids[person].add(track)
    many = len(set().union(*ids.values())) if ids else 0
    name = label if timed else f"{label}, no timestamps"
    return DropRow(scene, drops, name, len(ids), many, switches)


def _detections_of(
    tracks: npt.NDArray[np.float32], people: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """The detection nearest to each track, as not every tracker says which it was."""
    distance = np.abs(tracks[:, None] - people[None]).sum(axis=2)
    return np.asarray(distance.argmin(axis=1) if len(people) else np.empty(0, np.int64))
