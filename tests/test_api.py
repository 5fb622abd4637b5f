"""The names of `jdetrt`, and that its functions close what they open."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_network import SIZE, save_tiny

import jdetrt
from jdetrt import api, errors
from jdetrt.calibration.config import CalibrationConfig
from jdetrt.cli import main
from jdetrt.config import FusedConfig, IouConfig, PaperConfig, default_config
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.errors import (
    CheckpointError,
    ConfigError,
    MissingDependencyError,
    SessionError,
    SourceError,
)
from jdetrt.export.torch_session import TorchSession
from jdetrt.progress import Progress, SilentProgress
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.mot.files import read_mot
from jdetrt.runtime.mot.public_detections import every_frame, read_detections
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.testing import FakeSession

FUNCTIONS = {"load", "track", "open_source", "export_onnx", "build_plan", "calibrate"} | {
    "evaluate",
    "track_many",
    "train",
}
CLASSES = {"Tracker", "Detector", "Detections", "Tracks", "Size"}
ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.JdetrtError)
}


def test_the_names_are_these() -> None:
    assert set(jdetrt.__all__) == FUNCTIONS | CLASSES | ERRORS | {"__version__"}
    assert list(jdetrt.__all__) == sorted(jdetrt.__all__)
    assert set(jdetrt.__all__) <= set(dir(jdetrt))
    for name in jdetrt.__all__:
        value = getattr(jdetrt, name)
        assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    # mypy reports an ignore that is not needed: to a type checker the name does not exist, either.
    with pytest.raises(AttributeError, match="Trakcer"):
        jdetrt.Trakcer  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_type_checkers_see_the_types(name: str) -> None:
    """The imports for type checkers are those that are made."""
    source = Path(jdetrt.__file__).read_text()
    module = jdetrt._MODULES.get(name, getattr(jdetrt, name).__module__)
    block = source.partition(f"from {module} import ")[2].partition("from ")[0]
    assert name in block


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def test_load_opens_each_kind_of_model(checkpoint: Path, tmp_path: Path) -> None:
    jdetrt.export_onnx(checkpoint, tmp_path / "tiny.onnx", top_k=20)
    with jdetrt.load(checkpoint, provider="cpu") as detector:
        assert isinstance(detector.session, TorchSession)
        assert detector.size == SIZE
    with jdetrt.load(checkpoint, size=(64, 64), provider="cpu") as detector:
        assert detector.size == (64, 64)
    with jdetrt.load(tmp_path / "tiny.onnx", size=SIZE, provider="cpu", threads=1) as detector:
        assert isinstance(detector.session, OrtSession)
    with pytest.raises(SessionError, match=r"128x96.*64x64"):
        jdetrt.load(tmp_path / "tiny.onnx", size=(64, 64))


def test_threads_are_those_of_torch(checkpoint: Path) -> None:
    before = torch.get_num_threads()
    try:
        jdetrt.load(checkpoint, provider="cpu", threads=before + 1).close()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_load_refuses_what_it_cannot_open(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        jdetrt.load(tmp_path / "missing.onnx")
    with pytest.raises(SessionError, match=r"'cpu' or 'cuda'.*'tensorrt'"):
        jdetrt.load(checkpoint, provider="tensorrt")
    (tmp_path / "text.onnx").write_text("<html>")
    with pytest.raises(SessionError, match=r"text\.onnx"):
        jdetrt.load(tmp_path / "text.onnx")
    with pytest.raises(ConfigError, match="nano:32x32"):
        jdetrt.load("nano", size=(32, 32))


def test_a_checkpoint_without_torch_names_the_extra(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jdetrt.export.torch_session", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"jdetrt\[export\]"):
        jdetrt.load(checkpoint)


def test_the_shipped_model_comes_with_its_settings() -> None:
    with jdetrt.load("nano", threads=1) as detector, jdetrt.load("nano", size=(864, 480)) as large:
        assert (detector.size, large.size) == ((576, 320), (864, 480))
        settings = detector.tracker_config
        assert detector.score_threshold == settings.score_threshold
        assert detector.nms_iou == settings.nms_iou
    with jdetrt.load("nano", score_threshold=0.8, nms_iou=0.1, threads=1) as detector:
        assert (detector.score_threshold, detector.nms_iou) == (0.8, 0.1)


# ---- track ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "clip"
    return write_sequence(folder, SyntheticClip(seed=3, frames=12, people=5))


@pytest.fixture
def detector(clip: Path) -> Detector:
    """Detects what the clip's own detections file says, in turn."""
    found = read_detections(clip / "det" / "det.txt", length=12)
    size = SyntheticClip(seed=3, frames=12, people=5).size
    session = FakeSession.from_detections(every_frame(found, 12), size=(576, 320), source_size=size)
    return Detector(session, score_threshold=0.3)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "reader"]


def test_track_does_what_the_command_does(clip: Path, tmp_path: Path) -> None:
    files = [tmp_path / "one.txt", tmp_path / "other.txt"]
    run = jdetrt.track(clip, "nano", mot=files[0], jsonl=tmp_path / "one.jsonl", threads=1)
    rows = []
    for frame, tracks in run:
        assert not files[0].exists()  # whole or not at all
        rows += [(frame.index, int(identity)) for identity in tracks.ids]
    with pytest.raises(SystemExit) as end:
        main(["track", str(clip), "--mot", str(files[1]), "--quiet", "--threads", "1"])
    assert end.value.code == 0
    assert files[0].read_text() == files[1].read_text()
    written = read_mot(files[0])
    assert rows == list(zip(written.frames.tolist(), written.ids.tolist(), strict=True))
    assert rows
    assert len((tmp_path / "one.jsonl").read_text().splitlines()) == 12
    assert run.report().frames == 12
    assert (run.account.summary(), run.notes) == ("12 images", [])


