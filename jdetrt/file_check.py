"""Check of the kind of a file: which command takes it, and which one to call instead.

Every command asks here before it opens a model, so that a file is called by the same name
everywhere, and the message says what to do with it instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jdetrt.errors import DataError, JdetrtError
from jdetrt.file_kind import CHECKPOINTS, FileKind, kind_of, safetensors_metadata
from jdetrt.inputs import open_regular

__all__ = ["Purpose", "check"]

_SOURCES = {FileKind.VIDEO, FileKind.IMAGE, FileKind.SEQUENCE, FileKind.IMAGES}

Purpose = Literal["track", "calibrate", "build", "inspect", "verify", "export"]


class _Taken(NamedTuple):
    kinds: frozenset[FileKind]
    words: str


_MODELS = frozenset({FileKind.ONNX, FileKind.PLAN})
_ONNX = _Taken(frozenset({FileKind.ONNX}), "an ONNX model")
_ANY = _Taken(CHECKPOINTS | _MODELS, "a checkpoint, an ONNX model or a plan")
_TAKEN: Mapping[Purpose, _Taken] = {
    "track": _Taken(_MODELS, "an ONNX model or a plan"),
    "calibrate": _ONNX,
    "build": _ONNX,
    "inspect": _ANY,
    "verify": _ANY,
    "export": _Taken(
        CHECKPOINTS, "a checkpoint (.safetensors of jdetrt, .pt of the reference, Darknet .weights)"
    ),
}


def check(path: str | Path, purpose: Purpose, error: type[JdetrtError] = DataError) -> FileKind:
    """Refuse a file that a command does not take; say what it is and what to do with it.

    Args:
        path: the file.
        purpose: the command, by name.
        error: raised where the file is refused.
    """
    kind = kind_of(path, error)
    taken = _TAKEN[purpose]
    if kind in taken.kinds:
        return kind
    raise error(
        f"{path}: is {_words(Path(path), kind)}; `jdetrt {purpose}` takes {taken.words}. "
        f"Next: {_next(Path(path), kind)}"
    )


def _words(path: Path, kind: FileKind) -> str:
    if kind is not FileKind.TEXT:
        return str(kind.value)
    with open_regular(path) as file:
        start = file.read(24).decode(errors="replace").split("\n")[0].strip()
    return f"a text file ('{start}...'), perhaps a web page or a link instead of the download"


def _next(path: Path, kind: FileKind) -> str:
    """The command that takes a file of this kind."""
    if kind in CHECKPOINTS:
        return f"jdetrt export {path} -o model.onnx{_size_option(path, kind)}"
    if kind in _SOURCES:
        return f"jdetrt track {path} --model nano"
    if kind in (FileKind.SIDECAR, FileKind.LAYERS):
        plan = path.with_name(path.name.removesuffix(".json").removesuffix(".layers"))
        return f"name the plan itself, {plan}"
    return {
        FileKind.ONNX: f"jdetrt track SOURCE --model {path}",
        FileKind.PLAN: f"name the ONNX model that it was made from (jdetrt inspect {path})",
        FileKind.CALIBRATION_CACHE: "jdetrt build MODEL.onnx -o MODEL.plan --precision int8 "
        f"--calibration-cache {path}",
        FileKind.FRAME_LIST: f"jdetrt calibrate MODEL.onnx -o INT8.onnx --frame-list {path}",
        FileKind.RESULT: f"jdetrt bench report {path} -o page.html",
        FileKind.RECIPE: f"jdetrt train {path} -o RUN",
        FileKind.SETTINGS: f"jdetrt track SOURCE --config {path}",
        FileKind.DETECTIONS: f"jdetrt track SEQUENCE --detections {path}",
        FileKind.TRACKS: "jdetrt score GT_ROOT RESULTS_DIR",
        FileKind.FOLDER: "name a file in it",
    }.get(kind, "name another file")


def _size_option(path: Path, kind: FileKind) -> str:
    recorded = None
    if kind is FileKind.CHECKPOINT:
        from jdetrt.documents import decode_json

        with suppress(ValueError):  # damaged metadata: the export says so
            config = safetensors_metadata(path).get("config", "{}")
            recorded = decode_json(config, dict[str, Any]).get("size")
    return "" if recorded else " --size 1088x608"
