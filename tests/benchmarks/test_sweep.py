"""The sweep: what it makes, in which order it runs, what it keeps when it is stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_network import SIZE as TINY
from tiny_network import save_tiny

from jdetrt.benchmarks import sweep as sweeping
from jdetrt.benchmarks.latency import measure_run
from jdetrt.benchmarks.model_store import Configuration, ModelStore
from jdetrt.benchmarks.result import Result, Row, Run, SweepConfig, read_result, to_json
from jdetrt.benchmarks.sweep import sweep
from jdetrt.cli.progress import ProgressBars
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt import compat, plan_cache
from jdetrt.errors import ConfigError, DataError
from jdetrt.machine.cool_down import CoolDown
from jdetrt.machine.sensors.base import Reading, Sensors
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.types import Size

SIZE, LARGER = Size(*TINY), Size(160, 96)


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(write_sequence(tmp_path / "clip", SyntheticClip(frames=4, size=(160, 96), people=3)))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    source = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    return ModelStore(source, tmp_path / "models", top_k=1008)


class Noted(ProgressBars):
    """Progress that keeps its messages."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def message(self, text: str) -> None:
        self.lines.append(text)


def run(
    store: ModelStore, clip: str, output: Path, wanted: list[Configuration], **options: Any
) -> Result[Any]:
    gt = options.pop("gt", None)
    quick = {"frames": 2, "warm_up": 1, "repeats": 2, "cool_down": 0, "rest": 0, **options}
    quick.setdefault("perturbed_runs", 0)
    return sweep(store, wanted, clip, output, SweepConfig(**quick), gt=gt)


def test_a_sweep_of_two_sizes_with_accuracy(store: ModelStore, clip: str, tmp_path: Path) -> None:
    wanted = [Configuration(size, "fp32", "onnxruntime") for size in (SIZE, LARGER)]
    wanted.append(Configuration(SIZE, "fp32", "torch"))
    result = run(store, clip, tmp_path / "out.json", wanted, gt=clip)
    assert read_result(tmp_path / "out.json") == result
    assert [row.size for row in result.rows] == [SIZE, LARGER, SIZE]
    for row in result.rows:
        assert row.error is None
        assert len(row.runs) == 2
        assert set(row.accuracy or {}) >= {"HOTA", "MOTA", "IDF1", "AP50"}
        assert isinstance(row.pareto, bool)
        speeds = [one.system_fps for one in row.runs]
        assert row.system_fps == pytest.approx(sum(speeds) / 2)
    # The same network by torch and by ONNX Runtime is as accurate.
    first, _, torch = result.rows
    assert torch.accuracy == pytest.approx(first.accuracy)
    assert torch.deploy is None
    assert first.deploy == f"jdetrt track {clip} --model {tmp_path / 'models' / str(first.model)}"
    names = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert names == sorted({str(row.model) for row in result.rows[:2]})
    assert all(store.digest[:8] in name for name in names)


def test_one_that_fails_keeps_its_reason_and_the_others_go_on(
    store: ModelStore, clip: str, tmp_path: Path
) -> None:
    wanted = [
        Configuration(Size(100, 64), "fp32", "onnxruntime"),
        Configuration(LARGER, "fp32", "onnxruntime"),
    ]
    bad, good = run(store, clip, tmp_path / "out.json", wanted, repeats=1).rows
    assert str(bad.error).startswith("ConfigError")
    assert "100" in str(bad.error)
    assert (bad.runs, bad.pareto) == ([], None)
    assert (good.error, len(good.runs)) == (None, 1)


