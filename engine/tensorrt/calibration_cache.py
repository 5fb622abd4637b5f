"""TensorRT's calibration cache: the scales of all tensors as text, for implicit INT8 (8.x to 10.x).

The first line names the version and the kind of calibrator, ``TRT-8503-EntropyCalibration2``; each
of the others a tensor and the bits of its float32 scale, ``images: 3c010a14``. TensorRT takes a
range of -127 to 127 scales. It rejects a cache whose first line is of another version, and then
asks the calibrator for images. What reads a tensor without a scale stays in float.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jdetrt import files, inputs
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.errors import BuildError, CalibrationError

__all__ = ["CalibrationCache", "cache_calibrator", "read_cache", "version_number", "write_cache"]

_KIND = "EntropyCalibration2"
_HEADER = re.compile(r"TRT-([0-9]{1,7})-(\w+)", re.ASCII)
_SCALE = re.compile(r"[0-9a-fA-F]{1,8}")  # TensorRT writes no leading zeros


@dataclass(frozen=True, slots=True)
class CalibrationCache:
    """Content of a calibration cache.

    Attributes:
        number: the version of TensorRT, see `version_number`.
        kind: of the calibrator, such as ``"EntropyCalibration2"``.
        scales: by tensor, each a float32; 0 where TensorRT found none.
    """

    number: int
    kind: str
    scales: dict[str, float]


def version_number(version: str) -> int:
    """The number that TensorRT gives its version in a cache (``NV_TENSORRT_VERSION``).

    Raises:
        CalibrationError: this is no version.

    >>> version_number("8.5.3.1"), version_number("10.3.0")
    (8503, 100300)
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        raise CalibrationError(f"TensorRT version '{version}': expected one such as 8.5.3")
    major, minor, patch = map(int, found.groups())
    return major * (1000 if major < 10 else 10000) + minor * 100 + patch


def write_cache(path: str | Path, scales: Mapping[str, float], version: str) -> None:
    """Write a cache, whole or not at all.

    Args:
        path: of the file.
        scales: by the tensor's name in the ONNX model, which TensorRT keeps; above 0 (TensorRT 8.5
            fails on 0).
        version: of the TensorRT that is to read it, such as ``"8.5.3"``.

    Raises:
        CalibrationError: a scale is no positive float32, or a name cannot stand on one line.
        OutputError: the file cannot be written.
    """
    lines = [f"TRT-{version_number(version)}-{_KIND}"]
    for tensor, scale in scales.items():
        with np.errstate(over="ignore", under="ignore"):
            stored = np.float32(scale)
        if not (np.isfinite(stored) and stored > 0):
            raise CalibrationError(
                f"the scale of '{tensor}' is {scale}: expected a positive number of float32"
            )
        if not tensor or "\n" in tensor or "\r" in tensor:
            raise CalibrationError(
                f"tensor name {tensor!r}: cannot be stored in a calibration cache"
            )
        lines.append(f"{tensor}: {struct.pack('!f', stored).hex()}")
    files.write_text(path, "\n".join(lines) + "\n")


def read_cache(path: str | Path) -> CalibrationCache:
    """Read a cache, ours or TensorRT's own.

    Raises:
        CalibrationError: it cannot be read, or is no calibration cache; the message says the line.
    """
    text = inputs.read_text(path, CalibrationError)
    head, *lines = text.split("\n")
    header = _HEADER.fullmatch(head.rstrip("\r"))
    if header is None:
        raise CalibrationError(
            f"{path}: is not a calibration cache of TensorRT: its first line is not of the "
            f"form TRT-8503-{_KIND}"
        )
    scales: dict[str, float] = {}
    for number, line in enumerate(lines, start=2):
        if line.strip():
            tensor, scale = _parse(path, number, line.rstrip("\r"))
            scales[tensor] = scale
    return CalibrationCache(int(header[1]), header[2], scales)


def _parse(path: str | Path, number: int, line: str) -> tuple[str, float]:
    tensor, colon, bits = line.rpartition(": ")  # a name may have a colon too
    if not colon or not tensor or not _SCALE.fullmatch(bits):
        raise CalibrationError(
            f"{path}, line {number}: expected a tensor's name, a colon and up to 8 hexadecimal "
            f"digits, got {line[:80]!r}"
        )
    (scale,) = struct.unpack("!f", bytes.fromhex(bits.zfill(8)))
    if not (np.isfinite(scale) and scale >= 0):
        raise CalibrationError(f"{path}, line {number}: the scale of '{tensor}' is {scale}")
    return tensor, scale


def cache_calibrator(path: Path) -> Callable[[TensorRt], Any]:
    """Give a factory of calibrators that know the ranges of this file and look at no image.

    They give it the first line of the TensorRT that asks: it takes those of another version for
    none, and the scales are of the model alone.

    Raises:
        BuildError: the file cannot be read, or is no calibration cache.
    """
    data = inputs.read_bytes(path, BuildError, largest=inputs.LARGEST_TEXT)
    if not data.startswith(b"TRT-"):
        raise BuildError(f"{path}: is not a calibration cache of TensorRT: it begins with 'TRT-'")
    scales = data.partition(b"\n")[2]

    def make(trt: TensorRt) -> Any:
        base: Any = trt.module.IInt8EntropyCalibrator2

        class Calibrator(base):  # type: ignore[misc]  # its base is only known here
            def __init__(self) -> None:
                base.__init__(self)  # pybind11 wants it by name

            def get_batch_size(self) -> int:
                return 1

            def get_batch(self, names: list[str]) -> None:
                """No images: the ranges are in the cache."""

            def read_calibration_cache(self) -> bytes:
                return f"TRT-{version_number(trt.version)}-{_KIND}\n".encode() + scales

            def write_calibration_cache(self, cache: bytes) -> None:
                """It is not kept: it is the one that was read."""

        return Calibrator()

    return make
