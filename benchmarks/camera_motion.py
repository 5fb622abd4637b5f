"""Compensation of camera motion: a virtual moving camera within a real sequence, with and without.

The window pans, zooms and shakes within the frames; its images go to the estimate, and ground truth
and detections of the whole frames are moved along exactly.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from jdetrt.benchmarks.rates import Given
from jdetrt.benchmarks.virtual_camera import PATHS, VirtualCamera
from jdetrt.config import CAMERA_MOTIONS, TrackerConfig
from jdetrt.evaluation.trackeval import score_files
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.runtime.camera_motion import CameraMotion
from jdetrt.runtime.mot.files import mot_lines, read_mot
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.filter import reportable
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Detections

__all__ = ["measure_camera_motion"]

_F64 = npt.NDArray[np.float64]


class MotionRow(msgspec.Struct):
    """One path of the camera and one mode of compensation.

    ``off_px`` is how far the farthest corner of the image is from its place by the estimate, the
    median over frames; ``moves_px`` how far it moves. ``ms`` is the time of the estimate a frame.
    """

    path: str
    camera_motion: str
    HOTA: float
    MOTA: float
    IDF1: float
    IDSW: int
    moves_px: float
    off_px: float
    ms: float


class MotionResult(msgspec.Struct):
    """Result of ``bench camera-motion``."""

    benchmark: str
    machine: Machine
    settings: dict[str, Any]
    rows: list[MotionRow]


def measure_camera_motion(
    given: Given,
    settings: TrackerConfig,
    *,
    paths: Sequence[str] = PATHS,
    modes: Sequence[str] = CAMERA_MOTIONS,
    max_frames: int | None = None,
    seed: int = 0,
) -> MotionResult:
    """Track what a virtual camera sees of a sequence.

    Args:
        given: the sequence, with images and ground truth, and detections of all frames.
        settings: of the tracker.
        paths: of the camera, of ``PATHS``.
        modes: of the compensation.
        max_frames: of the sequence; None for all.
        seed: of the shaking.

    Raises:
        ConfigError: there is no such path or mode.
        DataError: the ground truth is missing or wrong.
        SourceError: an image cannot be read.
        MissingDependencyError: TrackEval is not installed.
    """
    frames = len(given.detections[:max_frames])
    rows = [_row(given, settings, frames, path, mode, seed) for path in paths for mode in modes]
    told = {
        "sequence": given.folder.resolve().name,
        "frames": frames,
        "seed": seed,
        "tracker": msgspec.to_builtins(settings),
    }
    return MotionResult("camera-motion", manifest(), told, rows)


def _row(
    given: Given, settings: TrackerConfig, frames: int, path: str, mode: str, seed: int
) -> MotionRow:
    tracker, motion = Tracker(settings, given.frame_rate), CameraMotion(mode)
    lines, moves, off, seconds = [], [], [], []
    with open_source(given.folder) as source, scratch_folder("camera-motion") as scratch:
        camera = VirtualCamera(source.size or (1, 1), frames, given.frame_rate, path, seed)
        steps = zip(
            source, given.detections[:frames], camera.windows(), camera.motions(), strict=False
        )
        for frame, people, window, true in steps:
            image = camera.show(frame.image, window)
            begin = time.perf_counter()
            estimate = motion(image)
            seconds.append(time.perf_counter() - begin)
            moves.append(_apart(camera, true, None))
            off.append(_apart(camera, true, estimate))
            boxes, visible = camera.move(people.boxes.astype(np.float64), window)
            seen = people[visible]
            embeddings = seen.embeddings
            moved = Detections(boxes[visible].astype(np.float32), seen.scores, embeddings)
            tracks = tracker.update(moved, motion=estimate)
            motion.people = tracks.boxes
            shown = reportable(tracks, settings.max_aspect, settings.min_area)
            lines.append(mot_lines(frame.index, shown))
        folder, results = Path(scratch, "sequence"), Path(scratch, "sequence.txt")
        _move_truth(given.folder, folder, camera)
        results.write_text("".join(lines))
        score = score_files({"sequence": (folder, results)}, rules="MOT17").combined
    return MotionRow(
        path=path,
        camera_motion=mode,
        HOTA=score.hota,
        MOTA=score.mota,
        IDF1=score.idf1,
        IDSW=score.idsw,
        moves_px=float(np.median(moves)),
        off_px=float(np.median(off)),
        ms=1e3 * float(np.mean(seconds)),
    )


def _apart(camera: VirtualCamera, true: _F64 | None, estimate: _F64 | None) -> float:
    """Distance in pixels, at most, between where two motions take a corner of the window."""
    width, height = camera.size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    first, second = (np.eye(2, 3) if one is None else one for one in (true, estimate))
    return float(np.hypot(*(corners @ (first - second).T).T).max())


def _move_truth(sequence: Path, folder: Path, camera: VirtualCamera) -> None:
    """Write the ground truth as the window shows it."""
    truth = read_mot(sequence / "gt" / "gt.txt")
    classes = np.ones(len(truth), np.int64) if truth.classes is None else truth.classes
    lines = []
    for number, window in enumerate(camera.windows(), start=1):
        rows = truth.frames == number
        corners = truth.boxes[rows].copy()
        corners[:, 2:] += corners[:, :2]
        boxes, visible = camera.move(corners, window)
        boxes[:, 2:] -= boxes[:, :2]
        columns = (truth.ids[rows], boxes, truth.scores[rows], classes[rows])
        for identity, box, mark, kind in zip(*(c[visible].tolist() for c in columns), strict=True):
            x, y, w, h = box
            lines.append(f"{number},{identity},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{mark:g},{kind},1\n")
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={camera.frames}\n")
