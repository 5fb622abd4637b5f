"""Results on disk: the committed ones are read whole, a wrong one is named with its fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jdetrt.benchmarks.result import counted, read_result, to_json
from jdetrt.errors import DataError

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
RUNS = sorted(
    path
    for path in RESULTS.glob("*.json")
    if json.loads(path.read_text()).get("benchmark") in ("sweep", "latency", "repeatability")
)


def included(part: Any, whole: Any) -> bool:
    """Tell whether everything in one JSON value is in another, at the same place."""
    if isinstance(part, dict):
        return all(key in whole and included(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(included, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_committed_results_are_read_and_written_with_the_same_keys(path: Path) -> None:
    before = json.loads(path.read_text())
    after = json.loads(to_json(read_result(path)))
    for part in ("benchmark", "machine", "rows"):
        assert included(before[part], after[part])
    if before["benchmark"] != "repeatability":  # a command of earlier versions
        assert included(before["settings"], after["settings"])


def test_a_wrong_file_is_named_with_the_place_of_its_fault(tmp_path: Path) -> None:
    [latency] = [path for path in RUNS if path.stem.startswith("latency")]
    wrong = tmp_path / "wrong.json"
    content = json.loads(latency.read_text())
    content["rows"][0]["runs"][1]["system_fps"] = "fast"
    wrong.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"wrong\.json: .*rows\[0\]\.runs\[1\]\.system_fps"):
        read_result(wrong)
    content["settings"]["frames"] = 0
    content["rows"] = []
    wrong.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"wrong\.json: .*frames: expected 2 or more, got 0"):
        read_result(wrong)
    with pytest.raises(DataError, match=r"association.*json: .*bench association"):
        read_result(RESULTS / "association-epyc-2core.json")


def test_plurals() -> None:
    assert [counted(n, "track") for n in (0, 1, 2)] == ["0 tracks", "1 track", "2 tracks"]
