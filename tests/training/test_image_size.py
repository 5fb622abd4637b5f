from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.errors import SourceError
from jdetrt.training.data import check as module
from jdetrt.training.data.check import image_size

# "Exif", a big-endian TIFF header, and one entry: orientation (0x0112), a short, once, 6.
TURNED = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)


def encoded(suffix: str, options: list[int] | None = None) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (70, 300, 3), np.uint8)
    done, data = cv2.imencode(suffix, image, options or [])
    assert done
    return bytes(data)


@pytest.fixture
def only_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(path: Path) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr(module, "read_image", decode)


@pytest.mark.usefixtures("only_headers")
@pytest.mark.parametrize(
    "data",
    [
        encoded(".jpg"),
        encoded(".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        encoded(".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]),
        encoded(".png"),
    ],
)
def test_the_header_suffices(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data[: len(data) // 2])
    assert image_size(path) == (300, 70)


def exif_jpeg() -> bytes:
    data, segment = encoded(".jpg"), b"Exif\0\0" + TURNED
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def exif_png() -> bytes:
    data, chunk = encoded(".png"), b"eXIf" + TURNED
    head = 8 + 25  # signature and IHDR
    checked = struct.pack(">I", len(TURNED)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:head] + checked + data[head:]


@pytest.mark.parametrize("data", [exif_jpeg(), exif_png(), encoded(".bmp"), encoded(".webp")])
def test_the_rest_is_as_opencv_reads_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    picture = cv2.imread(str(path))
    assert picture is not None
    height, width, _ = picture.shape
    assert image_size(path) == (width, height)


def test_a_turned_jpeg_has_its_sides_changed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(exif_jpeg())
    assert image_size(tmp_path / "a.jpg") == (70, 300)


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"\xff\xd8", encoded(".jpg")[:30], encoded(".png")[:20]]
)
def test_what_is_no_picture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(SourceError, match=r"a.jpg: "):
        image_size(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=r"b.jpg: cannot be read \(No such file"):
        image_size(tmp_path / "b.jpg")
