"""`jdetrt selftest gpu`, whole, on stand-ins for TensorRT and the GPU; only speeds are not real."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import Scenario, fake_tensorrt
from gpu_models import SIZE, write_model

from jdetrt.benchmarks import warm_up
from jdetrt.benchmarks.compare import compare
from jdetrt.benchmarks.result import read_result
from jdetrt.benchmarks.selftest import run as run_module
from jdetrt.benchmarks.selftest.eager import EagerSession
from jdetrt.benchmarks.selftest.networks import CACHE, find_model, size_of
from jdetrt.benchmarks.selftest.page import headline, selftest_page
from jdetrt.benchmarks.selftest.result import SelftestResult, network_fps
from jdetrt.benchmarks.selftest.run import SelftestConfig, checks, estimates, selftest, steps_here
from jdetrt.benchmarks.selftest.steps import KINDS, steps
from jdetrt.benchmarks.selftest.work import Outcome, Task, do
from jdetrt.cli import main
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.tensorrt import describe as describe_module
from jdetrt.engine.tensorrt import profile as profile_module
from jdetrt.engine.tensorrt import session as session_module
from jdetrt.engine.tensorrt.builder import build as builder
from jdetrt.engine.tensorrt.calibration_cache import write_cache
from jdetrt.engine.tensorrt.device import Device
from jdetrt.errors import ConfigError, DataError
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.types import Size

ORIN = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")
NETWORK = "nano-128x64"
FRAMES = 4
# PyTorch needs a GPU, and the doctor has a test of its own.
REAL = ("build", "time", "verify", "streams", "layers")


class Gpu:
    """The stand-ins, and what they were asked."""

    def __init__(self, patch: pytest.MonkeyPatch, model: Path, version: str) -> None:
        outputs = [("boxes", "FLOAT", (1, 128, 4)), ("scores", "FLOAT", (1, 128))]
        outputs.append(("embeddings", "FLOAT", (1, 128, 8)))
        self.scenario = Scenario(
            inputs=[("images", "FLOAT", (1, 3, SIZE[1], SIZE[0]))],
            outputs=outputs,
            on_execute=self._execute,
            layer_ms=lambda: [("/network/body/conv", 0.25), ("reformat", 0.05)],
        )
        module: Any = fake_tensorrt(version, self.scenario)
        patch.setitem(sys.modules, "tensorrt", module)
        self._reference = OrtSession(model, provider="cpu", threads=1)
        self._cuda: FakeCuda | None = None
        self.wrong = 0.0  # added to the scores
        for place in (session_module, builder, profile_module, describe_module, run_module):
            patch.setattr(place, "current_device", lambda: ORIN)
        for place in (session_module, profile_module):
            patch.setattr(place, "open_cuda", self._open)
        patch.setattr(warm_up, "WINDOW", 0.001)

    def close(self) -> None:
        self._reference.close()

    def _open(self, *, graphs: bool = False) -> FakeCuda:
        self._cuda = FakeCuda()
        return self._cuda

    def _execute(self, shapes: dict[str, Any], addresses: dict[str, int], stream: int) -> None:
        cuda = self._cuda
        assert cuda is not None
        shapes, addresses = dict(shapes), dict(addresses)

        def work() -> None:
            images = cuda.view(addresses["images"], "float32", shapes["images"])
            outputs = self._reference.infer({"images": np.array(images)})
            outputs["scores"] = outputs["scores"] + np.float32(self.wrong)
            for name, array in outputs.items():
                cuda.view(addresses[name], "float32", shapes[name])[:] = array

        cuda.enqueue(stream, work, list(addresses.values()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of one small network in all precisions, and a clip."""
    folder = tmp_path_factory.mktemp("models")
    for precision in ("fp32", "fp16", "int8"):
        write_model(folder / f"{NETWORK}.{precision}.onnx", precision)
    write_cache(folder / f"{NETWORK}.{CACHE}", {"images": 1 / 127}, "8.5.3")
    write_sequence(folder / "clip", SyntheticClip(frames=FRAMES + 1, size=(160, 96), people=2))
    return folder