def test_leaving_early_closes_everything(
    clip: Path, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "load", lambda *_, **__: detector)
    for frame, _ in jdetrt.track(clip, "nano", jsonl=tmp_path / "tracks.jsonl"):
        if frame.index == 5:
            break
    lines = (tmp_path / "tracks.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [1, 2, 3, 4, 5]
    with pytest.raises(SessionError, match="closed"):
        detector.detect(np.zeros((320, 576, 3), np.uint8))


def test_an_exception_in_the_loop_closes_everything(
    clip: Path, detector: Detector, tmp_path: Path
) -> None:
    output = tmp_path / "tracks.txt"

    def loop() -> None:
        for frame, _ in jdetrt.track(clip, detector, mot=output):
            if frame.index == 8:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    gc.collect()
    assert 0 < read_mot(output).frames.max() <= 8


def test_a_run_that_is_kept_is_closed_by_its_block(
    clip: Path, detector: Detector, tmp_path: Path
) -> None:
    with jdetrt.track(clip, detector, mot=tmp_path / "tracks.txt") as run:
        for _ in range(6):
            next(run)
        assert not (tmp_path / "tracks.txt").exists()
    assert (tmp_path / "tracks.txt").exists()
    assert list(run) == []
    run.close()
    detector.session.infer({"images": np.zeros((1, 3, 320, 576), np.float32)})  # stays open


def test_a_run_that_never_began_leaves_nothing(
    clip: Path, detector: Detector, tmp_path: Path
) -> None:
    run = jdetrt.track(clip, detector, mot=tmp_path / "tracks.txt", video=tmp_path / "tracks.mp4")
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_python_ends_with_a_run_that_is_open(clip: Path, tmp_path: Path) -> None:
    code = (
        "import jdetrt\n"
        f"run = jdetrt.track({str(clip)!r}, mot='tracks.txt')\n"
        "for _ in range(9): next(run)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(jdetrt.__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert read_mot(tmp_path / "tracks.txt").frames.max() == 9


def test_nothing_is_opened_that_cannot_be_tracked(
    clip: Path, detector: Detector, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        jdetrt.track(tmp_path / "nowhere", detector)
    with pytest.raises(ConfigError, match="bytetrack"):
        jdetrt.track(clip, detector, tracker="bytetrack", mot=tmp_path / "tracks.txt")
    video = tmp_path / "video.mp4"
    video.write_bytes(b"video")
    with pytest.raises(ConfigError, match=r"video\.mp4"):
        jdetrt.track(video, detector, video=video)
    assert video.read_bytes() == b"video"
    assert list(tmp_path.iterdir()) == [video]


def test_settings_of_the_tracker(clip: Path, detector: Detector, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('preset = "paper"\nbuffer = 7\n')

    def settings(**options: Any) -> Any:
        with jdetrt.track(clip, detector, **options) as run:
            return run.tracker.config

    assert settings() == default_config("fused")
    assert settings(tracker="reference") == default_config("reference")
    assert settings(tracker=file) == PaperConfig(buffer=7)
    assert settings(tracker=IouConfig(buffer=9)) == IouConfig(buffer=9)
    assert settings(score_threshold=0.7, nms_iou=0.2) == FusedConfig(
        score_threshold=0.7, nms_iou=0.2
    )


def test_max_frames_and_frame_rate(clip: Path, detector: Detector) -> None:
    with jdetrt.track(clip, detector, max_frames=4, frame_rate=12.5) as run:
        assert [frame.index for frame, _ in run] == [1, 2, 3, 4]
        assert run.tracker.frame_rate == 12.5


# ---- the others ----------------------------------------------------------------------------


def test_evaluate_measures_all_three(clip: Path) -> None:
    scores = jdetrt.evaluate("nano", clip, threads=1)
    assert 0.0 < scores.ap50 <= 1.0
    assert 0.0 < scores.hota <= 100.0


def test_an_export_is_compared_on_a_source(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    exported = jdetrt.export_onnx(
        checkpoint, tmp_path / "a.onnx", top_k=20, tracker=IouConfig(buffer=9), sources=[clip]
    )
    assert exported.path == tmp_path / "a.onnx"
    assert exported.real_frames
    assert exported.parity.frames == 4
    with jdetrt.load(tmp_path / "a.onnx") as detector:
        assert detector.tracker_config == IouConfig(buffer=9)


def test_a_plan_needs_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"jdetrt\[tensorrt\]"):
        jdetrt.build_plan("nano", tmp_path / "nano.plan")


def test_a_build_reports_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments reach the builder; tests/engine/test_builder.py tests the rest."""
    given: dict[str, Any] = {}
    monkeypatch.setattr("jdetrt.engine.tensorrt.compat.load", lambda backend: backend)
    monkeypatch.setattr(
        "jdetrt.engine.tensorrt.builder.build.build_plan",
        lambda *_, **options: given.update(options),
    )
    progress = SilentProgress()
    jdetrt.build_plan("nano", tmp_path / "a.plan", timing_cache="t.cache", progress=progress)
    assert given["progress"] is progress
    assert given["timings"] == Path("t.cache")


def test_paths_of_a_calibration_may_be_text(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[CalibrationConfig] = []

    class Run:
        def __init__(self, config: CalibrationConfig, progress: Progress) -> None:
            given.append(config)

        def run(self) -> None:
            """Do nothing."""

    monkeypatch.setattr("jdetrt.calibration.run.CalibrationRun", Run)
    jdetrt.calibrate("nano", "a.onnx", "clip", report="report", gt="gt", fp16=None, max_frames=3)
    [config] = given
    assert (config.report, config.gt, config.fp16) == (Path("report"), Path("gt"), None)
    assert (config.sources, config.max_frames) == (("clip",), 3)
