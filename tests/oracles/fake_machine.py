"""A GPU in NumPy, a TensorRT and a plan for them, for tests of sessions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fake_cuda import FakeCuda
from fake_tensorrt import VERSIONS
from fake_trt_runtime import Network, expected, write_plan

from jdetrt.engine.tensorrt import session as session_module
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import Device
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Array

__all__ = [
    "KERNELS",
    "ORIN",
    "SIZE",
    "V8",
    "V10",
    "V11",
    "Machine",
    "Make",
    "check",
    "noise",
    "tensors",
    "to_bgr",
]

ORIN = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")
V8, V10, V11, _ = VERSIONS
RNG = np.random.default_rng(5)
SIZE = (64, 32)


def tensors(n: int = 1) -> Array:
    return RNG.random((n, 3, 32, 64), np.float32)


def noise(width: int = 96, height: int = 80) -> Array:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def check(outputs: dict[str, Array], images: Array) -> None:
    wanted = expected(images)
    assert set(outputs) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(outputs[name], array)


def _letterbox_kernel(pixels: str, dtype: str) -> Callable[..., None]:
    """The kernel's work by OpenCV and the CPU's letterbox; sizes are read from its arguments."""

    def work(cuda: FakeCuda, grid: Any, block: Any, arguments: Any) -> None:
        image, out, width, net_width, net_height, *_ = (int(a) for a in arguments)
        span, cell, resized = int(arguments[-2]), int(arguments[-1]), int(arguments[8])
        height = resized * span // cell
        assert (grid[0] * block[0], grid[1] * block[1]) >= (net_width, net_height)
        tensor, _ = letterbox(
            to_bgr(cuda.view(image, "uint8", _SHAPES[pixels](width, height)), pixels),
            (net_width, net_height),
        )
        cuda.view(out, dtype, (3, net_height, net_width))[:] = tensor

    return work


_SHAPES: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "bgr": lambda width, height: (height, width, 3),
    "bgrx": lambda width, height: (height, width, 4),
    "nv12_bt601": lambda width, height: (height * 3 // 2, width),
}


def to_bgr(image: Array, pixels: str) -> Array:
    """An image as BGR, by OpenCV."""
    if pixels == "nv12_bt601":
        converted: Any = cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)
        return np.asarray(converted, np.uint8)
    return np.ascontiguousarray(image[:, :, :3])


KERNELS = {
    f"letterbox_{pixels}_{dtype}": _letterbox_kernel(pixels, dtype)
    for pixels in _SHAPES
    for dtype in ("float32", "float16")
}


class Machine:
    """A GPU, a TensorRT and a plan for them."""

    def __init__(
        self, trt: TensorRt, cuda: FakeCuda, network: Network, folder: Path, patch: Any
    ) -> None:
        self.trt, self.cuda, self.network, self.folder, self.patch = (
            trt,
            cuda,
            network,
            folder,
            patch,
        )
        self.opened = False
        patch.setattr(session_module, "current_device", lambda: ORIN)
        patch.setattr(session_module, "open_cuda", self._open)

    def _open(self) -> FakeCuda:
        self.opened = True
        return self.cuda

    def plan(self, **kwargs: Any) -> Path:
        return write_plan(self.folder / "model.plan", self.trt, ORIN, self.network, **kwargs)


Make = Callable[..., Machine]
