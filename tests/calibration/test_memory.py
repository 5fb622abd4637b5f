"""Memory of the measuring of INT8 ranges: it does not grow with the number of frames."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import msgspec
import onnx
import pytest
from tiny_network import SIZE, save_tiny

from jdetrt.calibration.frames.choose import FrameList, choose_frames
from jdetrt.calibration.quantize.qdq import tensors_to_quantise
from jdetrt.calibration.ranges.ranges import measure_ranges
from jdetrt.config import ExportConfig
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures

FEW, MANY = 2, 40


def peak_mib(model: Path, frames: FrameList) -> tuple[float, float]:
    """Memory of this process before, and the most that it ever had, as the kernel counts it."""
    start = memory_mib("VmRSS")
    measure_ranges(model, frames, tensors_to_quantise(onnx.load(model)), "entropy")
    return start, memory_mib("VmHWM")


def memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kilobytes) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux has /proc")
def test_the_peak_does_not_grow_with_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "tiny.onnx"
    checkpoint = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    export_onnx(checkpoint, model, ExportConfig(size=SIZE, top_k=50))
    (tmp_path / "frames").mkdir()
    for index in range(MANY):
        [image] = synthetic_pictures(1, SIZE, seed=index)
        cv2.imwrite(str(tmp_path / f"frames/{index:05d}.png"), image)
    frames = choose_frames([str(tmp_path / "frames")], MANY, network_size=SIZE)
    assert len(frames) == MANY
    peaks = []
    for count in (FEW, MANY):
        part = msgspec.structs.replace(frames, frames=frames.frames[:count])
        # A process that is forked would begin with the peak of this one.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            start, peak = pool.submit(peak_mib, model, part).result()
        assert 10 < start < peak < 4000
        peaks.append(peak)
    # All activations of one frame are several MiB: kept, they would add up to hundreds.
    assert peaks[1] - peaks[0] < 40
