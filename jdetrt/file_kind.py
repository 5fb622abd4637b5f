"""Kinds of files, told by content; needs neither torch nor onnx."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

from jdetrt.errors import DataError, JdetrtError
from jdetrt.inputs import (
    LARGEST_JSON,
    LARGEST_SETTINGS,
    open_regular,
    read_bytes,
    read_text,
    reading,
)

__all__ = [
    "CHECKPOINTS",
    "CHECKPOINT_FORMAT",
    "DARKNET_HEADER_BYTES",
    "DARKNET_SIZES",
    "PLAN_MARKS",
    "PLAN_SUFFIXES",
    "FileKind",
    "kind_of",
    "safetensors_metadata",
]

CHECKPOINT_FORMAT = "jdetrt-checkpoint-1"  # in the metadata of our checkpoints
DARKNET_HEADER_BYTES = 20
# Bytes of a Darknet file of the body alone (darknet53.conv.74, as published), and of all layers.
DARKNET_SIZES = (162_482_580, 262_869_684)
PLAN_MARKS = (b"ftrt", b"vtrt")  # first bytes, of TensorRT and TensorRT-RTX
PLAN_SUFFIXES = (".plan", ".engine", ".trt")

_HEAD = 4096  # bytes that most kinds are told by
_IN_PICKLE = 1 << 20  # within so many bytes a pickled state dict names its first tensor
_LOOKED_AT = 1000  # entries of a folder without an image, at most
_NUMBERS = re.compile(r"\s*-?\d+(\.\d+)?\s*,\s*(-?\d+)(\.0*)?(\s*,\s*-?[\d.eE+-]+){4,}\s*")


_TOML = re.compile(r"^\s*(\w+\s*=|\[\[?[\w.]+\]\]?\s*$)", re.MULTILINE)


class FileKind(Enum):
    """Kinds of files and folders; the value follows "is" in a message."""

    CHECKPOINT = "a checkpoint of jdetrt"
    REFERENCE = "a checkpoint of the reference implementation"
    TORCH = "a torch file"
    DARKNET = "a Darknet weight file"
    SAFETENSORS = "a safetensors file, but not a checkpoint of jdetrt"
    ONNX = "an ONNX model"
    PLAN = "a TensorRT plan"
    SIDECAR = "the sidecar of a TensorRT plan"
    LAYERS = "the list of layers of a TensorRT plan"
    CALIBRATION_CACHE = "a calibration cache of TensorRT"
    FRAME_LIST = "a list of calibration frames"
    RANGES = "a file of calibration ranges"
    REPORT = "a calibration report"
    RESULT = "a result of jdetrt bench"
    RECIPE = "a training recipe"
    SETTINGS = "a file of tracker settings"
    DETECTIONS = "a MOT text file of detections"
    TRACKS = "a MOT text file of tracks"
    VIDEO = "a video"
    IMAGE = "an image"
    SEQUENCE = "a MOT sequence"
    IMAGES = "a folder of images"
    FOLDER = "a folder"
    TEXT = "a text file"
    UNKNOWN = "a file of an unknown kind"


CHECKPOINTS = frozenset(
    {
        FileKind.CHECKPOINT,
        FileKind.REFERENCE,
        FileKind.TORCH,
        FileKind.DARKNET,
        FileKind.SAFETENSORS,
    }
)


def kind_of(path: str | Path, error: type[JdetrtError] = DataError) -> FileKind:
    """Tell the kind of a file or folder by its content.

    A file without a mark that is named like a plan or an ONNX model counts as one, perhaps damaged.

    Args:
        path: the file or folder.
        error: raised where it is missing, empty, no regular file, or cannot be read.
    """
    path = Path(path)
    with reading(path, error):
        if path.is_dir():
            return _kind_of_folder(path)
        if not path.exists():
            raise error(f"{path}: no such file")
        if not path.is_file():
            raise error(f"{path}: is not a regular file")
        with open_regular(path) as file:
            head = file.read(_HEAD)
        if not head:
            raise error(f"{path}: is empty (0 bytes); make, copy or download it again")
        kind = _binary(path, head) or _textual(path, head)
    suffix = path.suffix.lower()
    if kind in (FileKind.TEXT, FileKind.UNKNOWN) and suffix in PLAN_SUFFIXES:
        return FileKind.PLAN
    return FileKind.ONNX if kind is FileKind.UNKNOWN and suffix == ".onnx" else kind


def safetensors_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a safetensors file; empty where it has none or is damaged. Raises OSError."""
    from jdetrt.documents import convert, decode_json  # not for those who read other files

    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_JSON:
            return {}
        with suppress(ValueError):
            header = decode_json(file.read(length), dict[str, Any])
            return convert(header.get("__metadata__", {}), dict[str, str])
    return {}


def _kind_of_folder(folder: Path) -> FileKind:
    if (folder / "seqinfo.ini").is_file() or (folder / "img1").is_dir():
        return FileKind.SEQUENCE
    for path in itertools.islice(folder.iterdir(), _LOOKED_AT):
        if path.is_file() and path.stat().st_size:
            with suppress(OSError), open_regular(path) as file:
                if _has_mark(file.read(_HEAD), _IMAGE_MARKS):
                    return FileKind.IMAGES
    return FileKind.FOLDER


