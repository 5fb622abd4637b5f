"""Images for made-up raw data sets, and JDE's form read as the reference reads it."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

Row = tuple[int, float, float, float, float]


def write_picture(path: Path, width: int = 64, height: int = 48) -> Path:
    """An image of this size, of no particular content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), image)
    return path


def jpeg(width: int = 64, height: int = 48, grey: int = 0) -> bytes:
    """The bytes of a JPEG."""
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))
    assert done
    return data.tobytes()


def seq(frames: list[bytes], *, gap: int = 16, image_format: int = 102) -> bytes:
    """A .seq file field by field, in the order of the StreamPix manual."""
    header = struct.pack("<I", 0xFEED)
    header += "Norpix seq".encode("utf-16-le") + bytes(4)
    header += struct.pack("<iI", 3, 1024) + bytes(512)  # version, header size, description
    header += struct.pack("<9I", 64, 48, 24, 8, 9216, image_format, len(frames), 0, 9216)
    header += struct.pack("<d", 30.0)
    data = header.ljust(1024, b"\0")
    for number, frame in enumerate(frames):
        data += struct.pack("<I", len(frame) + 4) + frame
        data += struct.pack("<IHH", 1_200_000_000 + number, 33, 0).ljust(gap, b"\0")
    return data


def read_jde(listing: Path) -> dict[str, list[Row]]:
    """Image (as listed) to rows of id, left, top, width, height in its pixels.

    The label file is found by replacing text, everywhere in the line (utils/datasets.py).
    """
    found = {}
    for line in listing.read_text().splitlines():
        image = cv2.imread(str(listing.parent / line))
        assert image is not None, line
        height, width, _ = image.shape
        label = line.replace("images", "labels_with_ids")
        label = label.replace(".png", ".txt").replace(".jpg", ".txt")
        rows = []
        for row in (listing.parent / label).read_text().splitlines():
            kind, identity, x, y, w, h = row.split()
            assert kind == "0"
            box = (float(x) - float(w) / 2, float(y) - float(h) / 2, float(w), float(h))
            left, top, wide, high = box
            rows.append(
                (
                    int(identity),
                    round(left * width, 2),
                    round(top * height, 2),
                    round(wide * width, 2),
                    round(high * height, 2),
                )
            )
        found[line] = rows
    return found
