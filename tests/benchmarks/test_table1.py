"""Table 1, the density figure and many streams: what they run, and what they make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_network import SIZE, ship_tiny

from jdetrt.benchmarks.paper import density
from jdetrt.benchmarks.paper.density import measure_density
from jdetrt.benchmarks.paper.reid import CROP, crops, write_detector, write_reid
from jdetrt.benchmarks.paper.table1 import compare_association, detect, synthetic_sequence
from jdetrt.benchmarks.paper_numbers import TABLE_1, TABLE_4
from jdetrt.benchmarks.streams import measure_streams
from jdetrt.cli import main
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, SessionError
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.testing import FakeSession
from jdetrt.types import Detections


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    code = end.value.code
    assert isinstance(code, int)
    return code


def test_the_papers_numbers_agree_with_each_other() -> None:
    # Its whole system is detector and association one after the other (1 / FPS = 1 / FPSD + ...).
    for row in TABLE_4.values():
        together = 1 / (1 / row.engine_fps + 1 / row.association_fps)
        assert together == pytest.approx(row.paper_fps, abs=0.06)
    assert {density for _, density in TABLE_1} == {"low", "high"}


def test_made_up_people_are_followed(tmp_path: Path) -> None:
    seen = synthetic_sequence(tmp_path / "crowd", people=5, frames=40, seed=3)
    assert len(seen.frames) == 40
    again = synthetic_sequence(tmp_path / "again", people=5, frames=40, seed=3)
    for one, other in zip(seen.frames, again.frames, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.embeddings, other.embeddings)
    for frame in seen.frames:
        assert frame.embeddings is not None
        lengths = np.linalg.norm(frame.embeddings, axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-5)
        assert (np.diff(frame.scores) <= 0).all()

    result = compare_association({"low": seen}, repeats=1)
    rows = {row["tracker"]: row for row in result["rows"]}
    assert list(rows) == ["JDE", "JDE (paper's text)", "SORT", "ByteTrack"]
    assert rows["JDE"]["paper"] == {"fps": 46.2, "mota": 67.5, "idf1": 67.6}
    assert rows["SORT"]["paper"]["mota"] == 66.9
    assert rows["ByteTrack"]["paper"] is None
    for row in rows.values():
        assert row["IDF1"] > 50
        assert row["association_fps"] == pytest.approx(1e3 / row["association_ms"]["mean"])
        assert row["fps_with_network"] is None
        assert row["people"] == pytest.approx(np.mean([len(frame) for frame in seen.frames]))
    with pytest.raises(ConfigError, match="1 repeat"):
        compare_association({"low": seen}, repeats=0)


def test_all_trackers_get_the_same_detections(tmp_path: Path) -> None:
    crowd = synthetic_sequence(tmp_path / "crowd", people=5, frames=30, seed=3)
    # Half of the people are seen with a score between 0.3 and 0.5 alone.
    weak = [
        Detections(
            people.boxes,
            np.where(people.boxes[:, 0] < 960, 0.4, 0.9).astype(np.float32),
            people.embeddings,
        )
        for people in crowd.frames
    ]
    seen = crowd._replace(frames=weak)
    strong = crowd._replace(frames=[people[people.scores > 0.5] for people in weak])
    everyone = compare_association({"low": seen}, repeats=1)
    same = compare_association({"low": strong}, repeats=1)
    lower = compare_association({"low": seen}, score_threshold=0.3, repeats=1)
    scores = ("people", "HOTA", "MOTA", "IDF1", "IDSW")
    for row, again, more in zip(everyone["rows"], same["rows"], lower["rows"], strict=True):
        assert [row[name] for name in scores] == [again[name] for name in scores]
        assert more["people"] > row["people"]
    jde, lower_jde = everyone["rows"][0], lower["rows"][0]
    assert lower_jde["MOTA"] > jde["MOTA"]  # ours drops none of them by itself
    assert lower["settings"]["score_threshold"] == 0.3


def test_a_models_detections_count_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = ship_tiny(tmp_path / "shipped", monkeypatch)
    clip = write_sequence(tmp_path / "clip", SyntheticClip(frames=5, size=(160, 96), people=3))
    with open_session(shipped / "nano-64x64.onnx") as session:
        seen = detect(session, clip)
    assert len(seen.frames) == 5
    assert seen.network_ms is not None
    [row, *_] = compare_association({"low": seen}, repeats=1)["rows"]
    total = seen.network_ms + row["association_ms"]["mean"]
    assert row["fps_with_network"] == pytest.approx(1e3 / total)
    (clip / "img1" / "000003.jpg").write_bytes(b"cut")
    with open_session(shipped / "nano-64x64.onnx") as session:
        rest = detect(session, clip)
    assert rest.read is not None
    assert rest.read.left_out == {"that cannot be read": 1}
    assert [len(frame) for frame in rest.frames] == [
        0 if number == 3 else len(frame) for number, frame in enumerate(seen.frames, start=1)
    ]
    result = compare_association({"low": rest}, repeats=1)
    assert result["read"]["low"]["images"]["left_out"] == {"that cannot be read": 1}
    command = ("bench", "table1", "--model", shipped / "nano-64x64.onnx", "--low", clip)
    assert run(*command, "--people", "3,3", "--max-frames", "10", "--repeats", "1") == 3
    without = FakeSession([], size=(64, 64))
    with pytest.raises(SessionError, match="no embeddings"):
        detect(without, clip)


def test_table1_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "table1.json"
    quick = ["--people", "3,9", "--max-frames", "12", "--repeats", "1", "--json", output]
    assert run("bench", "table1", *quick) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [(row["density"], row["tracker"]) for row in rows][::4] == [
        ("low", "JDE"),
        ("high", "JDE"),
    ]
    assert "Paper's FPS" in capsys.readouterr().out
    assert run("bench", "table1", "--low", "somewhere") == 2
    assert "need --model" in capsys.readouterr().err
    assert run("bench", "table1", "--people", "3") == 2


def test_the_detector_is_the_model_without_its_embeddings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ship_tiny(tmp_path / "shipped", monkeypatch) / "nano-64x64.onnx"
    write_detector(model, tmp_path / "detector.onnx")
    images = {"images": np.random.default_rng(0).random((1, 3, 64, 64), np.float32)}
    with OrtSession(model) as whole, OrtSession(tmp_path / "detector.onnx") as detector:
        wanted, found = whole.infer(images), detector.infer(images)
    assert set(found) == {"boxes", "scores"}
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-6)


def test_a_reid_network_takes_any_number_of_crops(tmp_path: Path) -> None:
    write_reid(tmp_path / "reid.onnx", "nano")
    image = np.full((100, 200, 3), 102, np.uint8)
    image[20:60, 30:50] = (255, 0, 51)  # blue, green, red
    boxes = np.array([[30, 20, 50, 60], [-5, -5, 10, 10], [190, 90, 999, 999]], np.float32)
    cut = crops(image, boxes)
    assert cut.shape == (3, 3, CROP[1], CROP[0])
    np.testing.assert_allclose(cut[0].mean(axis=(1, 2)), [0.2, 0, 1], atol=1e-6)
    np.testing.assert_allclose(cut[1:], 0.4, atol=1e-6)
    with OrtSession(tmp_path / "reid.onnx") as session:
        vectors = session.infer({"crops": cut})["embeddings"]
        one = session.infer({"crops": cut[:1]})["embeddings"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(one[0], vectors[0], rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match="body 'vgg'"):
        write_reid(tmp_path / "x.onnx", "vgg")


def test_the_density_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ship_tiny(tmp_path / "shipped", monkeypatch) / "nano-64x64.onnx"
    seen: list[int] = []
    infer = OrtSession.infer

    def note(self: OrtSession, feeds: Any) -> Any:
        if "crops" in feeds:
            seen.append(len(feeds["crops"]))
        return infer(self, feeds)

    monkeypatch.setattr(OrtSession, "infer", note)
    result = measure_density(model, people=[3, 70], frames=2, reid="tiny")
    few, many = result["rows"]
    assert (few["people"], many["people"]) == (
        pytest.approx(np.mean(seen[density._WARM_UP : density._WARM_UP + 2])),
        pytest.approx(np.mean(seen[-2:])),
    )
    assert set(few["jde_parts_ms"]) == {"preprocess", "network", "decode", "association"}
    assert set(few["separate_parts_ms"]) == {*few["jde_parts_ms"], "reid"}
    for row in (few, many):
        for way in ("jde", "separate"):
            parts = row[f"{way}_parts_ms"].values()
            assert row[f"{way}_ms"]["mean"] == pytest.approx(sum(parts))
    slope = (many["jde_ms"]["mean"] - few["jde_ms"]["mean"]) / (many["people"] - few["people"])
    assert result["slope"]["jde_ms"] == pytest.approx(slope)
    for wrong in ([], [0]):
        with pytest.raises(ConfigError, match="at least 1 person"):
            measure_density(model, people=wrong)
    with pytest.raises(SessionError, match=r"none\.onnx: no such file"):
        measure_density(tmp_path / "none.onnx", reid="tiny")
    (tmp_path / "foreign.onnx").write_text("not a model")
    with pytest.raises(SessionError, match=r"foreign\.onnx: is a text file"):
        measure_density(tmp_path / "foreign.onnx", reid="tiny")


def test_density_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ship_tiny(tmp_path / "shipped", monkeypatch) / "nano-64x64.onnx"
    quick = [
        "--people",
        "2",
        "--max-frames",
        "2",
        "--reid",
        "tiny",
        "--png",
        tmp_path / "figure.png",
    ]
    assert run("bench", "density", "--model", model, *quick) == 0
    assert "a ratio of 3.7" in capsys.readouterr().out
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_many_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = ship_tiny(tmp_path / "shipped", monkeypatch)
    clip = write_sequence(tmp_path / "clip", SyntheticClip(frames=6, size=(160, 96), people=2))
    free = tmp_path / "free.onnx"
    size = f"{SIZE[0]}x{SIZE[1]}"
    options = ["--size", size, "--top-k", "50", "--dynamic-batch", "-o", free]
    assert run("export", shipped / "nano.safetensors", *options) == 0
    output = tmp_path / "streams.json"
    quick = ["--streams", "1,3", "--max-frames", "4", "--repeats", "2", "--json", output]
    assert run("bench", "streams", clip, "--model", free, *quick) == 0
    result = json.loads(output.read_text())
    assert result["batched"] is True
    assert [row["batch"] for row in result["rows"]] == [1, 3]
    for row in result["rows"]:
        assert [one["frames"] for one in row["runs"]] == [4 * row["streams"]] * 2
        assert row["fps_per_stream"] == pytest.approx(row["fps"] / row["streams"])
    fixed = shipped / "nano-64x64.onnx"
    capsys.readouterr()
    assert (
        run("bench", "streams", clip, "--model", fixed, "--max-frames", "3", "--repeats", "1") == 0
    )
    assert "export it with --dynamic-batch" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="numbers of streams"):
        measure_streams(fixed, [str(clip)], [0])