def test_a_stopped_sweep_goes_on_where_it_was(
    store: ModelStore, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.json"
    wanted = [Configuration(size, "fp32", "onnxruntime") for size in (SIZE, LARGER)]
    done = 0

    def stop_at_the_third(*arguments: Any, **options: Any) -> Run:
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return measure_run(*arguments, **options)

    monkeypatch.setattr(sweeping, "measure_run", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(store, clip, output, wanted)
    kept = read_result(output)
    assert [len(row.runs) for row in kept.rows] == [1, 1]
    result = run(store, clip, output, wanted, repeats=3)
    assert done == 3 + 4  # two more repeats of both, and nothing again
    for row, before in zip(result.rows, kept.rows, strict=True):
        assert len(row.runs) == 3
        assert row.runs[0] == before.runs[0]


def test_other_settings_or_another_machine_are_not_mixed_in(
    store: ModelStore, clip: str, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    wanted = [Configuration(LARGER, "fp32", "onnxruntime")]
    result = run(store, clip, output, wanted, repeats=1)
    with pytest.raises(ConfigError, match="frames 2 there and 3 here"):
        run(store, clip, output, wanted, frames=3)
    result.machine.cpu = "another"
    output.write_text(to_json(result))
    with pytest.raises(DataError, match="cpu: another and"):
        run(store, clip, output, wanted)
    result.benchmark = "latency"
    output.write_text(to_json(result))
    with pytest.raises(DataError, match="another benchmark"):
        run(store, clip, output, wanted)
    output.write_text("{")
    with pytest.raises(DataError, match="not a result"):
        run(store, clip, output, wanted)
    output.write_text("{}")
    with pytest.raises(DataError, match=r"out\.json: .*`benchmark`"):
        run(store, clip, output, wanted)


def test_blocks_are_shuffled_and_complete() -> None:
    wanted = [Configuration(Size(32 * k, 32), "fp32", "onnxruntime") for k in range(1, 9)]
    pairs = [(one, Row(size=one.size)) for one in wanted]
    orders = [[one.size[0] for one, _ in sweeping._order(pairs, 3, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    blocks = [orders[0][start : start + 8] for start in (0, 8, 16)]
    for block in blocks:
        assert sorted(block) == [32 * k for k in range(1, 9)]
    assert len(set(map(tuple, blocks))) == 3


def test_what_cannot_be_made(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision 'fp4'"):
        Configuration(SIZE, "fp4", "onnxruntime")
    with pytest.raises(ConfigError, match="backend 'tpu'"):
        Configuration(SIZE, "fp32", "tpu")
    with pytest.raises(ConfigError, match="torch runs checkpoints, in fp32"):
        store.prepare(Configuration(SIZE, "fp16", "torch"))
    onnx = store.prepare(Configuration(LARGER, "fp32", "onnxruntime"))
    given = ModelStore(onnx, tmp_path / "other")
    assert given.prepare(Configuration(LARGER, "fp32", "onnxruntime")) == onnx
    with pytest.raises(ConfigError, match="no ONNX model has this size"):
        given.prepare(Configuration(SIZE, "fp32", "onnxruntime"))
    with pytest.raises(ConfigError, match="torch runs checkpoints"):
        given.prepare(Configuration(LARGER, "fp32", "torch"))
    other = store.prepare(Configuration(SIZE, "fp32", "onnxruntime"))
    pair = ModelStore([onnx, other], tmp_path / "other")
    assert pair.prepare(Configuration(SIZE, "fp32", "onnxruntime")) == other
    assert pair.name == f"{onnx.name}, {other.name}"
    assert pair.digest not in (given.digest, store.digest)
    with pytest.raises(ConfigError, match="one checkpoint, or one or more ONNX"):
        ModelStore([onnx, store.models[0]], tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        ModelStore(tmp_path / "none.pt", tmp_path)


def test_anchors_are_those_of_training_at_every_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsized = save_tiny(tmp_path / "unsized.safetensors", monkeypatch, size=None)
    targets = [Configuration(LARGER, "fp32", backend) for backend in ("onnxruntime", "torch")]
    store = ModelStore(unsized, tmp_path / "models", top_k=50)
    for target in targets:
        with pytest.raises(ConfigError, match=r"unsized.*--trained-size 1088x608"):
            store.prepare(target)
    told = ModelStore(unsized, tmp_path / "models", top_k=50, trained_size=Size(1088, 608))
    path = told.prepare(targets[0])
    anchors = anchor_sizes(1088, 608)
    for target in targets:
        with told.open(target) as session:
            assert json.loads(session.metadata["anchors"]) == anchors.tolist()
    # Another answer is another file.
    other = ModelStore(unsized, tmp_path / "models", top_k=50, trained_size=SIZE)
    assert other.prepare(targets[0]) != path
    with pytest.raises(ConfigError, match="for checkpoints"):
        ModelStore(path, tmp_path, trained_size=SIZE)


def test_accuracy_is_a_mean_over_perturbed_boxes(
    store: ModelStore, clip: str, tmp_path: Path
) -> None:
    wanted, output = [Configuration(SIZE, "fp32", "onnxruntime")], tmp_path / "out.json"
    [single] = run(store, clip, output, wanted, gt=clip, repeats=1).rows
    assert single.perturbed is None
    # Asked for later, it is measured again; the speed is not.
    [row] = run(store, clip, output, wanted, gt=clip, repeats=1, perturbed_runs=3).rows
    assert row.perturbed is not None
    assert row.accuracy is not None
    assert row.accuracy == single.accuracy
    assert {name: len(values) for name, values in row.perturbed.items()} == {
        "HOTA": 3,
        "MOTA": 3,
        "IDF1": 3,
    }
    assert row.score("MOTA") == pytest.approx(sum(row.perturbed["MOTA"]) / 3)
    assert row.score("AP50") == row.accuracy["AP50"]  # which has no such chance
    assert len(row.runs) == 1
    with pytest.raises(ConfigError, match="perturbed_runs: expected 0, or 2 or more, got 1"):
        SweepConfig(perturbed_runs=1)
    two = tmp_path / "both"
    two.mkdir()
    for name in ("a", "b"):
        write_sequence(two / name, SyntheticClip(frames=2, size=(160, 96), people=3))
    [row] = run(
        store, clip, tmp_path / "2.json", wanted, gt=str(two), repeats=1, perturbed_runs=2
    ).rows
    assert "need one MOT sequence" in str(row.error)


def test_half_precision_is_another_model(store: ModelStore, clip: str, tmp_path: Path) -> None:
    wanted = [Configuration(SIZE, precision, "onnxruntime") for precision in ("fp32", "fp16")]
    rows = run(store, clip, tmp_path / "out.json", wanted, repeats=1).rows
    assert [row.error for row in rows] == [None, None]
    assert rows[0].model != rows[1].model
    with store.open(wanted[1]) as session:
        assert session.metadata["precision"] == "fp16"


def test_int8_is_calibrated_and_taken_as_it_is(
    store: ModelStore, clip: str, tmp_path: Path
) -> None:
    wanted = [Configuration(SIZE, "int8", backend) for backend in ("onnxruntime", "tensorrt-rtx")]
    with pytest.raises(ConfigError, match="name a source to calibrate on"):
        store.prepare(wanted[0])
    said: list[str] = []
    made = ModelStore(
        store.models[0],
        store.folder,
        top_k=1008,
        calibration=[clip],
        calibration_frames=2,
        progress=Noted(said),
    )
    rows = run(made, clip, tmp_path / "out.json", wanted[:1], repeats=1).rows
    assert (rows[0].error, len(rows[0].runs)) == (None, 1)
    path = tmp_path / "models" / str(rows[0].model)
    with open_session(path) as session:
        assert session.metadata["precision"] == "int8"
        assert session.metadata["int8_layout"] == "onnxruntime"
    # For TensorRT it has another form, which came with it.
    other = made._onnx(wanted[1])
    with open_session(other) as session:
        assert session.metadata["int8_layout"] == "tensorrt"
    assert sum(line.startswith("quantising") for line in said) == 1
    # One's own, beside the float one.
    own = ModelStore([made._exported(Configuration(SIZE, "fp32", "onnxruntime")), path], tmp_path)
    assert own.prepare(wanted[0]) == path


def test_plans_are_built_when_they_are_prepared(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    monkeypatch.setattr(compat, "load", lambda backend: backend)
    monkeypatch.setattr(
        plan_cache,
        "find_or_build",
        lambda trt, model, progress: built.append((trt, model)),
    )
    wanted = Configuration(SIZE, "fp32", "tensorrt")
    path = store.prepare(wanted)
    assert built == [("tensorrt", path)]
    assert store.deploy_command(wanted, "cam.mp4") == (
        f"jdetrt track cam.mp4 --model {path} --backend tensorrt"
    )
    opened = []
    monkeypatch.setattr(
        "jdetrt.benchmarks.model_store.open_session", lambda path, **more: opened.append(more)
    )
    store.cuda_graph = True
    command = store.deploy_command(wanted, "cam.mp4")
    assert command is not None
    assert command.endswith("--backend tensorrt")
    for backend in ("tensorrt", "onnxruntime"):
        store.open(Configuration(SIZE, "fp32", backend))
    assert [more["cuda_graph"] for more in opened] == [True, None]


class Cooling:
    """A sensor that is ten degrees cooler each time that it is read."""

    name = scope = "cooling"

    def __init__(self, celsius: float) -> None:
        self.celsius, self.closed = celsius, 0

    def read(self) -> Reading:
        self.celsius -= 10
        return Reading(celsius={"gpu": self.celsius + 10, "regulator": 100.0})

    def close(self) -> None:
        self.closed += 1


def test_it_waits_until_it_is_as_cool_as_before() -> None:
    waits: list[float] = []
    sensor = Cooling(40.0)
    wait = CoolDown(2.0, lambda: Sensors([sensor], {}), waits.append)
    wait()
    assert waits == [2.0]
    sensor.celsius = 65.0
    wait()  # 65, 55, 45, then 35 is no more than 3 above 40
    assert waits == [2.0] * 5
    sensor.celsius = 1000.0
    wait()
    assert len(waits) == 5 + 10  # not for ever
    assert sensor.closed == 3
    without = CoolDown(1.0, lambda: Sensors([], {}), waits.append)
    without()
    without()
    assert waits[15:] == [1.0, 1.0]
    CoolDown(0, lambda: Sensors([sensor], {}), waits.append)()
    assert len(waits) == 17
