"""Our numbers beside the paper's table 4, where the network and the size are the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jdetrt.benchmarks.paper.numbers import TABLE_4
from jdetrt.benchmarks.report.charts import row_name

__all__ = ["NOTE", "beside_paper"]

NOTE = (
    "The paper's numbers are of PyTorch in FP32 on a Titan Xp, on MOT16; its FPS leaves out "
    "reading, letterboxing, drawing and writing."
)
Row = Mapping[str, Any]


def beside_paper(rows: Sequence[Row]) -> list[list[str]]:
    """Rows of the paper's network at the paper's sizes beside its table 4; its heading first."""
    found = [
        row for row in rows if row.get("body") == "darknet53" and tuple(row["size"]) in TABLE_4
    ]
    if not found:
        return []
    table = [["", "FPSD", "FPSA", "Paper's FPS", "System FPS"]]
    for size in dict.fromkeys(tuple(row["size"]) for row in found):
        theirs = TABLE_4[size]
        table.append([f"{size[0]}x{size[1]} the paper", *(f"{fps:.1f}" for fps in theirs), "–"])
        for row in found:
            if tuple(row["size"]) == size:
                names = ("engine_fps", "association_fps", "paper_fps", "system_fps")
                table.append([row_name(row), *(f"{row[name]:.1f}" for name in names)])
    return table
