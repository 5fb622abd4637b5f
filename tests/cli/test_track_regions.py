"""``jdetrt track`` with lines, zones, masks, and the live page."""

import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.track import command
from jdetrt.cli.track.outputs import _live_page
from jdetrt.errors import OutputError
from jdetrt.runtime.events.open import open_counter
from jdetrt.runtime.events.regions import Regions
from jdetrt.runtime.live.window import Window
from jdetrt.runtime.mot.files import mot_lines
from jdetrt.types import Tracks

REGIONS = """
size = [640, 480]
[[line]]
name = "door"
points = [[320, 480], [320, 0]]  # upwards: "in" is to the right
[[zone]]
name = "left half"
points = [[0, 0], [320, 0], [320, 480], [0, 480]]
dwell = 0.5
[[ignore]]
points = [[0, 0], [640, 0], [640, 100], [0, 100]]
"""


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Somebody who walks to the right for two seconds, and a false alarm in the sky."""
    folder = tmp_path / "walk"
    (folder / "det").mkdir(parents=True)
    rows = []
    for index in range(1, 61):
        x = 100 + 6 * index
        for box in ([x, 200, x + 60, 380], [500, 20, 540, 90]):
            line = mot_lines(index, Tracks([1], [box], [0.9])).strip().split(",")
            rows.append(",".join([line[0], "-1", *line[2:6], "0.9", "-1", "-1", "-1"]))
    (folder / "det" / "det.txt").write_text("\n".join(rows) + "\n")
    (folder / "seqinfo.ini").write_text(
        "[Sequence]\nname=walk\nimDir=img1\nframeRate=30\nseqLength=60\nimWidth=640\n"
        "imHeight=480\nimExt=.jpg\n"
    )
    (tmp_path / "regions.toml").write_text(REGIONS)
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_events_of_a_walk(sequence: Path, tmp_path: Path) -> None:
    events, summary = tmp_path / "events.jsonl", tmp_path / "summary.json"
    output = run(
        *(sequence, "--detections", "det/det.txt", "--preset", "iou"),
        *("--regions", tmp_path / "regions.toml", "--events", events, "--json", summary),
    )
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["enter", "dwell", "cross", "exit"]
    assert lines[2]["direction"] == "in"
    assert lines[2]["where"] == "door"
    assert all(line["id"] == 1 for line in lines)
    state = json.loads(summary.read_text())["regions"]["walk"]
    assert state["lines"]["door"]["crossings"] == {"in": 1, "out": 0}
    assert state["zones"]["left half"]["entries"] == 1
    assert state["masked_detections"] == 60
    assert re.search("door.*in 1", output)


def test_events_without_regions_are_refused(sequence: Path) -> None:
    result = CliRunner().invoke(
        command, [str(sequence), "--detections", "det/det.txt", "--events", "events.jsonl"]
    )
    assert "--regions" in str(result.exception)


def test_regions_without_any_are_refused(sequence: Path, tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("min_age = 1\n")
    result = CliRunner().invoke(
        command,
        [str(sequence), "--detections", "det/det.txt", "--regions", str(tmp_path / "none.toml")],
    )
    assert "none.toml" in str(result.exception)


def test_live_page_shows_the_streams(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    regions = tmp_path / "new.toml"  # to be drawn
    counter = open_counter(regions, 30.0, to_draw=True)
    with ExitStack() as stack:
        bars = ProgressBars(quiet=True)
        files: dict[str, Path | None] = {"door": regions, "yard": None}
        _live_page(str(port), bars, stack, {"door": counter}, files)
        state = httpx.get(f"http://127.0.0.1:{port}/api/state").json()
        assert [one["name"] for one in state["streams"]] == ["door", "yard"]
        assert [one["editable"] for one in state["streams"]] == [True, False]
        drawing = {"line": [{"name": "a", "points": [[0, 0], [1, 1]]}]}
        httpx.put(f"http://127.0.0.1:{port}/api/regions/door", json=drawing)
    assert Regions.read(regions).line[0].name == "a"


def test_show_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OutputError, match="--live"):
        Window({})
