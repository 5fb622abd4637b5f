"""Settings of the tracker: from the recipe to the plan, and into whatever tracks with a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from small_runs import learn_tiny_body, small_recipe, small_run
from tiny_network import SIZE, TinyBody
from walkers import samples_of, true_session, walkers

from jdetrt.api import load
from jdetrt.benchmarks import streams as many_streams
from jdetrt.benchmarks.accuracy import measure_accuracy
from jdetrt.benchmarks.latency import measure_run
from jdetrt.benchmarks.result import RunConfig
from jdetrt.benchmarks.streams import measure_streams
from jdetrt.calibration.quantize.fp16_rest import to_half
from jdetrt.calibration.quantize.qdq import quantise
from jdetrt.config import ExportConfig, IouConfig, TrackerConfig
from jdetrt.engine.onnx_file import metadata
from jdetrt.engine.open import open_session
from jdetrt.evaluation.summary import quick_score
from jdetrt.evaluation.tracking import evaluate_tracking
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.runtime.settings import tracker_config, tracker_note
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.testing import FakeSession
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network import model
from jdetrt.training.run_folder import LAST

OWN = IouConfig(score_threshold=0.3, buffer=7)


class _Scales:
    def scale(self, tensor: str) -> float:
        return 0.05


def test_from_the_recipe_into_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_tiny_body(monkeypatch)
    small_run(small_recipe(network={"tracker": {"preset": "iou", "buffer": 7}}), tmp_path / "run")
    last = tmp_path / "run" / LAST
    assert checkpoint.load(last)[1].config.tracker == IouConfig(buffer=7)
    with load(last) as detector:
        assert detector.tracker_config == IouConfig(buffer=7)


def test_from_the_checkpoint_through_every_model_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "BODIES", {**model.BODIES, "tiny": TinyBody})
    source = tmp_path / "tiny.safetensors"
    checkpoint.save(source, model.random_network(1, "tiny", 16), size=SIZE, tracker=OWN)
    paths = {name: tmp_path / f"{name}.onnx" for name in ("fp32", "fp16", "int8", "cpu", "rest")}
    export_onnx(source, paths["fp32"], ExportConfig(top_k=50))
    export_onnx(source, paths["fp16"], ExportConfig(top_k=50, precision="fp16"))
    base = onnx.load(paths["fp32"])
    onnx.save(quantise(base, _Scales()), paths["int8"])
    onnx.save(quantise(base, _Scales(), layout="onnxruntime"), paths["cpu"])
    onnx.save(to_half(onnx.load(paths["int8"])), paths["rest"])
    for name, path in paths.items():
        with open_session(path, provider="cpu") as session:
            assert tracker_config(session) == OWN, name
        assert metadata(path)["tracker"] == tracker_note(OWN)["tracker"], name  # so a plan has it


# ---- whatever tracks -----------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[TrackerConfig]:
    """The settings of all trackers that are made."""
    found: list[TrackerConfig] = []
    make = Tracker.__init__

    def spy(self: Tracker, *arguments: object) -> None:
        make(self, *arguments)  # type: ignore[arg-type]
        found.append(self.config)

    monkeypatch.setattr(Tracker, "__init__", spy)
    return found


def _latency(session: FakeSession, folder: Path) -> None:
    measure_run(session, str(folder), RunConfig(frames=2, warm_up=1))


def _accuracy(session: FakeSession, folder: Path) -> None:
    measure_accuracy(session, folder)


def _tracking(session: FakeSession, folder: Path) -> None:
    evaluate_tracking(session, [folder])


def _quick(session: FakeSession, folder: Path) -> None:
    quick_score(session, folder, perturbed_runs=2)


@pytest.mark.parametrize("measure", [_latency, _accuracy, _tracking, _quick])
def test_what_measures_a_session_tracks_with_its_settings(
    measure: Callable[[FakeSession, Path], None], tmp_path: Path, used: list[TrackerConfig]
) -> None:
    folder = walkers(tmp_path / "walkers")
    with noted(folder) as session:
        measure(session, folder)
    assert used
    assert all(config == OWN for config in used)


def test_streams_track_with_the_settings_of_the_model(
    tmp_path: Path, used: list[TrackerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = walkers(tmp_path / "walkers")
    monkeypatch.setattr(many_streams, "open_session", lambda *_args, **_options: noted(folder))
    measure_streams("model.onnx", [str(folder)], [1], frames=3, repeats=1)
    assert used
    assert all(config == OWN for config in used)


def noted(folder: Path) -> FakeSession:
    """Sees who is there, several times over, and says how to track them."""
    return true_session(10 * samples_of(folder), metadata=tracker_note(OWN))
