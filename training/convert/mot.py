"""MOT16 and MOT17 (motchallenge.net; Milan et al., arXiv 1603.00831): their training sequences.

Layout: the folder of the download, with ``train/<sequence>/`` and in each sequence ``seqinfo.ini``,
``gt/gt.txt`` and the images. The test sequences have no ground truth.

A row of the ground truth becomes a label if it is marked (column 7 is not 0) and a pedestrian
(column 8 is 1), whatever its visibility, as in the reference. The rest, such as people on
vehicles, static people, distractors and reflections, is left out.

MOT17 has every sequence three times, with the detections of DPM, FRCNN and SDP; images and ground
truth are the same. One copy is taken: SDP's as in the reference, or another if it is absent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jdetrt.account import Account
from jdetrt.errors import DataError
from jdetrt.runtime.mot.classes import PEDESTRIAN, leave_out_others
from jdetrt.runtime.mot.files import read_mot
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.training.convert.names import check_inside
from jdetrt.training.convert.writer import LabelledImage

__all__ = ["mot16", "mot17"]

_LOG = logging.getLogger(__name__)
_DETECTORS = ("SDP", "FRCNN", "DPM")  # in the order of preference


def mot16(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Every frame of the training sequences of MOT16, even without people. Raises DataError."""
    del split  # there is only one with ground truth
    for sequence in _sequences(raw, "MOT16-??"):
        yield from _frames(sequence)


def mot17(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Every frame of the training sequences of MOT17, one copy of each. Raises DataError."""
    del split
    copies: dict[str, dict[str, Path]] = {}
    for sequence in _sequences(raw, "MOT17-??-*"):
        number, detector = sequence.name.rsplit("-", 1)
        copies.setdefault(number, {})[detector] = sequence
    for number, by_detector in sorted(copies.items()):
        chosen = next((by_detector[name] for name in _DETECTORS if name in by_detector), None)
        if chosen is None:
            raise DataError(
                f"{raw}: of {number} there is only {', '.join(by_detector)}; expected a copy with "
                f"{', '.join(_DETECTORS[:-1])} or {_DETECTORS[-1]}"
            )
        yield from _frames(chosen)


def _sequences(raw: Path, pattern: str) -> list[Path]:
    folders = sorted(path for path in (raw / "train").glob(pattern) if path.is_dir())
    if not folders:
        raise DataError(
            f"{raw}: expected the sequences as train/{pattern.replace('?', '0')}, found none"
        )
    return folders


def _frames(sequence: Path) -> Iterator[LabelledImage]:
    info = read_seqinfo(sequence)
    raw = sequence.parent.parent
    if not sequence.is_symlink():  # a link that the user has put there leads where they want
        check_inside(sequence / info.image_dir, raw, sequence / "seqinfo.ini")
    truth = sequence / "gt" / "gt.txt"
    rows = read_mot(truth)
    if rows.classes is None:
        raise DataError(f"{truth}: expected 8 or 9 columns, with the class in column 8")
    late = np.flatnonzero(rows.frames > info.length)
    if len(late):
        raise DataError(
            f"{truth}:{rows.lines[late[0]]}: expected a frame up to {info.length} (seqinfo.ini), "
            f"got {rows.frames[late[0]]}"
        )
    counts = (rows.scores != 0) & (rows.classes == PEDESTRIAN)
    account = Account("person", "people")
    leave_out_others(account, rows, counts, by_class=True)
    if (warning := account.warning()) is not None:
        _LOG.warning("%s: %s", truth, warning)
    for frame in range(1, info.length + 1):
        here = np.flatnonzero(counts & (rows.frames == frame))
        inside = f"{info.image_dir}/{frame:06d}{info.extension}"
        yield LabelledImage(
            name=f"{sequence.name}/{inside}",
            source=sequence / inside,
            boxes=rows.boxes[here],
            people=tuple((sequence.name, identity) for identity in rows.ids[here].tolist()),
        )
