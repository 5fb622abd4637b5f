"""From a model and pictures to a quantised model, its record and its report."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from phases import Phases
from small_graphs import run_onnx
from tiny_network import SIZE, save_tiny

from jdetrt.calibration.calibrate import Calibration, _refuse_overflow, calibrate
from jdetrt.calibration.config import METHODS, CalibrationConfig
from jdetrt.calibration.frames.choose import FrameList, choose_frames
from jdetrt.calibration.quantize.layers import read_model
from jdetrt.calibration.quantize.qdq import layer_names, quantise
from jdetrt.calibration.ranges.ranges import Range
from jdetrt.calibration.record import Accuracy, CalibrationRecord, record
from jdetrt.calibration.report import page
from jdetrt.calibration.score import Speed
from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.errors import CalibrationError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    with pytest.MonkeyPatch.context() as patch:
        source = save_tiny(folder / "tiny.safetensors", patch)
        export_onnx(source, folder / "model.onnx", ExportConfig(top_k=200))
    (folder / "footage").mkdir()
    for i, picture in enumerate(synthetic_pictures(6, SIZE, seed=5)):
        cv2.imwrite(str(folder / "footage" / f"{i}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def frames(folder: Path) -> FrameList:
    return choose_frames([folder / "footage"], 5, network_size=SIZE)


PHASES = Phases()
KEPT = "/network/body/first/first.0/conv/Conv"


@pytest.fixture(scope="module")
def found(folder: Path, frames: FrameList) -> Calibration:
    config = CalibrationConfig(
        model=folder / "model.onnx",
        target_cosine=0.0,
        max_ap_drop=1.0,
        leave_out=("*/first.0/*",),
        compare_frames=3,
        state=folder / "state",
        threads=1,
    )
    return calibrate(config, frames, progress=PHASES)


def test_the_method_that_does_the_least_damage(folder: Path, found: Calibration) -> None:
    assert tuple(found.methods) == METHODS
    damages = {name: one.closeness.damage for name, one in found.methods.items()}
    assert damages[found.method] == min(damages.values())
    assert found.always == found.choice.left_out == (KEPT,)
    assert [damage.name for damage in found.damages] == layer_names(
        onnx.load(folder / "model.onnx")
    )
    assert record(found).compared_frames == 3
    # What the methods are compared by has this layer in float already.
    assert found.chosen.closeness == found.methods[found.method].closeness
    by_phase = {phase: (done, total) for phase, done, total in PHASES.steps}
    assert by_phase["Comparing methods"] == (4, 4)
    assert by_phase["Quantising one layer at a time"] == (len(found.damages), len(found.damages))
    assert by_phase["Choosing layers"] == (1, None)
    assert set(PHASES.finished) == PHASES.totals.keys()
    passes = ("Measuring extremes", "Counting histograms")
    measured = [one for one in PHASES.steps if one[0] in passes]
    assert measured[-1][1] == measured[-1][2]
    assert len(measured) == 10  # five frames, for extremes and for histograms, whatever the methods


def test_both_models_say_where_they_come_from(
    folder: Path, found: Calibration, frames: FrameList, tmp_path: Path
) -> None:
    expected = quantise(
        onnx.load(folder / "model.onnx"), found.ranges[found.method], found.choice.left_out
    )
    assert found.model.graph == expected.graph
    for model, layout in ((found.model, "tensorrt"), (found.cpu_model, "onnxruntime")):
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        with open_session(tmp_path / "model.onnx", provider="cpu") as session:
            notes = session.metadata
            session.infer({"images": next(frames.batches())})
        assert notes["precision"] == "int8"
        assert notes["int8_layout"] == layout
        assert notes["int8_float_layers"] == KEPT
        assert notes["calibration"] == f"{found.method}, 5 frames, sha256 {frames.sha256}"
        assert notes["body"] == "tiny"


def test_all_layers_by_one_method(folder: Path, frames: FrameList) -> None:
    config = CalibrationConfig(
        model=folder / "model.onnx",
        method="percentile",
        percentile=99.0,
        all_layers=True,
        compare_frames=1,
        threads=1,
    )
    found = calibrate(config, frames)
    assert tuple(found.methods) == ("percentile",)
    assert found.ranges["percentile"].percent == 99.0
    assert (found.damages, found.choice.left_out, config.targets) == ([], (), None)
    names = {node.name for node in found.model.graph.node if node.op_type == "QuantizeLinear"}
    assert "images/QuantizeLinear" in names
    run_onnx(found.cpu_model, next(frames.batches()))
    text = page(record(found))
    assert "All other layers are in INT8." in text
    assert "Not measured: no labelled sequence was given" in text


def test_ranges_for_a_calibration_cache(folder: Path, frames: FrameList) -> None:
    config = CalibrationConfig(
        model=folder / "model.onnx", method="min-max", all_layers=True, compare_frames=1, threads=1
    )
    few = calibrate(config, frames)
    more = calibrate(replace(config, calibration_cache=folder / "int8.cache"), frames)
    some, every = (set(one.ranges["min-max"].tensors) for one in (few, more))
    assert some < every
    made = {o for n in onnx.load(folder / "model.onnx").graph.node for o in n.output}
    assert every - {"images"} < made
    assert few.model.graph == more.model.graph


def test_the_rest_in_float16(folder: Path, frames: FrameList) -> None:
    config = CalibrationConfig(
        model=folder / "model.onnx",
        method="min-max",
        all_layers=True,
        leave_out=("*/embedding/Conv",),
        compare_frames=1,
        rest="fp16",
        threads=1,
    )
    found = calibrate(config, frames)
    notes = {entry.key: entry.value for entry in found.model.metadata_props}
    assert notes["precision"] == "int8+fp16"
    assert notes["int8_float_layers"].count("\n") == 2
    cpu = {entry.key: entry.value for entry in found.cpu_model.metadata_props}
    assert cpu["precision"] == "int8"
    assert found.chosen.closeness != found.methods["min-max"].closeness
    large = found.ranges["min-max"].tensors | {"images": Range(-7e4, 1.0, 1.0)}
    with pytest.raises(CalibrationError, match="images: reaches 70000, more than float16"):
        _refuse_overflow(msgspec.structs.replace(found.ranges["min-max"], tensors=large))


def test_models_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none.onnx: cannot be read"):
        read_model(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model at all")
    with pytest.raises(CalibrationError, match="not an ONNX model"):
        read_model(tmp_path / "text.onnx")


SCORES = {
    "ap50": 0.71,
    "tpr": 0.82,
    "coverage": 0.9,
    "mota": 61.5,
    "idf1": 70.25,
    "hota": 50.125,
    "idsw": 7,
    "fp": 80,
    "fn": 900,
}
SPEED = Speed(
    milliseconds={
        "FP32": {"mean": 20.0, "p50": 19.5, "p95": 24.0},
        "INT8 for ONNX Runtime": {"mean": 11.0, "p50": 10.0, "p95": 14.0},
    },
    speed_up={"INT8 for ONNX Runtime": 1.95},
    runs=30,
)


@pytest.fixture(scope="module")
def data(folder: Path, found: Calibration) -> CalibrationRecord:
    accuracy = Accuracy(
        "MOT17-<00>",
        {
            "FP32": SCORES,
            "INT8": {**SCORES, "mota": 60.75, "idsw": 9},
            "INT8, all layers": {"failed": "it detects nobody"},
        },
    )
    return record(
        found,
        outputs={"INT8": folder / "model.onnx"},
        accuracy=accuracy,
        speed=SPEED,
        machine={"cpu": "A CPU", "packages": {"onnx": "1.2.3"}, "date": "2026-01-01"},
    )


def test_the_record(
    data: CalibrationRecord, found: Calibration, folder: Path, tmp_path: Path
) -> None:
    text = msgspec.json.encode(data).decode()
    (tmp_path / "report.json").write_text(text)
    assert CalibrationRecord.read(tmp_path / "report.json") == data
    assert str(folder) not in text
    assert data.frames.sources == {"footage": 5}
    assert [one.name for one in data.methods] == list(METHODS)
    assert json.loads(text)["left_out"] == [{"name": KEPT, "why": "asked for"}]
    layer = data.layers[1]
    ranges = found.ranges[found.method].tensors[layer.reads]
    assert (layer.low, layer.high, layer.limit) == (ranges.low, ranges.high, ranges.limit)
    assert layer.alone == found.damages[1].closeness
    assert json.loads(text)["layers"][1]["alone"]["damage"] == found.damages[1].closeness.damage
    pairs = data.chosen.pairs
    np.testing.assert_allclose(pairs.cosine, found.chosen.pairs.cosine, atol=1e-5)
    np.testing.assert_allclose(pairs.score_int8, found.chosen.pairs.scores[:, 1], atol=1e-5)


@pytest.mark.parametrize("name", ["int8-nano.json", "int8-darknet53.json"])
def test_records_of_earlier_versions(name: str) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / name
    data, told = CalibrationRecord.read(path), json.loads(path.read_text())
    assert data.chosen.damage == pytest.approx(told["chosen"]["damage"], rel=1e-12)
    again = json.loads(msgspec.json.encode(data))
    for attempt in again["attempts"]:
        del attempt["closeness"]["damage"]  # was not written
    again["chosen"]["damage"] = told["chosen"]["damage"]
    assert (again.pop("outside"), again.pop("warnings")) == (None, [])  # were not written
    assert again.keys() == told.keys()
    assert again["attempts"] == told["attempts"]
    assert again["layers"][0].keys() == told["layers"][0].keys()
    assert again["chosen"] == told["chosen"]
    assert told["model"]["name"] in page(data)


class Tags(HTMLParser):
    """Counts the tags of a page and keeps what loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page(data: CalibrationRecord) -> None:
    text = page(data)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.loads == []  # nothing is fetched, so it works offline
    assert "script" not in tags.seen
    assert tags.seen["svg"] == 5
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "$" not in text
    assert "MOT17-&lt;00&gt;" in text
    assert "60.75 <small>(-0.75)</small>" in text
    assert "9 <small>(+2)</small>" in text
    assert "it detects nobody" in text
    assert "<td>1.95</td>" in text
    for layer in data.layers:
        assert text.count(f"<td>{layer.name}</td>") == 1
    # Which layers are in INT8 is said before the first section.
    head = text.partition("<h2>")[0]
    assert head.count('<i class="layer" title=') == sum(not one.left_out for one in data.layers)
    assert head.count('<i class="layer float" title=') == sum(one.left_out for one in data.layers)
    assert all(f'title="{one.name}: ' in head for one in data.layers)
    assert data.frames.sha256 in text
    assert "asked for" in text
    rows = re.findall(r"<tr><td>([^<]+)</td>", text.split("Methods for the ranges")[1])
    assert [row.split()[0] for row in rows[:4]] == list(METHODS)


def test_why_a_layer_was_left_out_and_the_search(folder: Path, found: Calibration) -> None:
    worst = max(found.damages, key=lambda damage: damage.closeness.damage)
    alone = worst.closeness
    choice = type(found.choice)((worst.name,), found.choice.attempts)
    fields = {name: getattr(found, name) for name in Calibration.__slots__}
    data = record(Calibration(**{**fields, "choice": choice, "always": ()}))
    (left_out,) = data.left_out
    assert left_out.why.startswith("needed for the targets; alone it costs ")
    assert f"{1 - alone.iou:.4f} of the IoU" in left_out.why
    assert "a median cosine of at least 0 and an AP drop of at most 1 " in page(data)
