"""Choose the frames that a network is calibrated on, from a user's own footage.

INT8 ranges fit what they were measured on, so frames come from all sources and from their whole
length, no two alike, light and dark, empty and crowded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.calibration.frames.footage import Footage
from jdetrt.calibration.frames.frame_list import ChosenFrame, FrameList
from jdetrt.calibration.frames.likeness import distinct
from jdetrt.calibration.frames.scan import Candidate, count_people, scan
from jdetrt.errors import CalibrationError
from jdetrt.types import Session

__all__ = ["DEFAULT_COUNT", "ChosenFrame", "FrameList", "choose_frames"]

DEFAULT_COUNT = 500  # "at least 500 for CNN and ViT": NVIDIA Model-Optimizer, examples/onnx_ptq
_SPARE = 4  # candidates looked at for each frame wanted
_CROWD = 20.0  # people; a difference of so many weighs as much as that between black and white


def choose_frames(
    sources: Sequence[str | Path],
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    *,
    network_size: tuple[int, int],
    session: Session | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> FrameList:
    """Choose frames: spread over sources and time, no two alike, light and dark, empty and crowded.

    Each source gives the same number, as far as it has them; what one lacks, the others give. The
    frames of a source are cut into so many stretches of time, and of each stretch that one is taken
    whose brightness and number of people are least like those taken before.

    Args:
        sources: videos, folders, MOT sequences or patterns.
        count: frames wanted.
        seed: the same seed and sources give the same frames.
        network_size: width and height of the network, for the record.
        session: a model that counts people, run on each candidate (up to four times ``count``);
            None to do without.
        progress: called with the source and the number of frames looked at in it.

    Returns:
        ``count`` frames, or what there is; then ``notes`` says so. ``skipped`` names the frames
        that cannot be read.

    Raises:
        CalibrationError: no source, a count below 1, a camera, or not one frame that can be used.
        SourceError: a source cannot be opened.
    """
    if not sources:
        raise CalibrationError("no footage given: name videos, folders or MOT sequences")
    if count < 1:
        raise CalibrationError(f"expected 1 frame or more, got {count}")
    random = np.random.default_rng(seed)
    footage = [Footage.open(uri) for uri in dict.fromkeys(map(str, sources))]
    limit = max(-(-_SPARE * count // len(footage)), count)
    skipped: list[str] = []
    pools: list[list[Candidate]] = []
    blank = 0
    for one in footage:
        found, blank_here = scan(one, limit, random, skipped.append, _Counter(one.uri, progress))
        pools.append(found)
        blank += blank_here
    pools = _without_copies(pools)
    people: list[dict[int, int]] = [{} for _ in footage]
    if session is not None:
        for i, one in enumerate(footage):
            numbers = [candidate.index for candidate in pools[i]]
            seen = _Counter(f"{one.uri} (people)", progress)
            people[i] = dict(count_people(one, numbers, session, skipped.append, seen))
    chosen = [
        ChosenFrame(
            source=footage[i].uri,
            index=candidate.index,
            name=candidate.name,
            sha256=candidate.sha256,
            brightness=round(candidate.look.brightness, 1),
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
        notes=_notes(len(chosen), count, blank, len(skipped)),
    )


class _Counter:
    """Counts the frames of a source that were looked at, and tells it."""

    def __init__(self, title: str, progress: Callable[[str, int], None] | None) -> None:
        self._title, self._progress, self._count = title, progress, 0

    def __call__(self) -> None:
        self._count += 1
        if self._progress is not None:
            self._progress(self._title, self._count)


def _without_copies(pools: list[list[Candidate]]) -> list[list[Candidate]]:
    """Leave out of each source what looks like a frame of a source before it."""
    everything = [(i, candidate) for i, pool in enumerate(pools) for candidate in pool]
    if not everything:
        return pools
    kept: list[list[Candidate]] = [[] for _ in pools]
    for j in distinct(np.stack([candidate.look.bits for _, candidate in everything])):
        i, candidate = everything[j]
        kept[i].append(candidate)
    return kept


def _pick(
    pools: list[list[Candidate]],
    people: list[dict[int, int]],
    count: int,
    random: np.random.Generator,
) -> list[tuple[int, Candidate]]:
    """Choose frames, each with the number of its source; by source and time."""
    features = [
        np.array([[c.look.brightness / 255, known.get(c.index, 0) / _CROWD] for c in pool])
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


def _notes(chosen: int, count: int, blank: int, skipped: int) -> tuple[str, ...]:
    notes = []
    if chosen < count:
        notes.append(
            f"{count} frames were wanted, {chosen} differ enough to be of use; ranges from few "
            "frames fit only these: add footage of other places, times and light"
        )
    if blank:
        notes.append(f"{blank} frames of one colour (black, say) were left out")
    if skipped:
        notes.append(f"{skipped} frames or videos could not be read to their end, see 'skipped'")
    return tuple(notes)


def _nothing(sources: Sequence[str | Path], blank: int, skipped: Sequence[str]) -> CalibrationError:
    where = ", ".join(map(str, sources))
    reasons = []
    if blank:
        reasons.append(
            f"all {blank} that can be read are of one colour, black say, and ranges measured on "
            "them would cut off everything; is the lens covered?"
        )
    if skipped:
        reasons.append(f"{len(skipped)} cannot be read, first: {skipped[0]}")
    return CalibrationError(f"{where}: not one frame to calibrate on: {'; '.join(reasons)}")
