"""Ranges of a model's tensors: by hand, as ONNX Runtime measures them, and whatever interrupts."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    create_calibrator,
)
from phases import Phases
from small_graphs import graph
from tiny_network import SIZE, save_tiny

from jdetrt.calibration.quantize.qdq import tensors_to_quantise
from jdetrt.calibration.ranges.measure import measure
from jdetrt.calibration.ranges.probe import activations
from jdetrt.calibration.ranges.ranges import METHODS, Method, Range, Ranges, measure_ranges
from jdetrt.calibration.ranges.statistics import BINS, Statistics
from jdetrt.config import ExportConfig
from jdetrt.errors import CalibrationError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.types import Array


class Pictures:
    """Frames made up; those before ``broken`` come, then Ctrl-C or an error."""

    def __init__(self, arrays: list[Array], broken: BaseException | None = None, at: int = 0):
        self.arrays, self.broken, self.at = arrays, broken, at
        self.read = 0
        self.sha256 = hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()

    def __len__(self) -> int:
        return len(self.arrays)

    def batches(
        self, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        for array in self.arrays[start:]:
            if self.broken is not None and self.read == self.at:
                raise self.broken
            self.read += 1
            yield array


def by_hand(path: Path) -> tuple[Path, Pictures, dict[str, Array]]:
    """Two operators of which everything is known, and the values of three frames."""
    model = graph(
        [
            ("Mul", "/double", ["images", "two"], "doubled", {}),
            ("Relu", "/relu", ["doubled"], "active", {}),
            ("Mul", "/dead", ["active", "nought"], "dead", {}),
        ],
        {"two": np.array(-2, np.float32), "nought": np.array(0, np.float32)},
        ["dead"],
    )
    onnx.save(model, path)
    random = np.random.default_rng(1)
    frames = [random.normal(0, s, (1, 3, 8, 8)).astype(np.float32) for s in (0.2, 3, 1)]
    stacked = np.stack(frames)
    return (
        path,
        Pictures(frames),
        {
            "images": stacked,
            "doubled": -2 * stacked,
            "active": np.maximum(-2 * stacked, 0),
            "dead": np.zeros_like(stacked),
        },
    )


def test_min_max_by_hand(tmp_path: Path) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    ranges = measure_ranges(path, frames, list(values), "min-max")
    for name, value in values.items():
        low, high = float(value.min()), float(value.max())
        assert ranges.tensors[name] == Range(low, high, max(-low, high))
        if name != "dead":
            assert ranges.scale(name) == np.abs(value).max() / 127
    assert ranges.scale("dead") == 1 / 127  # any but 0: TensorRT 8.5 fails on a scale of 0
    assert ranges.zeros == ("dead",)
    assert ranges.scales() == {name: ranges.scale(name) for name in values}
    assert ranges.frames == 3
    with pytest.raises(CalibrationError, match="range of 'other' was not measured"):
        ranges.scale("other")


def test_histograms_are_those_of_all_frames_at_once(tmp_path: Path) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    statistics = measure(path, frames, list(values))
    for name in ("images", "doubled", "active"):
        bound = np.abs(values[name]).max()
        want, _ = np.histogram(values[name], BINS, range=(-bound, bound))
        np.testing.assert_array_equal(statistics.histogram(name).counts, want)
    backwards = measure(path, Pictures(frames.arrays[::-1]), list(values))
    np.testing.assert_array_equal(backwards.counts, statistics.counts)


def test_mse_by_hand(tmp_path: Path) -> None:
    path, _, _ = by_hand(tmp_path / "m.onnx")
    values = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8) % 128
    ranges = measure_ranges(path, Pictures([values, values]), ["images", "doubled"], "mse")
    assert ranges.scale("images") == 1
    assert ranges.scale("doubled") == 2


def test_a_small_budget_needs_more_passes_and_changes_nothing(tmp_path: Path) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    phases = Phases()
    tensors = list(values)
    one_each = measure(path, frames, tensors, budget=1, progress=phases)
    np.testing.assert_array_equal(one_each.counts, measure(path, frames, tensors).counts)
    assert frames.read == 3 * 5 + 3 * 2
    # One pass for the extremes, when it is not known yet that the histograms take four.
    extremes, histograms = "Measuring extremes", "Counting histograms"
    assert phases.steps == [
        *((extremes, i, 3) for i in (1, 2, 3)),
        *((histograms, i, 12) for i in range(1, 13)),
    ]
    assert phases.finished == [extremes, histograms]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pictures]:
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        checkpoint = save_tiny(folder / "tiny.safetensors", patch)
        model = folder / "tiny.onnx"
        export_onnx(checkpoint, model, ExportConfig(size=SIZE, top_k=50, half_weights=True))
    random = np.random.default_rng(2)
    frames = [random.random((1, 3, SIZE[1], SIZE[0]), np.float32) * s for s in (0.3, 1, 0.7)]
    return model, Pictures(frames)


class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    def __init__(self, frames: Pictures) -> None:
        self._left = iter([{"images": array} for array in frames.arrays])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


@pytest.mark.parametrize("method", ["min-max", "percentile"])
def test_ranges_of_a_network_are_onnx_runtimes(
    tiny: tuple[Path, Pictures], tmp_path: Path, method: Method
) -> None:
    model, frames = tiny
    tensors = tensors_to_quantise(onnx.load(model))
    calibrator = create_calibrator(
        model,
        augmented_model_path=str(tmp_path / "augmented.onnx"),
        calibrate_method={
            "min-max": CalibrationMethod.MinMax,
            "percentile": CalibrationMethod.Percentile,
        }[method],
        extra_options={"symmetric": True, "num_bins": BINS // 2, "percentile": 99.9},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator.collect_data(Reader(frames))
        theirs = calibrator.compute_data()
    ours = measure_ranges(model, frames, tensors, method, percent=99.9)
    assert len(tensors) > 10
    for name in tensors:
        limit = max(abs(np.asarray(one).item()) for one in theirs[name].range_value)
        # They run without optimisation, which rounds otherwise, and a bin is wider than that.
        width = ours.tensors[name].limit * 1e-5 if method == "min-max" else ours_bin(ours, name)
        assert ours.tensors[name].limit == pytest.approx(limit, abs=width), name


def test_entropy_of_a_graph_is_onnx_runtimes(tmp_path: Path) -> None:
    path, frames, _ = by_hand(tmp_path / "m.onnx")
    calibrator = create_calibrator(
        path,
        ["Relu"],
        augmented_model_path=str(tmp_path / "augmented.onnx"),
        calibrate_method=CalibrationMethod.Entropy,
        extra_options={"num_bins": BINS},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator.collect_data(Reader(frames))
        theirs = calibrator.compute_data()
    ours = measure_ranges(path, frames, ["doubled", "active"], "entropy")
    for name, one in ours.tensors.items():
        assert one.limit == max(abs(float(bound)) for bound in theirs[name].range_value)


def ours_bin(ranges: Ranges, name: str) -> float:
    one = ranges.tensors[name]
    return 1.01 * max(-one.low, one.high) / (BINS // 2)


def test_all_methods_from_one_measurement(tiny: tuple[Path, Pictures], tmp_path: Path) -> None:
    model, frames = tiny
    tensors = tensors_to_quantise(onnx.load(model))[::5]
    state = tmp_path / "state.npz"
    first = measure_ranges(model, frames, tensors, "entropy", state=state)
    before = frames.read
    ranges = {m: measure_ranges(model, frames, tensors, m, state=state) for m in METHODS}
    assert frames.read == before  # no frame is run again
    assert ranges["entropy"] == first
    for name in tensors:
        limits = {method: found.tensors[name].limit for method, found in ranges.items()}
        assert 0 < limits["entropy"] <= limits["min-max"], name
        assert 0 < limits["mse"] <= limits["min-max"] * 1.000001, name
        assert limits["percentile"] <= limits["min-max"], name


def test_activations_are_the_networks_alone(tiny: tuple[Path, Pictures]) -> None:
    model = onnx.load(tiny[0])
    names = activations(model)
    assert names[0] == "images"
    made = {name: node for node in model.graph.node for name in node.output}
    assert {made[name].op_type for name in names[1:]} >= {"Conv", "Concat", "Resize"}
    assert not any(made[name].name.startswith("/decode/") for name in names[1:])
    assert "Cast" not in {made[name].op_type for name in names[1:]}  # weights stored in half
    assert set(tensors_to_quantise(model)) <= set(names)
    measured = measure_ranges(tiny[0], tiny[1], names, "min-max")
    assert len(measured.tensors) == len(names)


@pytest.mark.parametrize("broken", [KeyboardInterrupt(), CalibrationError("frame 3 is gone")])
@pytest.mark.parametrize("at", [2, 4, 7])
def test_interrupted_and_gone_on(
    tmp_path: Path, broken: BaseException, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    tensors = list(values)
    whole = measure(path, frames, tensors, budget=1)
    state = tmp_path / "state.npz"
    stopped = Pictures(frames.arrays, broken, at)
    with pytest.raises(type(broken)):
        measure(path, stopped, tensors, budget=1, state=state, keep_every=100)
    left = Pictures(frames.arrays)
    phases = Phases()
    found = measure(path, left, tensors, budget=1, state=state, progress=phases)
    np.testing.assert_array_equal(found.counts, whole.counts)
    np.testing.assert_array_equal(found.low, whole.low)
    assert left.read == 15 - at  # nothing is done twice
    before = {"Measuring extremes": 0, "Counting histograms": 3}
    done = [before[phase] + frames for phase, frames, _ in phases.steps]
    assert done == list(range(at + 1, 16))


def test_the_state_is_kept_on_the_way(tmp_path: Path) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    state = tmp_path / "state.npz"
    kept: list[tuple[int, bool]] = []

    class Watch(Phases):
        def advance(self, phase: str, done: int) -> None:
            kept.append((done, state.exists()))

    measure(
        path,
        frames,
        list(values),
        state=state,
        keep_every=2,
        progress=Watch(),
    )
    # It is written after the second frame of a pass, and at the end.
    assert kept[:3] == [(1, False), (2, False), (3, True)]
    assert [entry.name for entry in tmp_path.iterdir()].count("state.npz") == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_state_of_something_else(tmp_path: Path) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    state = tmp_path / "state.npz"
    tensors = list(values)
    measure(path, frames, tensors, state=state, histograms=False)
    with pytest.raises(CalibrationError, match="with other frames"):
        measure(path, Pictures(frames.arrays[:2]), tensors, state=state)
    with pytest.raises(CalibrationError, match="with other tensors"):
        measure(path, frames, tensors[:2], state=state)
    with pytest.raises(CalibrationError, match="with other budget"):
        measure(path, frames, tensors, state=state, budget=7)
    onnx.save(onnx.load(path), path)
    other = onnx.load(path)
    other.doc_string = "another"
    onnx.save(other, path)
    with pytest.raises(CalibrationError, match="with other model"):
        measure(path, frames, tensors, state=state)
    whole = state.read_bytes()
    for damaged in (whole[:300], b"", b"no state", whole[:-200]):
        state.write_bytes(damaged)
        with pytest.raises(CalibrationError, match="not the state of a calibration, or is damaged"):
            measure(path, frames, tensors, state=state)


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    path, frames, _ = by_hand(tmp_path / "m.onnx")
    for bad in (np.nan, np.inf, -np.inf):
        frames.arrays[1][0, 1, 2, 3] = bad
        with pytest.raises(CalibrationError, match=r"frame 2 of the list: tensor 'images' holds"):
            measure_ranges(path, frames, ["images", "active"], "min-max")


def test_what_cannot_be_measured(tmp_path: Path) -> None:
    path, frames, _ = by_hand(tmp_path / "m.onnx")
    with pytest.raises(CalibrationError, match="has no tensor 'a', 'b'; the names are those of"):
        measure_ranges(path, frames, ["a", "images", "b"])
    with pytest.raises(CalibrationError, match="no tensor 'two'"):  # a weight
        measure_ranges(path, frames, ["two"])
    for tensors in ([], ["images", "images"]):
        with pytest.raises(CalibrationError, match="one or more tensors, no two alike"):
            measure_ranges(path, frames, tensors)
    with pytest.raises(CalibrationError, match=r"1 frame or more .*got 0"):
        measure_ranges(path, Pictures([]), ["images"])
    with pytest.raises(CalibrationError, match="method 'best': expected one of min-max, perc"):
        measure_ranges(path, frames, ["images"], "best")  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match="percentile 0: expected"):
        measure_ranges(path, frames, ["images"], "percentile", percent=0)
    with pytest.raises(CalibrationError, match="failed to run the model"):
        measure_ranges(path, Pictures([np.zeros((1, 4, 8, 8), np.float32)]), ["images"])
    with pytest.raises(CalibrationError, match=r"absent\.onnx"):
        measure_ranges(tmp_path / "absent.onnx", frames, ["images"])
    (tmp_path / "m.onnx").write_bytes(b"\x08no model")
    with pytest.raises(CalibrationError, match="cut short or not an ONNX model"):
        measure_ranges(path, frames, ["images"])


def test_a_half_precision_tensor_is_refused(tmp_path: Path) -> None:
    model = graph(
        [
            ("Cast", "/half", ["images"], "halved", {"to": onnx.TensorProto.FLOAT16}),
            ("Cast", "/single", ["halved"], "single", {"to": onnx.TensorProto.FLOAT}),
        ],
        {},
        ["single"],
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    for method in METHODS[:2]:
        with pytest.raises(CalibrationError, match=r"'.*halved' is tensor\(float16\)"):
            measure_ranges(path, Pictures([np.zeros((1, 3, 8, 8), np.float32)]), ["halved"], method)


def test_written_and_read_back(tmp_path: Path) -> None:
    path, frames, values = by_hand(tmp_path / "m.onnx")
    ranges = measure_ranges(path, frames, list(values), "percentile", percent=99)
    file = tmp_path / "ranges.json"
    ranges.write(file)
    assert Ranges.read(file) == ranges
    told = json.loads(file.read_text())
    assert told["method"] == "percentile"
    assert told["percent"] == 99
    assert told["model_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["frames_sha256"] == frames.sha256
    for text, words in (
        ("{", "is not a file of calibration ranges"),
        (file.read_text().replace("percentile", "guess"), "is not a file of calibration ranges"),
        (file.read_text().replace('"format": 1', '"format": 9'), "of format 9"),
    ):
        file.write_text(text)
        with pytest.raises(CalibrationError, match=words):
            Ranges.read(file)
    with pytest.raises(CalibrationError, match="cannot be read"):
        Ranges.read(tmp_path / "absent.json")


def _state(path: Path) -> None:
    statistics = Statistics(("a", "b"))
    statistics.low[:], statistics.high[:] = -1, 2
    statistics.elements[:], statistics.counts[:] = 10, 3
    statistics.passes, statistics.frames = 1, 2
    statistics.write(path, {"model": "m"})


def _spoilt(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def spoil(arrays: dict[str, Any]) -> None:
        arrays[name] = value(arrays[name])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_spoilt("low", lambda low: low * np.nan), "an extreme is not finite"),
        (_spoilt("high", lambda high: high - 10), "a smallest value is above the largest"),
        (_spoilt("counts", lambda counts: -counts), "a count is negative"),
        (_spoilt("elements", lambda elements: -elements), "a count is negative"),
        (_spoilt("counts", lambda counts: counts[:1]), "'counts' is int64 of shape"),
        (_spoilt("low", lambda low: low.astype(np.float64)), "'low' is float64 of shape"),
        (_spoilt("elements", lambda elements: elements.astype(object)), "is damaged"),
        (_spoilt("counts", lambda counts: np.zeros(1 << 22)), "'counts' has [0-9,]+ bytes"),
    ],
)
def test_a_state_that_no_measurement_writes(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], says: str
) -> None:
    path = tmp_path / "a.state"
    _state(path)
    assert Statistics.read(path, {"model": "m"}, ("a", "b")).frames == 2
    with np.load(path) as saved:
        arrays = dict(saved)
    spoil(arrays)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    with pytest.raises(CalibrationError, match=rf"a\.state: .*{says}.*; delete it and start again"):
        Statistics.read(path, {"model": "m"}, ("a", "b"))
