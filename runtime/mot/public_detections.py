"""Detections from a file, for tracking without a network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from jdetrt.account import Account, counted
from jdetrt.errors import DataError
from jdetrt.runtime.confidences import Unit, to_scores
from jdetrt.runtime.mot.files import NO_AREA, read_mot, suspect_corners
from jdetrt.runtime.sources.seqinfo import LAST_FRAME
from jdetrt.types import Detections, Size

__all__ = ["DetectionsByFrame", "every_frame", "is_thinned", "read_detections"]

_EARLY = 0.1  # of a sequence without a detection at its end


class DetectionsByFrame(dict[int, Detections]):
    """Detections of frames that have any, by frame number in order.

    Attributes:
        account: of the rows; its notes say what was assumed.
    """

    def __init__(self, by_frame: Mapping[int, Detections], account: Account) -> None:
        super().__init__(by_frame)
        self.account = account

    def judge(
        self, threshold: float, length: int, size: tuple[int, int] | None, last: int
    ) -> Account:
        """Complete the account for a tracker.

        Args:
            threshold: detections with this score or less are not used.
            length: number of frames of the sequence.
            size: width and height of its images, where they are known.
            last: number of the last frame that is tracked.

        Returns:
            The account, with those below the threshold left out; notes on those outside of the
            image and on a file that ends early.
        """
        account, outside = self.account, 0
        for frame, detections in self.items():
            if frame > last:
                account.taken -= len(detections)
                account.leave_out("in frames after the last", len(detections), by_design=True)
                continue
            low = int((detections.scores <= threshold).sum())
            account.taken -= low
            account.leave_out(f"with a score of {threshold:g} or less", low)
            if size is not None:
                boxes = detections.boxes
                inside = (boxes[:, 2:] > 0) & (boxes[:, :2] < np.array(size))
                outside += int((~inside.all(axis=1)).sum())
        none = np.empty((0, 4), np.float32)
        every = np.concatenate([none, *(one.boxes for one in self.values())]).astype(np.float64)
        every[:, 2:] -= every[:, :2]
        if (doubt := suspect_corners(every, size)) is not None:
            account.doubt(doubt)
        elif outside:
            tell = account.doubt if 2 * outside > len(every) else account.note
            tell(
                f"{counted(outside, 'detection')} outside of the image ({Size(*size or (0, 0))}); "
                "are the boxes in pixels of these images?"
            )
        end = max(self, default=0)
        if self and min(last, length) - end > max(10, _EARLY * length):
            account.note(f"the last detection is in frame {end} of {length}; was the file cut off?")
        return account


def read_detections(
    path: str | Path, *, length: int | None = None, unit: Unit = "auto", strict: bool = False
) -> DetectionsByFrame:
    """Read public detections, for tracking without a network.

    The rows need not be sorted; within a frame their order is kept. Boxes without area are left
    out and counted.

    Args:
        path: a det.txt.
        length: number of frames of the sequence; by default the last frame with a detection.
        unit: of the confidences, as in `jdetrt.runtime.confidences.to_scores`.
        strict: boxes without area are refused.

    Returns:
        Detections without embeddings; `every_frame` fills the gaps.

    Raises:
        DataError: as `read_mot`; a row of a frame after ``length``; or confidences that do not fit
            the unit.
    """
    rows = read_mot(path, strict=strict)
    limit = LAST_FRAME if length is None else length
    if (late := rows.frames > limit).any():
        row = int(np.argmax(late))
        raise DataError(
            f"{path}:{rows.lines[row]}: expected a frame number up to {limit}, "
            f"got {rows.frames[row]}"
        )
    try:
        scores, note = to_scores(rows.scores, unit)
    except DataError as err:
        raise DataError(f"{path}: {err}") from err
    account = Account("detection")
    if note:
        account.note(f"{path}: {note}")
    account.leave_out(NO_AREA, rows.account.left_out[NO_AREA])
    corners = np.hstack([rows.boxes[:, :2], rows.boxes[:, :2] + rows.boxes[:, 2:]])
    boxes = corners.astype(np.float32)
    # A sliver may have none in float32.
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    account.leave_out(NO_AREA, int((~has_area).sum()))
    account.take(int(has_area.sum()))
    order = np.argsort(rows.frames, kind="stable")
    order = order[has_area[order]]
    boxes, scores = boxes[order], scores[order].astype(np.float32)
    frames, starts = np.unique(rows.frames[order], return_index=True)
    ends = pairwise([*starts.tolist(), len(order)])
    by_frame = {
        frame: Detections(boxes[begin:end], scores[begin:end])
        for frame, (begin, end) in zip(frames.tolist(), ends, strict=True)
    }
    return DetectionsByFrame(by_frame, account)


def every_frame(seen: Mapping[int, Detections], length: int) -> list[Detections]:
    """The detections of the frames 1 to ``length``, those without one too.

    >>> person = Detections([[10, 10, 50, 110]], [0.9])
    >>> [len(detections) for detections in every_frame({2: person}, 3)]
    [0, 1, 0]
    """
    nothing = Detections.empty()
    return [seen.get(frame, nothing) for frame in range(1, length + 1)]


def is_thinned(seen: Mapping[int, Detections]) -> bool:
    """Tell whether detections are of some frames only, such as every fourth.

    It is so where most frames with detections do not follow another one with detections. Else the
    frames without any are taken to show nobody: people come and go for many frames at a time.

    >>> is_thinned(dict.fromkeys((1, 5, 9, 10, 13), Detections.empty()))
    True
    >>> is_thinned(dict.fromkeys((1, 2, 3, 9, 10), Detections.empty()))
    False
    """
    steps = np.diff(sorted(seen))
    return bool(2 * np.count_nonzero(steps > 1) > len(steps))
