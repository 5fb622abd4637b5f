"""What association costs: time per frame against the number of targets, and against other trackers.

Only ``Tracker.update`` is timed, frame by frame, on one thread; detections are made ready before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.benchmarks.contenders import follow, ours, peers
from jdetrt.errors import ConfigError, DataError
from jdetrt.evaluation.trackeval import score
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.mot_io import every_frame, read_detections
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.crowd import crowd

__all__ = ["compare_trackers", "measure_crowds"]

MOST_TARGETS = 10_000  # everybody against everybody then takes a gigabyte
WARM_UP = 30  # frames before the clock counts: kernels compiled, lost tracks built up


def measure_crowds(
    targets: Sequence[int],
    *,
    preset: str = "reference",
    frames: int = 150,
    embedding_dim: int = 512,
    seed: int = 0,
) -> dict[str, Any]:
    """Time association on seeded crowds (``jdetrt.synthetic.crowd``).

    Args:
        targets: people a frame, one measurement each.
        preset: of the tracker.
        frames: timed frames of each measurement, after ``WARM_UP`` others.
        embedding_dim: length of the embeddings.
        seed: of the crowds.

    Returns:
        JSON-ready: the machine, the settings, a row for each number of targets with milliseconds a
        frame (median, p90, p99, mean) and ``growth``: the exponent of the power law through the
        medians from 100 targets on (2 would be quadratic), or None with fewer than two of them.

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
        for frame, seen in enumerate(stream):
            begin = time.perf_counter()
            out = tracker.update(seen)
            elapsed = time.perf_counter() - begin
            if frame >= WARM_UP:
                milliseconds.append(1e3 * elapsed)
                detections.append(len(seen))
                tracks.append(len(out))
        rows.append(
            {
                "targets": count,
                "detections": float(np.mean(detections)),
                "tracks": float(np.mean(tracks)),
                **_summary(np.array(milliseconds)),
            }
        )
    return {
        "benchmark": "association",
        "machine": manifest(),
        "settings": {
            "preset": preset,
            "frames": frames,
            "warm_up": WARM_UP,
            "embedding_dim": embedding_dim,
            "seed": seed,
        },
        "rows": rows,
        "growth": _growth([row for row in rows if row["targets"] >= 100]),
    }


def _growth(rows: list[dict[str, Any]]) -> float | None:
    if len({row["targets"] for row in rows}) < 2:
        return None
    x = np.log([row["targets"] for row in rows])
    y = np.log([row["median_ms"] for row in rows])
    return float(np.polyfit(x, y, 1)[0])


def _summary(milliseconds: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        "median_ms": float(np.median(milliseconds)),
        "p90_ms": float(np.percentile(milliseconds, 90)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "mean_ms": float(np.mean(milliseconds)),
    }


def compare_trackers(
    root: str | Path, *, sequences: Iterable[str] | None = None, repeats: int = 3
) -> dict[str, Any]:
    """Motion-only association on the public detections of MOT sequences, ours beside others.

    The others are those of the PyPI package ``trackers`` that need no pictures, with their own
    defaults (BoT-SORT without camera-motion compensation). All run in turn in one process, each
    sequence ``repeats`` times; the fastest time of each frame counts, the first pass only warms up.

    Args:
        root: folder with ``<sequence>/det/det.txt``, ``gt/gt.txt`` and ``seqinfo.ini``.
        sequences: their names; by default all of ``root`` that have detections.
        repeats: timed passes.

    Returns:
        JSON-ready: the machine, the settings, a row a tracker with milliseconds a frame and the
        scores of ``jdetrt.evaluation.trackeval.score``, and ``speedup``: the mean time a frame of
        the fastest other tracker over ours.

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
    inputs = {}
    for name in names:
        info = read_seqinfo(root / name)
        seen = read_detections(root / name / "det" / "det.txt", length=info.length)
        inputs[name] = info.frame_rate, every_frame(seen, info.length)

    makers = {"jdetrt iou": ours("iou"), **peers()}
    best: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    lines: dict[tuple[str, str], str] = {}
    for attempt in range(repeats + 1):
        for name, (frame_rate, frames_of) in inputs.items():
            for label, make in makers.items():
                milliseconds, lines[label, name] = follow(make(frame_rate), frames_of)
                if attempt == 1:
                    best[label, name] = milliseconds
                elif attempt > 1:
                    best[label, name] = np.minimum(best[label, name], milliseconds)

    rows = []
    for label in makers:
        with TemporaryDirectory() as folder:
            for name in names:
                Path(folder, f"{name}.txt").write_text(lines[label, name])
            scores = score(root, folder, sequences=names)
        spent = np.concatenate([best[label, name] for name in names])
        rows.append({"tracker": label, **_summary(spent), **scores.to_dict()})
    return {
        "benchmark": "trackers",
        "machine": manifest(),
        "settings": {"sequences": names, "repeats": repeats},
        "rows": rows,
        "speedup": min(row["mean_ms"] for row in rows[1:]) / rows[0]["mean_ms"],
    }
