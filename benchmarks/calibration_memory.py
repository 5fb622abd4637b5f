"""How much memory the measuring of INT8 ranges takes, by the number of frames: it should not grow.

Each number of frames has a process of its own, whose peak the kernel counts (``VmHWM``).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import onnx

from jdetrt.calibration.frames.choose import FrameList, choose_frames
from jdetrt.calibration.quantize.qdq import tensors_to_quantise
from jdetrt.calibration.ranges.measure import BUDGET
from jdetrt.calibration.ranges.ranges import Method, measure_ranges
from jdetrt.errors import ConfigError
from jdetrt.export.onnx_graph import inputs, read
from jdetrt.export.parity import synthetic_pictures
from jdetrt.machine.manifest import Probe, manifest
from jdetrt.runtime.opencv import load_cv2

__all__ = ["measure_memory"]


def measure_memory(
    model: str | Path,
    counts: Sequence[int],
    *,
    sources: Sequence[str] = (),
    method: Method = "entropy",
    budget: int = BUDGET,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure ranges on so many frames, each time in a new process, and its peak of memory.

    Args:
        model: an ONNX model in float32.
        counts: numbers of frames.
        sources: footage to choose the frames from; without it pictures are made up.
        method: of the ranges.
        budget: bytes of tensors that may be kept at a time.
        threads: CPU threads of one operator; None for one a physical core.

    Returns:
        JSON-ready: the machine, the settings, a row for each count (``peak_mib``: the most memory
        that the process ever had; ``start_mib``: what it had before it began, libraries loaded;
        ``seconds``), and ``mib_a_frame``: the slope of the peak from the least to the most frames.

    Raises:
        ConfigError: no counts, or the footage has fewer frames.
        CalibrationError: the model cannot be run, or there is no frame.
    """
    if not counts or min(counts) < 1:
        raise ConfigError(f"expected numbers of frames from 1 on, got {list(counts)}")
    height, width = inputs(read(Path(model)))[0].shape[2:]
    if min(width, height) < 1:
        raise ConfigError(f"{model}: leaves its input size free; export it for one size")
    with TemporaryDirectory() as folder:
        footage = list(sources) or [_make_up(Path(folder), max(counts), (width, height))]
        frames = choose_frames(footage, max(counts), network_size=(width, height))
        if len(frames) < max(counts):
            raise ConfigError(f"{', '.join(footage)}: {'; '.join(frames.notes)}")
        rows = []
        for number in counts:
            chosen = msgspec.structs.replace(frames, frames=frames.frames[:number])
            # A process that is forked would begin with the peak of this one.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                task = pool.submit(_measure, Path(model), chosen, method, budget, threads)
                rows.append({"frames": number, **task.result()})
    least, most = (pick(rows, key=lambda row: row["frames"]) for pick in (min, max))
    more = most["frames"] - least["frames"]
    return {
        "benchmark": "calibration-memory",
        "machine": manifest(),
        "settings": {
            "model": Path(model).name,
            "size": [width, height],
            "method": method,
            "budget_mib": budget / 2**20,
            "threads": threads,
            "footage": len(sources) or "made up",
        },
        "rows": rows,
        "mib_a_frame": (most["peak_mib"] - least["peak_mib"]) / more if more else None,
    }


def _make_up(folder: Path, count: int, size: tuple[int, int]) -> str:
    cv2 = load_cv2()
    for i in range(count):
        (picture,) = synthetic_pictures(1, size, seed=i)
        cv2.imwrite(str(folder / f"{i:05d}.png"), picture)
    return str(folder)


def _measure(
    model: Path, frames: FrameList, method: Method, budget: int, threads: int | None
) -> dict[str, Any]:
    """Runs in a process of its own."""
    start = _memory_mib("VmRSS")
    tensors = tensors_to_quantise(onnx.load(model))
    begin = time.perf_counter()
    measure_ranges(model, frames, tensors, method, budget=budget, threads=threads)
    return {
        "tensors": len(tensors),
        "seconds": time.perf_counter() - begin,
        "start_mib": start,
        "peak_mib": _memory_mib("VmHWM"),
    }


def _memory_mib(field: str) -> float:
    """A field of this process's /proc/self/status, which is in kB."""
    for line in (Probe().text("proc/self/status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise ConfigError("the memory of a process is read from /proc, which only Linux has")
