"""Declared sizes of images, against OpenCV, and against what they cost."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.errors import SourceError
from jdetrt.runtime.sources.image_header import LARGEST_IMAGE, check_pixels, declared_size
from jdetrt.runtime.sources.images import read_image

_IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
_VARIANTS: dict[str, list[int]] = {
    ".jpg": [],
    ".jpeg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    ".png": [],
    ".bmp": [],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # lossless
    ".WEBP": [cv2.IMWRITE_WEBP_QUALITY, 60],
    ".tif": [],
}


def _encoded(suffix: str) -> bytes:
    ok, data = cv2.imencode(suffix.lower(), _IMAGE, _VARIANTS[suffix])
    assert ok
    return data.tobytes()


@pytest.mark.parametrize("suffix", _VARIANTS)
def test_the_declared_size_is_that_of_the_decoded_image(suffix: str) -> None:
    data = _encoded(suffix)
    assert declared_size(data) == (53, 37)
    assert declared_size(data[:4]) is None


def test_other_formats_and_both_orders_of_bytes() -> None:
    assert declared_size(b"GIF89a" + struct.pack("<HH", 7, 9)) == (7, 9)
    for order, mark in (("<", b"II"), (">", b"MM")):
        entries = struct.pack(f"{order}HHIHxx", 256, 3, 1, 11) + struct.pack(
            f"{order}HHII", 257, 4, 1, 13
        )
        head = mark + struct.pack(f"{order}HIH", 42, 8, 2)
        assert declared_size(head + entries) == (11, 13)
        tile = struct.pack(f"{order}HHII", 322, 4, 1, 1 << 20)
        head = mark + struct.pack(f"{order}HIH", 42, 8, 3)
        assert declared_size(head + entries + tile) == (1 << 20, 13)
    assert declared_size(b"BM" + bytes(12) + struct.pack("<Iii", 40, 5, -6)) == (5, 6)
    assert declared_size(b"P5 3 3 255\n") is None


def test_a_thumbnail_inside_a_segment_does_not_count() -> None:
    whole = _encoded(".jpg")
    small = cv2.imencode(".jpg", _IMAGE[:8, :8])[1].tobytes()
    segment = b"Exif\0\0" + small
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]
    assert declared_size(data) == (53, 37)


def _declaring(suffix: str, width: int, height: int) -> bytes:
    """An encoded image whose header is changed to another size."""
    data = bytearray(_encoded(suffix))
    if suffix == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif suffix == ".png":
        data[16:24] = struct.pack(">II", width, height)
    else:
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("sides", [(32767, 32767), (10_001, 10_000), (0, 37)])
def test_too_large_an_image_is_refused_before_it_is_decoded(
    tmp_path: Path, suffix: str, sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(_declaring(suffix, *sides))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: sys.exit("decoded"))
    with pytest.raises(SourceError, match=f"declares {sides[0]}x{sides[1]} pixels"):
        read_image(path)


def test_a_hundred_megapixels_are_allowed() -> None:
    check_pixels("a.png", (10_000, 10_000), SourceError)
    assert LARGEST_IMAGE == 10_000 * 10_000


def test_a_chunk_of_a_png_that_says_it_has_gigabytes(tmp_path: Path) -> None:
    data = bytearray(_encoded(".png"))
    data[33:37] = struct.pack(">I", 0x7FFFFFFF)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="truncated"):
        read_image(path)
