"""TensorRT's own INT8 calibration (8.x to 10.x), fed with the frames of a list.

TensorRT measures the ranges itself, on the GPU, while it builds a plan; the pictures are the same,
with the same letterbox. It asks for them one at a time and calls back into Python, where it only
prints what goes wrong and calibrates on what it has got so far. So a fault is kept here, and
`jdetrt.engine.tensorrt.builder.build_plan` raises it before it writes a plan.

Not run on a GPU yet: the tests drive it by a stand-in for TensorRT and CUDA.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from jdetrt import files
from jdetrt.calibration.ranges.measure import Frames, OnProgress
from jdetrt.engine.cuda.api import Cuda
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.errors import CalibrationError, JdetrtError

__all__ = ["FrameCalibration"]


class FrameCalibration:
    """Makes the calibrator of one build; a context manager that frees its memory.

    ::

        with FrameCalibration(frames, (576, 320), cuda, Path("nano.cache")) as calibrator:
            build_plan(trt, model, plan, BuildOptions(precision="int8"), calibrator=calibrator)

    Args:
        frames: to calibrate on, such as a `FrameList`.
        size: width and height of the network; it takes one picture at a time.
        cuda: the GPU that the plan is built on.
        cache: the calibration cache. If it exists and is of this TensorRT, no picture is needed; if
            not, TensorRT's own ranges are written there.
        progress: called after each frame that TensorRT took.
    """

    def __init__(
        self,
        frames: Frames,
        size: tuple[int, int],
        cuda: Cuda,
        cache: Path,
        *,
        progress: OnProgress | None = None,
    ) -> None:
        self._frames, self._size, self._cuda, self._cache = frames, size, cuda, cache
        self._progress = progress
        self._memory = ExitStack()
        self._calibrator: Any = None

    def __call__(self, trt: TensorRt) -> Any:
        """Make the calibrator; its attribute ``failure`` is None, or the error that befell it.

        Raises:
            CalibrationError: this TensorRT has no calibration (11, TensorRT-RTX).
            CudaMemoryError: the GPU has not enough free memory.
        """
        base: Any = getattr(trt.module, "IInt8EntropyCalibrator2", None)
        if base is None:
            raise CalibrationError(
                f"TensorRT {trt.version} has no calibration of its own: quantise the model with "
                "`jdetrt calibrate`"
            )
        width, height = self._size
        cuda, cache, progress = self._cuda, self._cache, self._progress
        pictures = self._frames.batches(self._size)
        count = len(self._frames)
        with cuda.current():
            pinned = cuda.pinned((1, 3, height, width), "float32")
            self._memory.callback(pinned.free)
            buffer = cuda.buffer(pinned.array.nbytes)
            self._memory.callback(buffer.free)
            stream = cuda.stream()
            self._memory.callback(stream.free)

        class Calibrator(base):  # type: ignore[misc]  # its base is only known here
            def __init__(self) -> None:
                base.__init__(self)  # pybind11 wants it by name
                self.failure: Exception | None = None
                self.given = 0

            def get_batch_size(self) -> int:
                return 1

            def get_batch(self, names: list[str]) -> list[int] | None:
                """Put the next picture on the GPU; None at the end, or after a fault."""
                try:
                    picture = next(pictures, None)
                    if picture is None:
                        return None
                    with cuda.current():
                        pinned.array[...] = picture
                        cuda.upload(buffer, pinned.array, stream)
                        stream.synchronize()
                except Exception as err:  # whatever it is: TensorRT would only print it
                    self.failure = err
                    return None
                self.given += 1
                if progress is not None:
                    progress(self.given, count)
                return [buffer.address]

            def read_calibration_cache(self) -> bytes | None:
                try:
                    return cache.read_bytes() if cache.exists() else None
                except OSError as err:
                    self.failure = CalibrationError(f"{cache}: cannot be read ({err.strerror})")
                    return None

            def write_calibration_cache(self, ranges: Any) -> None:
                if self.failure is not None:  # measured on a part of the frames
                    return
                try:
                    files.write_bytes(cache, bytes(ranges))
                except JdetrtError as err:
                    self.failure = err

        self._calibrator = Calibrator()
        return self._calibrator

    def __enter__(self) -> FrameCalibration:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._cuda.current():
            self._memory.close()
        failure = getattr(self._calibrator, "failure", None)
        # What TensorRT says of a calibration without pictures is the consequence, not the cause.
        if (
            failure is not None
            and exc is not failure
            and (exc is None or isinstance(exc, JdetrtError))
        ):
            raise failure from exc
