"""Reports: the numbers of the result, a page that needs nothing else and works in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from chromium import run_in_page

from jdetrt.benchmarks.decide import decide, mark_pareto
from jdetrt.benchmarks.report.page import COLUMNS, failures, html_report, markdown_report
from jdetrt.benchmarks.report.png import write_png
from jdetrt.benchmarks.report.table import columns
from jdetrt.benchmarks.result import Result, Row, Run, Summary, SweepSettings
from jdetrt.benchmarks.stages import STAGES
from jdetrt.errors import DataError
from jdetrt.machine.manifest import Machine
from jdetrt.machine.power import Power
from jdetrt.svg import axis_ticks
from jdetrt.types import Size

SPEEDS = {  # two series of three sizes
    ("fp32", "onnxruntime"): {(1088, 608): 5.0, (864, 480): 9.0, (576, 320): 20.0},
    ("int8", "tensorrt"): {(1088, 608): 30.0, (864, 480): 50.0, (576, 320): 100.0},
}


def measured(*, accuracy: bool = True, watts: float | None = 12.0) -> Result[Any]:
    rows = []
    for (precision, backend), sizes in SPEEDS.items():
        for size, fps in sizes.items():
            row = Row(size=Size(*size), precision=precision, backend=backend)
            if accuracy:
                hota = 20 + size[0] / 50 - (precision == "int8")
                row.accuracy = {"HOTA": hota, "MOTA": -3.5, "IDF1": 40.0, "AP50": None}
            for factor in (0.9, 1.0, 1.1):
                row.add(run(fps * factor, backend, watts))
            row.engine_fps, row.association_fps, row.paper_fps = fps + 1, 3000.0, fps + 0.5
            rows.append(row)
    mark_pareto(rows)
    refused = Row(size=Size(32, 32), precision="fp16", backend="tensorrt")
    refused.error = "BuildError: </script><b>no GPU"
    return Result(
        benchmark="sweep",
        machine=Machine(cpu="Cortex <A78>", locked=True),
        settings=SweepSettings(
            model="nano.safetensors", source="MOT17-09", gt="MOT17-09", accuracy="HOTA"
        ),
        rows=[*rows, refused],
    )


def run(fps: float, backend: str, watts: float | None) -> Run:
    copies = backend == "tensorrt"
    return Run(
        engine_fps=fps,
        association_fps=fps,
        paper_fps=fps,
        system_fps=fps,
        stages={
            name: None if name in ("upload", "download") and not copies else Summary.of([1.0, 2.0])
            for name in STAGES
        },
        frame_ms=Summary.of([1e3 / fps, 1.1e3 / fps]),
        power=Power(
            watts=watts,
            scope=None if watts is None else "module",
            joules_per_frame=watts and watts / fps,
            absent={"RAPL": "no counters"},
        ),
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(html_report(measured()), encoding="utf-8")
    return path


def test_the_page_needs_nothing_else_and_has_the_whole_result() -> None:
    text = html_report(measured())
    assert not re.search(r"""<(?:link|img|iframe)|\ssrc\s*=|url\(|@import|https?://""", text)
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert msgspec.json.decode(data, type=Result[SweepSettings]) == measured()
    assert text.count("<script") == text.count("</script>") == 2
    assert "Cortex &lt;A78&gt;, clocks locked" in text
    assert "BuildError: &lt;/script&gt;&lt;b&gt;no GPU" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_marks_are_where_the_numbers_say() -> None:
    text = html_report(measured())
    text = text[text.index("Speed against network size") :]
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4" class="s(\d)"', text)
    speeds = [fps for sizes in SPEEDS.values() for _, fps in sorted(sizes.items())]
    # As many marks as rows, height a straight line through the speeds.
    heights = [float(y) for _, y, _ in found[: len(speeds)]]
    slope, offset = np.polyfit(speeds, heights, 1)
    np.testing.assert_allclose(heights, slope * np.array(speeds) + offset, atol=0.06)
    assert slope < 0
    # Zero is on the axis, 256 units above the lower edge's margin of 44.
    assert offset == pytest.approx(300 - 44, abs=0.1)


def test_clocks_that_were_not_locked_or_not_steady_are_named() -> None:
    result = measured()
    quiet = markdown_report(result)
    assert "not steady" not in quiet
    result.machine.locked = False
    result.rows[0].runs[0].steady = False
    told = markdown_report(result)
    assert "The clocks were not locked" in told
    assert f"The GPU's clock was not steady: {result.rows[0]}." in told


def test_without_accuracy_and_power_it_says_so() -> None:
    text = html_report(measured(accuracy=False, watts=None))
    assert "Accuracy was not measured." in text
    assert "Power was not measured (RAPL: no counters)." in text
    assert "No power sensor could be read." in text
    assert "0.0 W" not in text
    assert "–" in text


def test_it_opens_with_the_answer_and_its_command() -> None:
    result = measured()
    for row in result.measured:
        row.perturbed = {"HOTA": [row.require("HOTA") - 0.5, row.require("HOTA") + 0.5]}
        row.deploy = f"jdetrt track <cam> --model {row.size}.onnx"
    decision = decide(result.measured, min_fps=25)
    result.answer = decision.record()
    assert str(decision.row) == "1088x608 int8 tensorrt"
    text, lines = html_report(result), markdown_report(result).splitlines()
    order = [
        text.index(part)
        for part in (
            "Recommended: 1088x608 int8 tensorrt.",
            "jdetrt track &lt;cam&gt; --model 1088x608.onnx",
            "at least 25 FPS in every run",
            "HOTA on MOT17-09 against speed",
            "Speed against network size",
            "All numbers",
        )
    ]
    assert order == sorted(order)
    assert "mean ± standard deviation of 2 runs" in text
    assert text.count('class="ring') == text.count('<tr class="best"') == 1
    assert lines[2].startswith("**Recommended: 1088x608 int8 tensorrt.** HOTA ")
    assert lines[4] == "    jdetrt track <cam> --model 1088x608.onnx"
    assert "| 40.8 ±\u00a00.7 |" in "\n".join(lines)
    # Each point has its size and precision beside it.
    labels = re.findall(r'<text class="point"[^>]*>([^<]+)</text>', text)
    assert sorted(labels) == sorted(
        f"{w}x{h} {p}" for (p, _), sizes in SPEEDS.items() for w, h in sizes
    )
    result.answer = decide(result.measured, min_fps=1000).record()
    assert "No configuration meets the limits." in html_report(result)
    assert "Recommended" not in html_report(measured(accuracy=False))


def test_the_score_that_decides_comes_first() -> None:
    result = measured()
    result.settings = msgspec.structs.replace(result.settings, accuracy="IDF1")
    titles = [column.title for column in columns(result)]
    assert titles[:5] == ["Configuration", "System FPS", "Slowest", "IDF1", "HOTA"]
    assert sorted(titles) == sorted(column.title for column in COLUMNS)


def test_markdown_has_every_row_and_the_reason_of_what_failed() -> None:
    lines = markdown_report(measured()).splitlines()
    table = [line for line in lines if re.match(r"\| \d+x\d+ ", line)]
    assert len(table) == 6
    assert all(line.count("|") == len(COLUMNS) + 1 for line in table)
    assert table[5] == (
        "| 576x320 int8 tensorrt | 100.0 | 90.0 | 30.5 | -3.5 | 40.0 | – | 12.0 | yes | 0.120 | "
        "110.0 | 101.0 | 3000.0 | 100.5 | 10.0 |"
    )
    assert "- 32x32 fp16 tensorrt: BuildError: </script><b>no GPU" in lines


def test_the_papers_network_stands_beside_the_papers_numbers() -> None:
    result = measured()
    assert "the paper" not in markdown_report(result)
    for row in result.rows[:3]:
        row.body = "darknet53"
    lines = markdown_report(result).splitlines()
    at = lines.index("| 1088x608 the paper | 24.5 | 236.5 | 22.2 | – |")
    assert lines[at + 1] == "| 1088x608 fp32 onnxruntime | 6.0 | 3000.0 | 5.5 | 5.0 |"
    assert lines[at + 2] == "| 864x480 the paper | 34.3 | 259.8 | 30.3 | – |"
    assert lines[at + 4] == ""  # 576x320 is not in the paper's table
    assert "<td>864x480 the paper</td><td>34.3</td>" in html_report(result)


def test_one_reason_is_said_once() -> None:
    result = measured()
    again = msgspec.structs.replace(result.rows[-1], size=Size(64, 32))
    other = msgspec.structs.replace(again, error="ConfigError: 64x32 fp16 tensorrt: not here")
    result.rows += [again, other]
    assert failures(result) == [
        "32x32 fp16 tensorrt, 64x32 fp16 tensorrt: BuildError: </script><b>no GPU",
        "64x32 fp16 tensorrt: ConfigError: not here",
    ]


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    for name, result in (("a", measured()), ("b", measured(accuracy=False))):
        path = tmp_path / f"{name}.png"
        write_png(result, path)
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "a.png").stat().st_size > (tmp_path / "b.png").stat().st_size


