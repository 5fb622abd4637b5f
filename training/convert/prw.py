"""PRW, Person Re-identification in the Wild (Zheng et al., CVPR 2017).

Layout: the folder of the download, with ``frames/*.jpg``, ``annotations/*.jpg.mat``,
``frame_train.mat`` and ``frame_test.mat``. A row of an annotation is ``id x y w h``; the id -2
(unknown to the annotators) becomes -1.

``ID_train.mat`` is not needed: every id in a training frame is for training. Images without boxes
are left out (the reference lists 5 701 of the 5 704 training frames). The reference's validation
list holds the first 2 000 test frames by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jdetrt.errors import DataError
from jdetrt.training.convert.matlab import as_boxes, as_list, read_mat
from jdetrt.training.convert.names import inner_name, one_line
from jdetrt.training.convert.writer import LabelledImage

__all__ = ["prw"]

_VALIDATION = 2000  # frames; reference data/prw.val
_UNKNOWN = -2
# The annotation files were written at different times, and their variable has different names.
_BOXES = ("box_new", "anno_file", "anno_previous")


def prw(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Frames of a split with at least one box, in the order of their names. Raises DataError."""
    part = "train" if split == "train" else "test"
    index = raw / f"frame_{part}.mat"
    names = as_list(read_mat(index, f"img_index_{part}", f"image_index_{part}"))
    frames = sorted(inner_name(name, index) for name in names)
    for frame in frames[:_VALIDATION] if split == "val" else frames:
        path = raw / "annotations" / f"{frame}.jpg.mat"
        try:
            rows = as_boxes(read_mat(path, *_BOXES), 5)
        except ValueError as err:
            raise DataError(f"{path}: expected rows of id, x, y, w, h ({one_line(err)})") from err
        if len(rows):
            yield LabelledImage(
                name=f"{frame}.jpg",
                source=raw / "frames" / f"{frame}.jpg",
                boxes=rows[:, 1:],
                people=tuple(None if one == _UNKNOWN else int(one) for one in rows[:, 0]),
            )
