"""Next frames among separate images: which of them follow each other in a video.

The triplet losses learn from pairs of consecutive frames (paper section 4.3), and the paper's own
lists name the frames of videos one by one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["next_frames"]

_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


def next_frames(images: Sequence[Path], ids: Sequence[npt.NDArray[np.int64]]) -> list[int | None]:
    """Find the next frame of each image: the same folder and name, and the next higher number.

    The number is the last one in the name; numbers may be left out. Images that both have known
    people, but none in common, do not follow each other: those of a person search data set lie in
    one folder, numbered, and show a different place each.

    Args:
        images: in any order.
        ids: of the people in each, -1 for unknown ones.

    Returns:
        Index of the next frame of each image, or None.

    >>> frames = [Path("a/1.jpg"), Path("b/1.jpg"), Path("a/3.jpg")]
    >>> next_frames(frames, [np.array([5])] * 3)
    [2, None, None]
    """
    videos: dict[tuple[Path, str, str], list[tuple[int, int]]] = defaultdict(list)
    for index, image in enumerate(images):
        if match := _LAST_NUMBER.fullmatch(image.stem):
            before, number, after = match.groups()
            videos[image.parent, before, after].append((int(number), index))
    known = [set(people[people >= 0].tolist()) for people in ids]
    successors: list[int | None] = [None] * len(images)
    for video in videos.values():
        numbered = dict(sorted(video, reverse=True))
        higher = dict(pairwise(sorted(numbered)))
        for number, index in video:
            if number in higher:
                other = numbered[higher[number]]
                apart = known[index] and known[other] and not known[index] & known[other]
                successors[index] = None if apart else other
    return successors
