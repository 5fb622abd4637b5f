"""INT8 ranges from a calibration cache, TensorRT's own text of them; up to TensorRT 10."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.errors import BuildError
from jdetrt.files import open_regular

__all__ = ["cache_calibrator"]


def cache_calibrator(path: Path) -> Callable[[TensorRt], Any]:
    """What makes a calibrator that knows the ranges of this file and looks at no picture.

    Raises:
        BuildError: the file cannot be read, or is no calibration cache.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as err:
        raise BuildError(f"{path}: cannot be read ({err.strerror})") from err
    # "TRT-8503-EntropyCalibration2", then a line a tensor
    if not data.startswith(b"TRT-"):
        raise BuildError(f"{path}: is no calibration cache of TensorRT: it begins with 'TRT-'")

    def make(trt: TensorRt) -> Any:
        base: Any = trt.module.IInt8EntropyCalibrator2

        class Calibrator(base):  # type: ignore[misc]  # its base is only known here
            def __init__(self) -> None:
                base.__init__(self)  # pybind11 wants it by name

            def get_batch_size(self) -> int:
                return 1

            def get_batch(self, names: list[str]) -> None:
                """No pictures: the ranges are in the cache."""

            def read_calibration_cache(self) -> bytes:
                return data

            def write_calibration_cache(self, cache: bytes) -> None:
                """It is not kept: it is the one that was read."""

        return Calibrator()

    return make
