"""``jdetrt bench``: what it measures adds up, and what it is given wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jdetrt.benchmarks.association import compare_trackers, measure_crowds
from jdetrt.cli import main
from jdetrt.errors import ConfigError


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(args))
    code = end.value.code
    assert isinstance(code, int)
    return code


def write_walkers(folder: Path, *, walkers: int = 3, frames: int = 40) -> None:
    """A MOT sequence of people who walk apart, with perfect detections."""
    for part in ("gt", "det"):
        (folder / part).mkdir(parents=True)
    truth, found = [], []
    for frame in range(1, frames + 1):
        for k in range(walkers):
            box = f"{50 + 200 * k + 2 * frame},{100 + frame},40,110"
            truth.append(f"{frame},{k + 1},{box},1,1,1\n")
            found.append(f"{frame},-1,{box},0.95\n")
    (folder / "gt/gt.txt").write_text("".join(truth))
    (folder / "det/det.txt").write_text("".join(found))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname=w\nframeRate=30\nseqLength={frames}\nimWidth=960\nimHeight=540\n"
    )


def test_measure_crowds_reports_what_it_ran() -> None:
    result = measure_crowds([5, 100, 200], frames=8, embedding_dim=32, preset="paper")
    assert [row.targets for row in result.rows] == [5, 100, 200]
    for row in result.rows:
        assert row.detections == pytest.approx(row.targets, rel=0.35)
        assert 0 < row.median_ms <= row.p90_ms <= row.p99_ms
    medians = [row.median_ms for row in result.rows[1:]]
    assert result.growth == pytest.approx(np.log(medians[1] / medians[0]) / np.log(2))
    assert result.settings.preset == "paper"
    assert result.machine.cpu


def test_bench_association_writes_its_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    args = ["--targets", "5", "--max-frames", "5", "--dim", "8", "--json", str(path)]
    assert run("bench", "association", *args) == 0
    assert json.loads(path.read_text())["rows"][0]["targets"] == 5
    assert "Median" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["association", "--targets", "many"], 2, "comma-separated numbers"),
        (["association", "--targets", "0"], 1, "expected 1 to 10000 each"),
        (["association", "--targets", "5,99999999"], 1, "expected 1 to 10000 each"),
        (["association", "--targets", "5", "--max-frames", "0"], 2, "--max-frames"),
        (["association", "--targets", "5", "--seed", "-1"], 2, "--seed"),
        (["association", "--targets", "5", "--dim", "1"], 2, "--dim"),
        (["association", "--json", "."], 1, "is the working folder"),
        (["trackers", "nowhere", "--repeats", "0"], 2, "--repeats"),
        (["trackers", "nowhere", "--sequences", ","], 1, "no sequence named"),
        (["trackers", "nowhere"], 1, "expected folders with det/det.txt"),
        (["system", "nowhere.mp4", "--model", "none.onnx"], 1, "none.onnx"),
        (["system", "x", "--model", "none.onnx", "--max-frames", "1"], 2, "--max-frames"),
        (["system", "x", "--model", "none.onnx", "--repeats", "0"], 2, "--repeats"),
    ],
)
def test_wrong_arguments_are_named(
    args: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", *args) == code
    assert says in capsys.readouterr().err


def test_numbers_that_make_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="targets"):
        measure_crowds([])
    for name, value in (("frames", 0), ("seed", -1), ("embedding_dim", 1)):
        with pytest.raises(ConfigError, match=name):
            measure_crowds([5], **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="repeats: expected 1 or more, got 0"):
        compare_trackers(tmp_path, repeats=0)


def test_one_number_of_targets_twice_has_no_growth() -> None:
    assert measure_crowds([100, 100], frames=2, embedding_dim=4, preset="iou").growth is None


@pytest.mark.parametrize("target", ["gt/gt.txt", "det/det.txt", "seqinfo.ini"])
def test_the_json_replaces_nothing_that_is_measured(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_walkers(tmp_path / "walk", frames=2)
    path = tmp_path / "walk" / target
    before = path.read_text()
    assert run("bench", "trackers", str(tmp_path), "--json", str(path)) == 1
    model = ("--model", "m.onnx", "--json", str(path))
    assert run("bench", "system", str(tmp_path / "walk"), *model) == 1
    assert capsys.readouterr().err.count("is also") == 2
    assert path.read_text() == before


def test_compare_trackers_scores_and_times_all(tmp_path: Path) -> None:
    write_walkers(tmp_path / "walk")
    result = compare_trackers(tmp_path, repeats=1)
    rows = {row.tracker: row for row in result.rows}
    assert len(rows) == 6
    assert rows["jdetrt iou"].combined["IDF1"] > 95
    for row in rows.values():
        assert row.combined["IDSW"] == 0
        assert row.mean_ms > 0
    others = min(row.mean_ms for name, row in rows.items() if name != "jdetrt iou")
    assert result.speedup == pytest.approx(others / rows["jdetrt iou"].mean_ms)
