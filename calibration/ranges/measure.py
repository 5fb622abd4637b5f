"""Run frames through a model, one at a time, and collect statistics of its tensors.

The first pass over the frames measures the extremes, inside of the model. Between these a second
counts histograms, which need all values of a tensor at a time; where those of a frame are too many
for the memory allowed, further passes do the rest. So memory depends on the model alone, not on
the number of frames, and the histograms are those of all frames at once, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jdetrt.calibration.quantize.layers import FloatModel
from jdetrt.calibration.ranges.probe import Probe
from jdetrt.calibration.ranges.statistics import Statistics
from jdetrt.errors import CalibrationError
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.signals import interrupt_held

__all__ = ["BUDGET", "Frames", "measure"]

BUDGET = 768 << 20  # bytes of tensors that are kept at a time
_VALUE = 4  # bytes of a float32


class Frames(Protocol):
    """Frames to calibrate on; `jdetrt.calibration.frames.frame_list.FrameList` is one."""

    @property
    def sha256(self) -> str:
        """Hash of the frames and their order."""

    def __len__(self) -> int: ...

    def batches(
        self, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield ``(1, 3, H, W)`` float32 each, from number ``start`` on."""


def measure(
    model: FloatModel | str | Path,
    frames: Frames,
    tensors: Sequence[str],
    *,
    histograms: bool = True,
    state: str | Path | None = None,
    keep_every: int = 25,
    budget: int = BUDGET,
    threads: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Statistics:
    """Measure the extremes and histograms of a model's tensors.

    Args:
        model: an ONNX model in float32 with one input, or its file.
        frames: to run through it.
        tensors: names of tensors in it, no two alike.
        histograms: whether to count these too; extremes alone take half of the time or less.
        state: a file that keeps what is done: written after every ``keep_every`` frames, and when
            an error or Ctrl-C ends the run. With it the run goes on where it was; once it is
            complete, nothing is run any more. The caller deletes it.
        keep_every: frames.
        budget: bytes of tensors that may be kept at a time; one tensor alone may be larger.
        threads: CPU threads of one operator; None for one a physical core.
        progress: has a phase for the extremes and one for the histograms.

    Raises:
        CalibrationError: no tensor or frame; the model cannot be run or gives numbers that are not
            finite; a frame is another than was chosen; or the state is of something else.
        OutputError: the state cannot be written.
    """
    if not tensors or len(set(tensors)) != len(tensors):
        raise CalibrationError("expected the names of one or more tensors, no two alike")
    if len(frames) < 1 or keep_every < 1:
        raise CalibrationError(
            f"expected 1 frame or more and keep_every of 1 or more, got {len(frames)} and "
            f"{keep_every}"
        )
    source = model if isinstance(model, FloatModel) else FloatModel(model)
    of = {"model": source.sha256, "frames": frames.sha256, "budget": budget}
    run = _Run(source, frames, tensors, of, state, keep_every, progress)
    try:
        run.extremes(threads)
        if histograms:
            run.histograms(budget, threads)
    finally:
        run.keep()
    return run.statistics


class _Run:
    """One measurement, from where its state left it to the end."""

    def __init__(
        self,
        model: FloatModel,
        frames: Frames,
        tensors: Sequence[str],
        of: dict[str, Any],
        state: str | Path | None,
        keep_every: int,
        progress: Progress,
    ) -> None:
        self._model, self._frames, self._of = model, frames, of
        self._state = None if state is None else Path(state)
        self._keep_every, self._progress = keep_every, progress
        self._phases: set[str] = set()  # those that have begun
        if self._state is None:
            self.statistics = Statistics(tuple(tensors))
        else:
            self.statistics = Statistics.read(self._state, of, tensors)
        self._kept = self._done

    @property
    def _done(self) -> int:
        """Frames run through, over all passes."""
        return self.statistics.passes * len(self._frames) + self.statistics.frames

    def keep(self) -> None:
        """Write the state, if there is something new to keep."""
        if self._state is not None and self._done != self._kept:
            with interrupt_held():
                self.statistics.write(self._state, self._of)
            self._kept = self._done

    def extremes(self, threads: int | None) -> None:
        """Do the first pass."""
        statistics = self.statistics
        if statistics.passes == 0:
            probe = Probe(self._model, statistics.tensors, reduced=True, threads=threads)
            for image in self._rest(probe, "Measuring extremes", 0, 1):
                statistics.add_extremes(probe.extremes(image))

    def histograms(self, budget: int, threads: int | None) -> None:
        """Do the passes after it, one for each group of tensors."""
        statistics = self.statistics
        groups = _groups(statistics.elements * _VALUE, budget)
        for number, places in enumerate(groups, start=1):
            if statistics.passes == number:
                names = [statistics.tensors[i] for i in places]
                probe = Probe(self._model, names, reduced=False, threads=threads)
                for image in self._rest(probe, "Counting histograms", number - 1, len(groups)):
                    values = probe.values(image)
                    with interrupt_held():  # a frame counts for all tensors or for none
                        statistics.add_values(places, values)
                    del values  # before the next frame's are there
                del probe  # before the next is loaded

    def _rest(
        self, probe: Probe, phase: str, before: int, passes: int
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the frames that a pass still has to do, after others of its phase; then end it."""
        statistics, count = self.statistics, len(self._frames)
        if phase not in self._phases:
            self._phases.add(phase)
            self._progress.start(phase, passes * count)
        for image in self._frames.batches(probe.size, start=statistics.frames):
            yield image
            self._progress.advance(phase, before * count + statistics.frames)
            if statistics.frames % self._keep_every == 0:
                self.keep()
        statistics.passes += 1
        statistics.frames = 0
        if before + 1 == passes:
            self._progress.finish(phase)


def _groups(sizes: npt.NDArray[np.int64], budget: int) -> list[list[int]]:
    """Cut tensors of these sizes, in order, into groups that are within the budget, or of one.

    >>> _groups(np.array([3, 3, 9, 1]), 6)
    [[0, 1], [2], [3]]
    """
    groups: list[list[int]] = []
    left = 0
    for i, size in enumerate(sizes.tolist()):
        if not groups or size > left:
            groups.append([])
            left = budget
        groups[-1].append(i)
        left -= size
    return groups