@pytest.fixture
def gpu(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gpu]:
    monkeypatch.setattr(run_module, "_ROOT", tmp_path)  # no tests of this checkout
    gpu = Gpu(monkeypatch, folder / f"{NETWORK}.fp32.onnx", "8.5.3.1")
    yield gpu
    gpu.close()


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> SelftestConfig:
    return config_of(folder, tmp_path)


def config_of(models: Path, folder: Path) -> SelftestConfig:
    return SelftestConfig(
        source=str(models / "clip"),
        folder=folder / "plans",
        models=models,
        networks=(NETWORK,),
        frames=FRAMES,
        warm_up=1,
        repeats=1,
        torch_python="another",
    )


class Record:
    """Does steps in this process, or only says that they are done; some are made to fail."""

    def __init__(self, real: Sequence[str] = (), faults: Sequence[str] = (), **errors: str) -> None:
        self.done: list[str] = []
        self.real, self.errors, self.faults = real, errors, list(faults)

    def __call__(self, task: Task, name: str, seconds: float) -> Outcome:
        assert seconds > 0
        self.done.append(name)
        if task.kind in self.errors:
            return Outcome(error=self.errors[task.kind])
        if task.kind not in self.real:
            if task.kind == "build":
                task.plan.write_bytes(b"a plan")
            return Outcome(facts={"faults": self.faults})
        return do(msgspec.json.decode(msgspec.json.encode(task), type=Task))