def test_what_is_no_sweep_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to report"):
        html_report(msgspec.structs.replace(measured(), rows=[]))


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1e-3), (-300, 12), (29.2, 42), (0, 987654)])
def test_ticks_are_few_round_and_around_the_values(low: float, high: float) -> None:
    ticks = axis_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0])
    assert float(f"{steps[0]:.3e}".partition("e")[0]) in (1.0, 2.0, 2.5, 5.0)


SORT = """
const names = () => [...document.querySelectorAll('#rows tbody tr')].map(r => r.cells[0].innerText);
const heads = [...document.querySelectorAll('#rows th')];
const head = (text) => heads.find(h => h.innerText.startsWith(text));
const press = (text) => head(text).querySelector('button').click();
const out = {before: names()};
press('System FPS'); out.up = names(); out.sortUp = head('System FPS').getAttribute('aria-sort');
press('System FPS'); out.down = names();
press('Configuration'); out.byName = names();
press('AP50'); out.missing = names().length;
return out;
"""
TOGGLE = """
const key = document.querySelectorAll('.keys button')[1];
const shown = () => [...document.querySelectorAll('[data-series="1"]')]
  .filter(e => getComputedStyle(e).display !== 'none').length;
const others = () => [...document.querySelectorAll('[data-series="0"]')]
  .filter(e => getComputedStyle(e).display !== 'none').length;
const out = {all: shown(), first: others()};
key.click(); out.hidden = shown(); out.pressed = key.getAttribute('aria-pressed');
out.firstStill = others();
key.click(); out.again = shown();
return out;
"""
LAYOUT = """
const wide = document.querySelector('.scroll');
const box = (e) => e.getBoundingClientRect();
const texts = [...document.querySelectorAll('svg text')];
return {
  window: innerWidth,
  overflow: document.documentElement.scrollWidth - innerWidth,
  columns: new Set([...document.querySelectorAll('.charts section')].map(e => box(e).left)).size,
  smallest: Math.min(...texts.map(t => 13 * box(t.ownerSVGElement).width / 440)),
  buttons: Math.min(...[...document.querySelectorAll('.keys button')].map(b => box(b).height)),
  fits: wide.scrollWidth <= wide.clientWidth,
  shown: [...document.querySelectorAll('#rows th')].filter(h => box(h).width > 0).length,
  sticky: getComputedStyle(document.querySelector('#rows td')).position,
  answer: box(document.querySelector('.answer')).top < innerHeight / 2,
  cut: texts.filter(t => box(t).right > box(t.ownerSVGElement).right + 1).length,
};
"""


