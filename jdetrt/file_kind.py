"""What kind of file is this? Told by its first bytes, whatever its name is, and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from jdetrt.errors import CheckpointError

__all__ = ["DARKNET_HEADER_BYTES", "DARKNET_SIZES", "FileKind", "Format", "recognise"]

DARKNET_HEADER_BYTES = 20
# Bytes of a Darknet file of the body alone (darknet53.conv.74, as published), and of all layers.
DARKNET_SIZES = (162_482_580, 262_869_684)


class Format(Enum):
    """The formats that are read."""

    SAFETENSORS = "a safetensors file"
    TORCH = "a torch file"
    DARKNET = "a Darknet weight file"
    ONNX = "an ONNX model"


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file looks like.

    Attributes:
        format: None for anything else.
        words: for a message, to follow "is".
    """

    format: Format | None
    words: str


def recognise(path: str | Path) -> FileKind:
    """Tell the kind of a file by its first bytes.

    Raises:
        CheckpointError: there is no file, it is empty, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; name the file in it")
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    if not path.is_file():
        raise CheckpointError(f"{path}: is not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read ({err.strerror})") from err
    if not head:
        raise CheckpointError(f"{path}: is empty (0 bytes); copy or download it again")
    found = _format(head, path.stat().st_size)
    return FileKind(found, _other(head) if found is None else found.value)


def _format(head: bytes, size: int) -> Format | None:
    if head[4:9] == b"\0\0\0\0{":  # the length of a JSON header, below 4 GB, and its start
        return Format.SAFETENSORS  # first: the length may start with any byte
    if head.startswith(b"PK\x03\x04") or head[:1] == b"\x80":  # a zip archive, or a bare pickle
        return Format.TORCH
    if _is_darknet(head) or size in DARKNET_SIZES:
        return Format.DARKNET
    if head[0] == 0x08 and head[2:3] in (b"\x12", b"\x3a", b"\x42"):  # ir_version, what follows
        return Format.ONNX
    return None


def _other(head: bytes) -> str:
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        start = head[:24].decode().split("\n")[0].strip()
        return f"a text file ('{start}...'), perhaps a web page or a link instead of the download"
    return "a file of an unknown kind"


def _is_darknet(head: bytes) -> bool:
    """Whether the header starts with the small version numbers that Darknet writes: 0, 1-2, 0."""
    major, minor, revision = (int.from_bytes(head[i : i + 4], "little") for i in range(0, 12, 4))
    return len(head) >= DARKNET_HEADER_BYTES and major == 0 and minor < 10 and revision < 10
