"""Trackers to compare: ours and those of the PyPI package ``trackers``, fed and timed alike."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.errors import MissingDependencyError
from jdetrt.runtime.mot_io import mot_lines
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Detections, Tracks

__all__ = ["PEERS", "Contender", "Maker", "follow", "ours", "peers"]

PEERS = ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "BoTSORTTracker", "CBIoUTracker")


class Contender(NamedTuple):
    """A tracker, and how its input and output are made from and into ours (not timed)."""

    update: Callable[[Any], Any]
    prepare: Callable[[Detections], Any]
    tracks: Callable[[Any], Tracks]


Maker = Callable[[float], Contender]  # from the frame rate of a video


def follow(
    contender: Contender, frames: Sequence[Detections]
) -> tuple[npt.NDArray[np.float64], str]:
    """Run a tracker over a sequence.

    Args:
        contender: new.
        frames: the detections of every frame, in order.

    Returns:
        Milliseconds that each update took, and the tracks as rows of MOT Challenge.
    """
    inputs = [contender.prepare(seen) for seen in frames]
    milliseconds = np.empty(len(inputs))
    lines = []
    for k, given in enumerate(inputs):
        begin = time.perf_counter()
        out = contender.update(given)
        milliseconds[k] = 1e3 * (time.perf_counter() - begin)
        lines.append(mot_lines(k + 1, contender.tracks(out)))
    return milliseconds, "".join(lines)


def ours(preset: str) -> Maker:
    """Our tracker with a preset."""

    def make(frame_rate: float) -> Contender:
        return Contender(Tracker(preset, frame_rate).update, lambda seen: seen, lambda out: out)

    return make


def peers(names: Sequence[str] = PEERS) -> dict[str, Maker]:
    """Trackers of the package ``trackers``, with their own defaults, by name.

    Args:
        names: of their classes. BoT-SORT goes without camera-motion compensation.

    Raises:
        MissingDependencyError: ``trackers`` is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import supervision
            import trackers
    except ImportError as err:
        raise MissingDependencyError("trackers", "bench", "Comparing with other trackers") from err

    def prepare(seen: Detections) -> Any:
        return supervision.Detections(
            xyxy=seen.boxes, confidence=seen.scores, class_id=np.zeros(len(seen), int)
        )

    def tracks(out: Any) -> Tracks:
        named = out.tracker_id >= 0  # -1: not confirmed yet
        ids = out.tracker_id[named].astype(np.int64) + 1
        return Tracks(ids, out.xyxy[named].astype(np.float32), out.confidence[named])

    def maker(name: str) -> Maker:
        options = {"enable_cmc": False} if name == "BoTSORTTracker" else {}

        def make(frame_rate: float) -> Contender:
            tracker = getattr(trackers, name)(frame_rate=frame_rate, **options)
            return Contender(tracker.update, prepare, tracks)

        return make

    return {f"trackers {name.removesuffix('Tracker')}": maker(name) for name in names}
