"""TensorRT's own calibration, with a stand-in that asks for pictures as TensorRT does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import RTX, Scenario, fake_tensorrt
from small_onnx import write_small_onnx

from jdetrt.calibration.trt_calibrator import FrameCalibration
from jdetrt.engine.cuda.api import CudaMemoryError
from jdetrt.engine.tensorrt import builder, compat
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder import build_plan
from jdetrt.engine.tensorrt.calibration_cache import read_cache
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import Device
from jdetrt.errors import BuildError, CalibrationError

SIZE = (64, 32)
ORIN = Device("Orin", "8.7", True, 8 << 30, 6 << 30, "12.6")


class Frames:
    sha256 = "made up"

    def __init__(self, count: int, broken_at: int | None = None) -> None:
        random = np.random.default_rng(0)
        self.arrays = [random.random((1, 3, SIZE[1], SIZE[0]), np.float32) for _ in range(count)]
        self.broken_at = broken_at

    def __len__(self) -> int:
        return len(self.arrays)

    def batches(
        self, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        assert size == SIZE
        for i, array in enumerate(self.arrays[start:], start):
            if i == self.broken_at:
                raise CalibrationError(f"frame {i + 1} is not the one that was chosen")
            yield array


def install(monkeypatch: pytest.MonkeyPatch, version: str, scenario: Any = None) -> TensorRt:
    module = fake_tensorrt(version, scenario)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return compat.load("tensorrt-rtx" if version == RTX else "tensorrt")


def gpu(**settings: Any) -> Any:
    """A `FakeCuda`, which the type of `Cuda` does not fit."""
    return FakeCuda(**settings)


def calibrate(calibrator: Any, cuda: FakeCuda) -> float:
    """What TensorRT does: the cache, or pictures until there are no more; then it writes one.

    What is raised in a calibrator TensorRT prints; here it fails the test.
    """
    cached = calibrator.read_calibration_cache()
    if cached is not None:
        return 0.0
    largest = 0.0
    assert calibrator.get_batch_size() == 1
    while (addresses := calibrator.get_batch(["images"])) is not None:
        (address,) = addresses
        picture = cuda.view(address, "float32", (1, 3, SIZE[1], SIZE[0]))
        largest = max(largest, float(picture.max()))
    bits = np.float32(largest / 127).view(np.uint32)
    calibrator.write_calibration_cache(
        memoryview(f"TRT-8503-EntropyCalibration2\nimages: {bits:x}\n".encode())
    )
    return largest


@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0"])
def test_tensorrt_sees_every_frame(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trt = install(monkeypatch, version)
    cuda, frames, cache = gpu(), Frames(5), tmp_path / "nano.cache"
    done: list[tuple[int, int]] = []
    with FrameCalibration(
        frames, SIZE, cuda, cache, progress=lambda *at: done.append(at)
    ) as calibration:
        calibrator = calibration(trt)
        assert isinstance(calibrator, trt.module.IInt8EntropyCalibrator2)
        largest = calibrate(calibrator, cuda)
    assert largest == max(float(array.max()) for array in frames.arrays)
    assert done == [(i, 5) for i in range(1, 6)]
    assert not cuda.living
    assert read_cache(cache).scales["images"] == np.float32(largest / 127)

    # The next build needs no picture.
    with FrameCalibration(Frames(0), SIZE, cuda, cache) as calibration:
        assert calibrate(calibration(trt), cuda) == 0
    assert not cuda.living


def test_a_build_fails_with_its_calibration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(builder, "current_device", lambda: ORIN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made: list[Any] = []
    cuda, cache = gpu(), tmp_path / "nano.cache"

    def on_step(step: int) -> None:
        if step == 0:
            calibrate(made[-1], cuda)

    scenario = Scenario(on_step=on_step)
    trt = install(monkeypatch, "8.5.3.1", scenario)
    model = write_small_onnx(tmp_path / "model.onnx", body="nano", top_k="5")
    plan = tmp_path / "nano.plan"

    def build(frames: Frames) -> None:
        with FrameCalibration(frames, SIZE, cuda, cache) as calibration:

            def make(trt: TensorRt) -> Any:
                made.append(calibration(trt))
                return made[-1]

            build_plan(trt, model, plan, BuildOptions(precision="int8"), calibrator=make)

    with pytest.raises(CalibrationError, match="frame 3 is not the one"):
        build(Frames(5, broken_at=2))
    assert made[-1].given == 2
    assert not plan.exists()
    assert not cache.exists()  # ranges of two frames are not kept
    assert not cuda.living

    # Where TensorRT gives up itself, the cause is told, not the consequence.
    scenario.build_error = "Calibration failure occurred with no scaling factors detected"
    with pytest.raises(CalibrationError, match="frame 1 is not the one") as caught:
        build(Frames(5, broken_at=0))
    assert isinstance(caught.value.__cause__, BuildError)
    with pytest.raises(BuildError, match="no scaling factors"):
        build(Frames(5))

    scenario.build_error = None
    cache.unlink()
    build(Frames(5))
    assert plan.exists()
    assert cache.exists()


def test_a_cache_that_cannot_be_written_or_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trt, cuda = install(monkeypatch, "8.5.3.1"), gpu()
    with (
        pytest.raises(CalibrationError, match="cannot be read"),
        FrameCalibration(Frames(1), SIZE, cuda, tmp_path) as calibration,
    ):
        calibrate(calibration(trt), cuda)
    assert not cuda.living


@pytest.mark.parametrize("version", ["11.4.0.106", RTX])
def test_a_tensorrt_without_calibration(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trt, cuda = install(monkeypatch, version), gpu()
    calibration = FrameCalibration(Frames(1), SIZE, cuda, tmp_path / "x.cache")
    with pytest.raises(CalibrationError, match=r"no calibration of its own.*jdetrt calibrate"):
        calibration(trt)
    assert not cuda.living


def test_too_little_memory_on_the_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trt, cuda = install(monkeypatch, "8.5.3.1"), gpu(memory=100)
    with (
        pytest.raises(CudaMemoryError),
        FrameCalibration(Frames(1), SIZE, cuda, tmp_path / "x.cache") as calibration,
    ):
        calibration(trt)
    assert not cuda.living