Whole = tuple[SelftestResult, Path, Record, Scenario]


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A whole run."""
    place = tmp_path_factory.mktemp("whole")
    record, output = Record(REAL), place / "result.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_ROOT", place)
        gpu = Gpu(patch, folder / f"{NETWORK}.fp32.onnx", "8.5.3.1")
        result = selftest(config_of(folder, place), output, run_step=record)
        gpu.close()
    return result, output, record, gpu.scenario


def test_whole(whole: Whole) -> None:
    result, output, record, scenario = whole
    assert {step.name: step.reason for step in result.in_state("failed")} == {}
    skipped = {step.name: step.reason for step in result.in_state("skipped")}
    assert list(skipped) == ["tests"]
    # What is worth most comes first, and nothing before what it needs.
    assert record.done[:4] == [
        *("machine", f"build {NETWORK}.fp16", f"time {NETWORK}.fp16", f"torch {NETWORK}"),
    ]
    assert record.done.index(f"build {NETWORK}.{CACHE}") < record.done.index(
        f"time {NETWORK}.{CACHE}"
    )
    rows = {(row.name, row.precision): row for row in result.rows}
    assert {precision for name, precision in rows if name == "nano"} == {
        *("fp16", "int8", "fp32", CACHE),
    }
    assert len([name for name, _ in rows if name != "nano"]) == 4
    row = rows["nano", "fp16"]
    assert row.size == Size(128, 64)
    assert row.gpu_memory is not None
    assert network_fps(row) == pytest.approx(500.0)  # two milliseconds by the stand-in's clock
    assert row.runs[0].steady  # by the stand-in's clock, which is even
    verified = result.step(f"verify {NETWORK}.fp16")
    assert verified is not None
    assert verified.facts["pairs"] > 0
    layers = result.step(f"layers {NETWORK}.fp16")
    assert layers is not None
    assert layers.facts["milliseconds"] == pytest.approx(0.3)
    assert list(layers.facts["slowest_ms"]) == ["/network/body/conv", "reformat"]
    built = {tuple(build["flags"]): build["calibrator"] for build in scenario.builds}
    assert any(calibrator and "INT8" in flags for flags, calibrator in built.items())
    # Whole, and readable by what compares benchmarks.
    assert read_result(output).benchmark == "selftest"
    changes = compare(read_result(output), read_result(output), anyway=True)
    assert len(changes.rows) == len(result.rows)
    assert msgspec.json.decode(output.read_bytes(), type=SelftestResult) == result
    page = selftest_page(result)
    assert page.index(headline(result)) < page.index("<svg") < page.index("Machine and settings")


def test_a_second_run_does_what_is_not_done(
    gpu: Gpu, config: SelftestConfig, tmp_path: Path, folder: Path
) -> None:
    output = tmp_path / "result.json"
    first = Record(time="made to fail")
    result = selftest(config, output, run_step=first)
    assert {step.name.split(" ")[0] for step in result.in_state("failed")} == {"time"}
    second = Record()
    result = selftest(config, output, run_step=second)
    assert {name.split(" ")[0] for name in second.done} == {"time"}
    assert not result.in_state("failed")
    # A plan that is gone, and a model that is another.
    (config.folder / f"{NETWORK}.fp32.plan").unlink()
    third = Record()
    selftest(config, output, run_step=third)
    assert third.done == [f"build {NETWORK}.fp32"]


def test_another_model_is_measured_again(
    gpu: Gpu, config: SelftestConfig, tmp_path: Path, folder: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    model = models / f"{NETWORK}.int8.onnx"
    model.write_bytes((folder / model.name).read_bytes())
    config = (
        msgspec.structs.replace(config)
        if False
        else SelftestConfig(**{**vars(config), "models": models, "torch_python": None})
    )
    output = tmp_path / "result.json"
    selftest(config, output, run_step=Record())
    model.write_bytes((folder / model.name).read_bytes() + b"\x42\x00")  # an empty field
    run_module._digest.cache_clear()
    record = Record()
    selftest(config, output, run_step=record)
    assert f"build {NETWORK}.int8" in record.done
    assert not {name for name in record.done if ".fp16" in name or ".fp32" in name}


def test_other_settings_or_files_are_refused(
    gpu: Gpu, config: SelftestConfig, tmp_path: Path
) -> None:
    output = tmp_path / "result.json"
    short = SelftestConfig(**{**vars(config), "minutes": 0.001})
    selftest(short, output, run_step=Record())
    other = SelftestConfig(**{**vars(config), "frames": FRAMES - 1})
    with pytest.raises(ConfigError, match="frames 4 there and 3 here"):
        selftest(other, output, run_step=Record())
    content = json.loads(output.read_text())
    content["machine"]["cpu"] = "another"
    output.write_text(json.dumps(content))
    with pytest.raises(DataError, match="another machine"):
        selftest(config, output, run_step=Record())
    output.write_text("{}")
    with pytest.raises(DataError, match="selftest gpu"):
        selftest(config, output, run_step=Record())


def test_what_no_longer_fits_is_skipped_and_said(
    gpu: Gpu, config: SelftestConfig, tmp_path: Path
) -> None:
    short = SelftestConfig(**{**vars(config), "minutes": (KINDS["build"] - 1) / 60})
    record = Record()
    result = selftest(short, tmp_path / "result.json", run_step=record)
    reasons = {step.name: step.reason for step in result.in_state("skipped")}
    assert record.done[0] == "machine"
    assert "of which" in (reasons[f"build {NETWORK}.fp16"] or "")
    assert "which was not done" in (reasons[f"time {NETWORK}.fp16"] or "")
    assert "torch " + NETWORK in record.done  # what is shorter still fits


def test_estimates_follow_what_steps_took() -> None:
    todo = steps(None, ["nano-576x320"], weak_typing=True, torch=False, tests=False)
    before = estimates(todo)
    assert before["build nano-576x320.fp32"] == KINDS["build"]
    result = [
        SimpleNamespace(name="build nano-576x320.fp16", state="done", seconds=300.0),
        SimpleNamespace(name="build other", state="failed", seconds=1.0),
    ]
    after = estimates(todo, result)  # type: ignore[arg-type]
    assert after["build nano-576x320.fp32"] == 300.0
    assert after["verify nano-576x320.fp32"] == KINDS["verify"]


def test_a_wrong_plan_misses_a_limit(gpu: Gpu, config: SelftestConfig, tmp_path: Path) -> None:
    gpu.wrong = 0.3
    result = selftest(config, tmp_path / "result.json", run_step=Record(("build", "verify")))
    missed = {check.name.split(":")[0] for check in result.checks if not check.met}
    assert f"verify {NETWORK}.fp16" in missed
    assert "missed" in headline(result)


def test_limits(whole: Whole) -> None:
    result = msgspec.convert(msgspec.to_builtins(whole[0]), SelftestResult)
    [row] = [row for row in result.rows if (row.name, row.precision) == ("nano", "fp16")]
    network = network_fps(row)
    assert network is not None
    eager = msgspec.convert(msgspec.to_builtins(row), type(row))
    eager.precision, eager.backend = "fp32", "torch"
    for run in eager.runs:
        stage = run.stages["network"]
        assert stage is not None
        stage.mean *= 5.1
    result.rows.append(eager)
    row.system_fps = 0.96 * network
    met = {check.name: check.met for check in checks(result)}
    assert all(met.values())
    assert len([name for name in met if "PyTorch" in name]) == 1
    row.system_fps = 0.94 * network
    for run in eager.runs:
        stage = run.stages["network"]
        assert stage is not None
        stage.mean *= 0.9
    names = [check.name for check in checks(result) if not check.met]
    assert [("pipeline" in name, "PyTorch" in name) for name in names] == [
        (True, False),
        (False, True),
    ]


def test_without_a_gpu(config: SelftestConfig, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(run_module, "current_device", lambda: None)
    with pytest.raises(ConfigError, match="--dry-run"):
        selftest(config, tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()


def test_models_that_ship() -> None:
    assert find_model(None, "nano-576x320", "fp32") is not None
    assert find_model(None, "nano-576x320", "int8") is None
    assert find_model(None, "darknet53-1088x608", "fp32") is None
    with pytest.raises(ConfigError, match="network 'resnet-64x64'"):
        size_of("resnet-64x64")
    todo = steps(None, ["nano-576x320"], weak_typing=False, torch=True, tests=True)
    missing = {step.name for step in todo if step.missing}
    assert "build nano-576x320.fp16" in missing  # it is not made there
    assert "build nano-576x320.fp32" not in missing
    assert "torch nano-576x320" not in missing


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["selftest", "gpu", *arguments])
    return caught.value.code if isinstance(caught.value.code, int) else 0


@pytest.mark.parametrize(
    ("errors", "faults", "code"), [({}, [], 0), ({}, ["wrong"], 3), ({"streams": "x"}, [], 1)]
)
def test_command(
    errors: dict[str, str],
    faults: list[str],
    code: int,
    gpu: Gpu,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = Record(**errors, faults=faults)
    monkeypatch.setattr(run_module, "_in_a_process", lambda _: record)
    output = tmp_path / "result.json"
    line = f"-o {output} --models {folder} --networks {NETWORK} --source {folder / 'clip'}"
    assert run(*line.split(), "--keep", str(tmp_path / "kept")) == code
    out = capsys.readouterr().out
    assert ("MISSED" in out) == (code == 3)
    assert ("failed: streams" in out) == (code == 1)
    assert output.with_suffix(".html").read_text().startswith("<!doctype html>")


def test_dry_run_needs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--dry-run", "--minutes", "2") == 0
    out = capsys.readouterr().out
    assert "build nano-576x320.fp16" in out
    assert "no time" in out
    assert "2 are given" in out
    assert run() == 2


@pytest.mark.parametrize("seconds", [60.0, 0.2])
def test_a_step_in_a_process_of_its_own(
    seconds: float, config: SelftestConfig, tmp_path: Path
) -> None:
    """The real process; the build fails, as there is no such file, and a short time stops it."""
    config.folder.mkdir()
    [step] = [step for step in steps_here(config, None) if step.name == f"build {NETWORK}.fp32"]
    task = msgspec.structs.replace(run_module._task(step, config), files=["absent.onnx"])
    outcome = run_module._in_a_process(None)(task, step.name, seconds)
    assert outcome.error is not None
    assert ("stopped" in outcome.error) == (seconds < 1)
    assert (config.folder / f"build-{NETWORK}.fp32.log").exists()


def test_eager_gives_what_the_exported_graph_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    from tiny_network import save_tiny

    from jdetrt.config import ExportConfig
    from jdetrt.export.onnx_writer import export_onnx

    tiny = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    size = Size(128, 96)
    monkeypatch.setattr("jdetrt.benchmarks.selftest.eager.ExportConfig", lambda: _Top())
    export_onnx(tiny, tmp_path / "tiny.onnx", ExportConfig(size=size, top_k=50))
    images = np.random.default_rng(0).random((1, 3, 96, 128), np.float32)
    with (
        EagerSession(tiny, size, "cpu") as eager,
        OrtSession(tmp_path / "tiny.onnx", provider="cpu", threads=1) as exported,
    ):
        wanted, got = exported.infer({"images": images}), eager.infer({"images": images})
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, atol=1e-3)


class _Top:
    top_k = 50