# Offset and bytes.
_IMAGE_MARKS = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"GIF8"),
    (8, b"WEBP"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
)
_VIDEO_MARKS = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (8, b"AVI "),
    (0, b"\0\0\x01\xba"),  # MPEG program stream
    (0, b"\0\0\x01\xb3"),
    (0, b"\0\0\0\x01"),  # H.264 or H.265 without a container
    (0, b"FLV\x01"),
    (0, b"OggS"),
)
_TRANSPORT_PACKET = 188  # bytes, each packet of an MPEG transport stream begins with "G"


def _has_mark(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head.startswith(mark, at) for at, mark in marks) or (
        marks is _IMAGE_MARKS and head[:2] == b"BM" and head[6:10] == bytes(4)
    )


def _binary(path: Path, head: bytes) -> FileKind | None:
    if head[4:9] == b"\0\0\0\0{":  # the length of a JSON header, below 4 GB, and its start
        # First: the length may start with any byte.
        ours = str(safetensors_metadata(path).get("format")).startswith("jdetrt-checkpoint-")
        return FileKind.CHECKPOINT if ours else FileKind.SAFETENSORS
    if head.startswith(b"PK\x03\x04") or head[:1] == b"\x80":  # a zip archive, or a bare pickle
        return FileKind.REFERENCE if b"module_list." in _pickle(path) else FileKind.TORCH
    if head[:4] in PLAN_MARKS:
        return FileKind.PLAN
    if _has_mark(head, _VIDEO_MARKS) or (
        len(head) > 2 * _TRANSPORT_PACKET and set(head[::_TRANSPORT_PACKET]) == {ord("G")}
    ):
        return FileKind.VIDEO
    if _has_mark(head, _IMAGE_MARKS):
        return FileKind.IMAGE
    if _is_darknet(head) or path.stat().st_size in DARKNET_SIZES:
        return FileKind.DARKNET
    if head[0] == 0x08 and head[2:3] in (b"\x12", b"\x3a", b"\x42"):  # ir_version, what follows
        return FileKind.ONNX
    return None


def _pickle(path: Path) -> bytes:
    """The beginning of the pickle in a torch file."""
    import zipfile
    import zlib

    # Of a damaged archive.
    faults = (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
    )
    with open_regular(path) as file:
        with suppress(*faults):
            archive = zipfile.ZipFile(file)
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    return archive.open(name).read(_IN_PICKLE)
            return b""
        file.seek(0)
        return file.read(_IN_PICKLE)


def _is_darknet(head: bytes) -> bool:
    """Tell whether the header starts with version numbers of Darknet: 0, 1-2, 0."""
    major, minor, revision = (int.from_bytes(head[i : i + 4], "little") for i in range(0, 12, 4))
    return len(head) >= DARKNET_HEADER_BYTES and major == 0 and minor < 10 and revision < 10


def _textual(path: Path, head: bytes) -> FileKind:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        if err.start < len(head) - 3:  # else a character that the end of the head cuts
            return FileKind.UNKNOWN
        text = head[: err.start].decode("utf-8-sig")
    if any(ord(char) < 32 and char not in "\t\n\r\f" for char in text):
        return FileKind.UNKNOWN
    if text.startswith("TRT-"):
        return FileKind.CALIBRATION_CACHE
    if match := _NUMBERS.match(text.split("\n")[0]):
        return FileKind.DETECTIONS if int(match[2]) < 0 else FileKind.TRACKS
    keys = _keys(path, text)
    for kind, expected in _KEYS:
        if expected <= keys:
            return kind
    return FileKind.TEXT


# Keys at the outermost level of our own files.
_KEYS = (
    (FileKind.SIDECAR, {"made", "plan", "options"}),
    (FileKind.LAYERS, {"layers", "plan_sha256"}),
    (FileKind.FRAME_LIST, {"format", "asked", "frames", "network_size"}),
    (FileKind.RANGES, {"format", "method", "model_sha256", "tensors"}),
    (FileKind.REPORT, {"report", "methods", "layers"}),
    (FileKind.RESULT, {"benchmark", "machine"}),
    (FileKind.RECIPE, {"network", "data"}),
    (FileKind.RECIPE, {"base"}),
    (FileKind.RECIPE, {"start", "optimiser", "schedule"}),
    (FileKind.SETTINGS, {"preset"}),
)


def _keys(path: Path, head: str) -> set[str]:
    """Keys of a JSON or TOML file; none of any other."""
    is_json = head.lstrip().startswith("{")
    if not is_json and not _TOML.search(head):
        return set()
    import msgspec  # not for those who only read binary files

    from jdetrt.documents import decode_json, decode_toml

    with suppress(ValueError, JdetrtError):
        if is_json:
            text = read_text(path, DataError, largest=LARGEST_JSON)
            return set(decode_json(text, dict[str, msgspec.Raw]))
        return set(
            decode_toml(read_bytes(path, DataError, largest=LARGEST_SETTINGS), dict[str, Any])
        )
    return set()
