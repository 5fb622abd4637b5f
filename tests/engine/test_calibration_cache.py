"""TensorRT's calibration cache: written, read, and what is none."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.engine.tensorrt.calibration_cache import (
    CalibrationCache,
    read_cache,
    version_number,
    write_cache,
)
from jdetrt.errors import CalibrationError, OutputError

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)
SCALES = st.floats(
    float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max), width=32
)


@given(st.dictionaries(NAMES, SCALES, max_size=8))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, scales: dict[str, float]) -> None:
    path = tmp_path_factory.mktemp("cache") / "x.cache"
    write_cache(path, scales, "8.5.3")
    assert read_cache(path) == CalibrationCache(8503, "EntropyCalibration2", scales)


def test_the_text_is_tensorrts(tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    # 2.0083389 is the value of 4000889d in ONNX Runtime's description of the format.
    write_cache(path, {"images": 1 / 127, "/body/first: 0": 2.008338212966919}, "10.3.0")
    assert path.read_text() == (
        "TRT-100300-EntropyCalibration2\nimages: 3c010204\n/body/first: 0: 4000889d\n"
    )
    assert struct.unpack("!f", bytes.fromhex("3c010204"))[0] == np.float32(1 / 127)


def test_what_tensorrt_itself_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    path.write_bytes(
        b"TRT-8401-MinMaxCalibration\r\ninput: 3caa54fc\r\n"
        b"(Unnamed Layer* 64) [Shuffle]_output: 0\n371: abcdef\n\n"
    )
    cache = read_cache(path)
    assert (cache.number, cache.kind) == (8401, "MinMaxCalibration")
    assert cache.scales["input"] == pytest.approx(0.0207925, rel=1e-5)
    assert cache.scales["(Unnamed Layer* 64) [Shuffle]_output"] == 0
    assert cache.scales["371"] == struct.unpack("!f", bytes.fromhex("00abcdef"))[0]


@pytest.mark.parametrize(
    ("version", "number"),
    [("8.5.3.1", 8503), ("8.6.1", 8601), ("10.3.0", 100300), ("10.14.1.48", 101401)],
)
def test_versions(version: str, number: int) -> None:
    assert version_number(version) == number


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e-60, 1e60])
def test_scales_that_tensorrt_cannot_take(tmp_path: Path, scale: float) -> None:
    path = tmp_path / "x.cache"
    with pytest.raises(CalibrationError, match=r"scale of 'b' is .*expected a positive number"):
        write_cache(path, {"a": 1.0, "b": scale}, "8.5.3")
    assert not path.exists()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for name in ("", "a\nb", "a\rb"):
        with pytest.raises(CalibrationError, match="in a calibration cache"):
            write_cache(tmp_path / "x.cache", {name: 1.0}, "8.5.3")
    with pytest.raises(CalibrationError, match="version 'new': expected one such as"):
        write_cache(tmp_path / "x.cache", {"a": 1.0}, "new")
    with pytest.raises(OutputError):
        write_cache(tmp_path, {"a": 1.0}, "8.5.3")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first line is not of the form TRT-8503"),
        (b"images: 3c010a14\n", "first line is not of the form"),
        (b"TRT-8503-EntropyCalibration2\nimages\n", r"line 2: expected a tensor's name.*'images'"),
        (b"TRT-8503-EntropyCalibration2\na: 1\nb: xyz\n", "line 3: expected"),
        (b"TRT-8503-EntropyCalibration2\na: 123456789\n", "line 2: expected"),
        (b"TRT-8503-EntropyCalibration2\n: 3c010a14\n", "line 2: expected"),
        (b"TRT-8503-EntropyCalibration2\na: 7fc00000\n", "line 2: the scale of 'a' is nan"),
        (b"TRT-8503-EntropyCalibration2\na: bf800000\n", "line 2: the scale of 'a' is -1.0"),
        (b"TRT-8503-EntropyCalibration2\na\xff: 3c010a14\n", "not a text file"),
    ],
)
def test_what_is_no_cache(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.cache"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=words):
        read_cache(path)


def test_a_cache_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_cache(tmp_path / "absent")
