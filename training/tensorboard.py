"""TensorBoard events of a training run, where the package tensorboard is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt.training.progress import Report

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["FOLDER", "Events", "open_events"]

FOLDER = "tensorboard"  # in that of the run


class Events:
    """Scalars of a run: losses, learning rate and speed by step, scores by epoch.

    Steps are counted over all epochs. Each report is flushed, so that it can be watched.
    """

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def add(self, report: Report) -> None:
        """Write what a report says."""
        scalars = {f"loss/{name}": value for name, value in report.losses.items()}
        if report.losses:
            scalars |= {"learning rate": report.rate, "images per second": report.speed}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, _step(report))
        for name, value in report.scores.items():
            self._writer.add_scalar(f"validation/{name}", value, report.epoch)
        self._writer.flush()


def open_events(run: Path, first: Report) -> Events | None:
    """Open the events of a run; None where tensorboard is not installed.

    Args:
        run: folder of the run.
        first: report from now on; losses of a former run from there on are dropped.
    """
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    purge_step = _step(first) if first.losses else None
    return Events(SummaryWriter(str(run / FOLDER), purge_step=purge_step))


def _step(report: Report) -> int:
    return (report.epoch - 1) * report.steps + report.step
