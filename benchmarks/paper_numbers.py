"""Numbers of the paper (arXiv 1909.12605v2), to stand beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jdetrt.benchmarks.result import FPS, Row

__all__ = ["FIGURE_3", "NOTE", "TABLE_1", "TABLE_4", "Association", "System", "beside_paper"]

NOTE = (
    "The paper's numbers are of PyTorch in FP32 on a Titan Xp, on MOT16; its FPS leaves out "
    "reading, letterboxing, drawing and writing."
)


class Association(NamedTuple):
    """A row of table 1: the same detections, associated by SORT and by JDE."""

    fps: float
    mota: float
    idf1: float


# Table 1. Low density: MOT-15; high: CVPR19-01, 61.1 people a frame (section 4.3). It does not say
# what its FPS is of: on the same GPU table 4 has lower ones for whole systems and higher ones for
# association.
TABLE_1 = {
    ("SORT", "low"): Association(44.1, 66.9, 55.8),
    ("JDE", "low"): Association(46.2, 67.5, 67.6),
    ("SORT", "high"): Association(26.4, 35.0, 32.4),
    ("JDE", "high"): Association(33.9, 35.4, 35.5),
}


class System(NamedTuple):
    """A row of table 4: detector, association and whole system, in FPS on a Titan Xp."""

    engine_fps: float
    association_fps: float
    paper_fps: float


TABLE_4 = {
    (1088, 608): System(24.5, 236.5, 22.2),
    (864, 480): System(34.3, 259.8, 30.3),
}

# Section 4.3 on figure 3, the only speeds of it in the text: JDE, and the most accurate pair of
# detector and re-identification network (Cascade R-CNN with ResNet-101, PCB), low density.
FIGURE_3 = {"jde_fps": 22.0, "separate_fps": 6.0}


def beside_paper(rows: Sequence[Row]) -> list[list[str]]:
    """Table of the paper's network at the paper's sizes beside its table 4; its heading first."""
    rows = [row for row in rows if row.body == "darknet53" and row.size in TABLE_4]
    if not rows:
        return []
    table = [["", "FPSD", "FPSA", "Paper's FPS", "System FPS"]]
    for size in dict.fromkeys(row.size for row in rows):
        table.append([f"{size} the paper", *(f"{fps:.1f}" for fps in TABLE_4[size]), "–"])
        table += [
            [str(row), *(f"{getattr(row, name):.1f}" for name in FPS)]
            for row in rows
            if row.size == size
        ]
    return table
