"""Each kind of file is told by its content, whatever its name, and each door says what it is."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from small_onnx import write_small_onnx

from jdetrt import shipped
from jdetrt.engine.open import open_session
from jdetrt.errors import CalibrationError, DataError, SessionError
from jdetrt.file_check import Purpose, check
from jdetrt.file_kind import CHECKPOINT_FORMAT, CHECKPOINTS, FileKind, kind_of
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.model import random_network

IMAGE = np.zeros((16, 16, 3), np.uint8)
PURPOSES: tuple[Purpose, ...] = ("track", "calibrate", "build", "inspect", "verify", "export")


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _video(path: Path) -> None:
    made = path.with_name("clip.avi")
    writer = cv2.VideoWriter(str(made), cv2.VideoWriter.fourcc(*"MJPG"), 10, (16, 16))
    writer.write(IMAGE)
    writer.release()
    made.rename(path)


def _torch(content: object, **options: bool) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path, **options)


_REFERENCE = {"epoch": 1, "model": {"module_list.0.conv_0.weight": torch.zeros(1)}}
MAKERS: dict[str, tuple[FileKind, Callable[[Path], object]]] = {
    "checkpoint": (
        FileKind.CHECKPOINT,
        lambda path: checkpoint.save(path, random_network(0, body="nano"), size=(64, 32)),
    ),
    "reference": (FileKind.REFERENCE, _torch(_REFERENCE)),
    "old reference": (
        FileKind.REFERENCE,
        _torch(_REFERENCE, _use_new_zipfile_serialization=False),
    ),
    "torch": (FileKind.TORCH, _torch({"layer1.0.conv1.weight": torch.zeros(1)})),
    "darknet": (FileKind.DARKNET, _bytes(np.array([0, 2, 0, 0, 0, 1, 1], np.int32).tobytes())),
    "safetensors": (FileKind.SAFETENSORS, lambda path: save_file({"a": np.zeros(1)}, path)),
    "onnx": (FileKind.ONNX, write_small_onnx),
    "plan": (FileKind.PLAN, _bytes(b"ftrt" + bytes(40))),
    "rtx plan": (FileKind.PLAN, _bytes(b"vtrt" + bytes(40))),
    "sidecar": (FileKind.SIDECAR, _text('{"made": {}, "model": {}, "plan": {}, "options": {}}')),
    "layers": (FileKind.LAYERS, _text('{"layers": [], "plan_sha256": ""}')),
    "cache": (FileKind.CALIBRATION_CACHE, _text("TRT-8503-EntropyCalibration2\na: 3c010a14\n")),
    "frame list": (
        FileKind.FRAME_LIST,
        _text('{"format": 1, "seed": 0, "asked": 1, "network_size": [8, 8], "frames": []}'),
    ),
    "ranges": (
        FileKind.RANGES,
        _text('{"format": 1, "method": "mse", "model_sha256": "", "tensors": {}}'),
    ),
    "result": (FileKind.RESULT, _text('{"benchmark": "sweep", "machine": {}, "rows": []}')),
    "recipe": (
        FileKind.RECIPE,
        _text('batch = 2\n[network]\nbody = "nano"\n[[data]]\npath = "x"\n'),
    ),
    "settings": (FileKind.SETTINGS, _text('preset = "iou"\n')),
    "detections": (FileKind.DETECTIONS, _text("1,-1,10,20,30,40,0.9,-1,-1,-1\n")),
    "tracks": (FileKind.TRACKS, _text("1, 3, 10.5, 20, 30, 40, 1, -1, -1, -1\n")),
    "video": (FileKind.VIDEO, _video),
    "jpeg": (FileKind.IMAGE, _bytes(cv2.imencode(".jpg", IMAGE)[1].tobytes())),
    "png": (FileKind.IMAGE, _bytes(cv2.imencode(".png", IMAGE)[1].tobytes())),
    "bmp": (FileKind.IMAGE, _bytes(cv2.imencode(".bmp", IMAGE)[1].tobytes())),
    "web page": (FileKind.TEXT, _text("<!DOCTYPE html><html>")),
    "program": (FileKind.UNKNOWN, _bytes(b"\x7fELF" + bytes(60))),
    "archive": (
        FileKind.TORCH,
        lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "a"),
    ),
}


@pytest.fixture(params=MAKERS)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileKind, Path]:
    """A file of a kind, by a name that says nothing."""
    kind, make = MAKERS[request.param]
    path = tmp_path / "some-file"
    make(path)
    return kind, path


def test_the_kind_is_in_the_content(sample: tuple[FileKind, Path]) -> None:
    kind, path = sample
    assert kind_of(path) is kind
    assert (kind in CHECKPOINTS) == (kind.name in "CHECKPOINT REFERENCE TORCH DARKNET SAFETENSORS")


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_door_takes_it_or_says_what_it_is(
    purpose: Purpose, sample: tuple[FileKind, Path]
) -> None:
    kind, path = sample
    model = {FileKind.ONNX, FileKind.PLAN}
    taken = {
        "track": model,
        "calibrate": {FileKind.ONNX},
        "build": {FileKind.ONNX},
        "inspect": model | CHECKPOINTS,
        "verify": model | CHECKPOINTS,
        "export": CHECKPOINTS,
    }[purpose]
    if kind in taken:
        assert check(path, purpose) is kind
        return
    with pytest.raises(CalibrationError) as caught:
        check(path, purpose, CalibrationError)
    message = str(caught.value)
    assert message.startswith(f"{path}: is {kind.value}")
    assert f"jdetrt {purpose}" in message
    assert "Next: " in message
    if kind in CHECKPOINTS:
        assert f"jdetrt export {path} -o model.onnx" in message
        assert ("--size" in message) == (kind is not FileKind.CHECKPOINT)


def test_a_session_is_opened_of_models_only(sample: tuple[FileKind, Path]) -> None:
    kind, path = sample
    if kind not in (FileKind.ONNX, FileKind.PLAN):
        with pytest.raises(SessionError) as caught:
            open_session(path)
        assert str(caught.value).startswith(f"{path}: is {kind.value}")


def test_folders(tmp_path: Path) -> None:
    assert kind_of(tmp_path) is FileKind.FOLDER
    (tmp_path / "notes.txt").write_text("text")
    assert kind_of(tmp_path) is FileKind.FOLDER
    (tmp_path / "a").write_bytes(cv2.imencode(".png", IMAGE)[1].tobytes())
    assert kind_of(tmp_path) is FileKind.IMAGES
    (tmp_path / "seqinfo.ini").write_text("[Sequence]")
    assert kind_of(tmp_path) is FileKind.SEQUENCE
    with pytest.raises(DataError, match=f"Next: jdetrt track {tmp_path}"):
        check(tmp_path, "build")


@pytest.mark.parametrize("suffix", [".plan", ".onnx"])
def test_a_damaged_model_counts_as_what_it_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(bytes(range(160, 256)))
    assert kind_of(path) is (FileKind.PLAN if suffix == ".plan" else FileKind.ONNX)


def test_what_ships() -> None:
    assert kind_of(shipped.resolve_checkpoint("nano")) is FileKind.CHECKPOINT
    assert {kind_of(path) for path in shipped.sizes().values()} == {FileKind.ONNX}


def test_recipes_and_results_of_the_repository() -> None:
    root = Path(__file__).parents[1]
    kinds = {kind_of(path) for path in (root / "benchmarks" / "results").glob("*.json")}
    assert {FileKind.RESULT, FileKind.REPORT} <= kinds
    for name in ("nano", "paper"):
        assert kind_of(root / "training" / "recipes" / f"{name}.toml") is FileKind.RECIPE


def test_a_checkpoint_with_damaged_settings_is_still_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    header = json.dumps({"__metadata__": {"format": CHECKPOINT_FORMAT, "config": "{"}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DataError, match="--size 1088x608"):
        check(path, "track")