def test_the_table_sorts_in_a_browser(page: Path) -> None:
    out = run_in_page(page, SORT, width=1280)
    names = {
        f"{w}x{h} {precision} {backend}": fps
        for (precision, backend), sizes in SPEEDS.items()
        for (w, h), fps in sizes.items()
    }
    assert out["before"] == list(names)
    rising = sorted(names, key=names.__getitem__)
    assert out["up"] == rising
    assert out["sortUp"] == "ascending"
    assert out["down"] == rising[::-1]
    assert out["byName"] == sorted(names)
    assert out["missing"] == 6


def test_a_series_can_be_hidden_in_a_browser(page: Path) -> None:
    out = run_in_page(page, TOGGLE, width=1280)
    assert out["all"] > 9
    assert (out["hidden"], out["pressed"]) == (0, "false")
    assert out["again"] == out["all"]
    assert out["firstStill"] == out["first"] > 9


@pytest.mark.parametrize(("width", "columns"), [(1400, 2), (390, 1)], ids=["desktop", "phone"])
def test_it_is_readable_at_both_widths(page: Path, width: int, columns: int) -> None:
    out = run_in_page(page, LAYOUT, width=width)
    assert out["window"] == width
    assert out["overflow"] <= 0  # the table scrolls in its own box, the page does not
    assert out["columns"] == columns
    assert out["smallest"] >= 9
    assert out["buttons"] >= 40
    assert out["cut"] == 0
    assert out["fits"]  # the whole table, or on a phone the columns that decide
    assert out["shown"] == (len(COLUMNS) if width > 1000 else 5)
    assert out["sticky"] == "sticky"
    assert out["answer"]
    all_columns = "document.getElementById('more').click();" + LAYOUT
    assert run_in_page(page, all_columns, width=width)["shown"] == len(COLUMNS)
