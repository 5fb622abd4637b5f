"""Choose the frames that a network is calibrated on, from a user's own videos and images.

INT8 ranges fit what they were measured on, so frames come from all sources and from their whole
length, no two alike, light and dark, empty and crowded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.calibration.config import CalibrationConfig
from jdetrt.calibration.frames.frame_list import ChosenFrame, FrameList
from jdetrt.calibration.frames.scan import Candidate, FrameSource, count_people, distinct, scan
from jdetrt.errors import CalibrationError
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import Detector
from jdetrt.types import Session

__all__ = ["ChosenFrame", "FrameList", "choose_frames"]

_SPARE = 4  # candidates looked at for each frame wanted
_CROWD = 20.0  # people; a difference of so many weighs as much as that between black and white


def choose_frames(
    sources: Sequence[str | Path],
    count: int = CalibrationConfig.max_frames,
    seed: int = 0,
    *,
    network_size: tuple[int, int],
    session: Session | None = None,
    progress: Progress = NO_PROGRESS,
    accounts: list[Account] | None = None,
) -> FrameList:
    """Choose frames: spread over sources and time, no two alike, light and dark, empty and crowded.

    Each source gives the same number, as far as it has them; what one lacks, the others give. The
    frames of a source are cut into so many stretches of time, and of each stretch that one is taken
    whose brightness and number of people are least like those taken before.

    Args:
        sources: videos, folders, MOT sequences or patterns.
        count: number of frames.
        seed: the same seed and sources give the same frames.
        network_size: width and height of the network, for the record.
        session: a model that counts people, run on each candidate (up to four times ``count``);
            None to do without.
        progress: has a phase for each source, and another while people are counted in it.
        accounts: gets the account of each source: what could be read of what was looked at.

    Returns:
        ``count`` frames, or what there is; then ``notes`` says so. ``skipped`` names the frames
        that cannot be read.

    Raises:
        CalibrationError: no source, a count below 1, a camera, or not one frame that can be used.
        SourceError: a source cannot be opened.
    """
    if not sources:
        raise CalibrationError("no source given: name videos, folders or MOT sequences")
    if count < 1:
        raise CalibrationError(f"expected 1 frame or more, got {count}")
    random = np.random.default_rng(seed)
    opened = [FrameSource.open(uri) for uri in dict.fromkeys(map(str, sources))]
    limit = max(-(-_SPARE * count // len(opened)), count)
    skipped: list[str] = []
    pools: list[list[Candidate]] = []
    blank = 0
    for source in opened:
        candidates, blank_here = scan(source, limit, random, skipped.append, progress, accounts)
        pools.append(candidates)
        blank += blank_here
    pools = _without_copies(pools)
    people: list[dict[int, int]] = [{} for _ in opened]
    if session is not None:
        detector = Detector(session, size=network_size)
        for i, source in enumerate(opened):
            numbers = [candidate.index for candidate in pools[i]]
            people[i] = dict(count_people(source, numbers, detector, skipped.append, progress))
    chosen = [
        ChosenFrame(
            source=opened[i].uri,
            index=candidate.index,
            name=candidate.name,
            sha256=candidate.sha256,
            brightness=round(candidate.fingerprint.brightness, 1),
            people=people[i].get(candidate.index),
        )
        for i, candidate in _pick(pools, people, count, random)
    ]
    if not chosen:
        raise _nothing(sources, blank, skipped)
    return FrameList(
        seed=seed,
        asked=count,
        network_size=network_size,
        frames=tuple(chosen),
        skipped=tuple(skipped),
        notes=_notes(len(chosen), count, blank, skipped),
    )


def _without_copies(pools: list[list[Candidate]]) -> list[list[Candidate]]:
    """Leave out of each source the frames that are like a frame of a source before it."""
    everything = [(i, candidate) for i, pool in enumerate(pools) for candidate in pool]
    if not everything:
        return pools
    unique: list[list[Candidate]] = [[] for _ in pools]
    for j in distinct(np.stack([candidate.fingerprint.bits for _, candidate in everything])):
        i, candidate = everything[j]
        unique[i].append(candidate)
    return unique


def _pick(
    pools: list[list[Candidate]],
    people: list[dict[int, int]],
    count: int,
    random: np.random.Generator,
) -> list[tuple[int, Candidate]]:
    """Choose frames, each with the number of its source; by source and time."""
    features = [
        np.array([[c.fingerprint.brightness / 255, known.get(c.index, 0) / _CROWD] for c in pool])
        for pool, known in zip(pools, people, strict=True)
    ]
    stretches = [
        (i, stretch)
        for i, share in enumerate(_shares([len(pool) for pool in pools], count))
        if share
        for stretch in np.array_split(np.arange(len(pools[i])), share)
    ]
    taken: list[tuple[int, int]] = []
    like = np.empty((0, 2))
    for k in random.permutation(len(stretches)):
        i, stretch = stretches[k]
        best = int(stretch[_least_like(features[i][stretch], like)])
        taken.append((i, best))
        like = np.vstack([like, features[i][best]])
    return [(i, pools[i][j]) for i, j in sorted(taken)]


def _least_like(features: npt.NDArray[np.float64], taken: npt.NDArray[np.float64]) -> int:
    """The row of ``features`` that is farthest from its nearest in ``taken``; the middle at first.

    >>> _least_like(np.array([[0.5, 0.0], [0.9, 0.0]]), np.array([[0.5, 0.0]]))
    1
    """
    if not len(taken):
        return len(features) // 2
    distances = np.linalg.norm(features[:, None] - taken[None], axis=2).min(axis=1)
    return int(np.argmax(distances))


def _shares(there: Sequence[int], count: int) -> list[int]:
    """Share out ``count`` among sources alike, as far as each has something.

    >>> _shares([100, 3, 100], 25)
    [11, 3, 11]
    """
    shares = [0] * len(there)
    while count and any(has > share for has, share in zip(there, shares, strict=True)):
        open_ones = [i for i, has in enumerate(there) if has > shares[i]]
        each = max(count // len(open_ones), 1)
        for i in open_ones[:count]:
            more = min(each, there[i] - shares[i])
            shares[i] += more
            count -= more
    return shares


def _notes(chosen: int, count: int, blank: int, skipped: list[str]) -> tuple[str, ...]:
    notes = []
    if chosen < count:
        notes.append(
            f"{count} frames were asked for, {chosen} are different enough to be useful; ranges "
            "from few frames fit only these: add sources from other places, times and light"
        )
    if blank:
        notes.append(f"left out because they have a single colour (such as black): {blank}")
    if skipped:
        notes.append(
            f"frames or videos that could not be read to their end: {len(skipped)}, first: "
            f"{skipped[0]}"
        )
    return tuple(notes)


def _nothing(sources: Sequence[str | Path], blank: int, skipped: Sequence[str]) -> CalibrationError:
    where = ", ".join(map(str, sources))
    reasons = []
    if blank:
        reasons.append(
            f"all {blank} readable frames have a single colour (such as black), and ranges "
            "measured on them would clip everything; is the lens covered?"
        )
    if skipped:
        reasons.append(f"{len(skipped)} cannot be read, first: {skipped[0]}")
    return CalibrationError(f"{where}: no frame to calibrate on: {'; '.join(reasons)}")
