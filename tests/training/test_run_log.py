"""Curves and TensorBoard events of a run."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import run_in_page
from small_runs import learn_tiny_body, rows, small_recipe, small_run

from jdetrt.training import run_log, tensorboard
from jdetrt.training.curves import write_curves
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.progress import Report
from jdetrt.training.run_folder import LOG, VALIDATION

pytestmark = pytest.mark.usefixtures("one_thread")


class Page(HTMLParser):
    """Cells of the table, points of the lines, and the tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.lines: list[list[tuple[float, float]]] = []
        self.tags: set[str] = set()
        self.text = path.read_text()
        self._cell = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._cell = tag in ("td", "th")
        if tag == "polyline":
            numbers = [float(one) for one in re.split("[ ,]", dict(attrs)["points"] or "")]
            self.lines.append(list(zip(numbers[::2], numbers[1::2], strict=True)))

    def handle_data(self, data: str) -> None:
        if self._cell and self.rows:
            self.rows[-1][-1] += data
            self._cell = False


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Two epochs of two steps, of which the first was validated."""
    log, validation = tmp_path / LOG, tmp_path / VALIDATION
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "rate", "total", "box/32", "box/8", "identity/8"])
        writer.writerow([1, 1, 0.1, 8, 2, 4, ""])
        writer.writerow([1, 2, 0.1, 6, 1, 2, 1])
        writer.writerow([2, 1, 0.1, 4, 1, 1, 0.5])
    validation.write_text("epoch,ap50,tpr,coverage,mota,idf1,hota\r\n1,41.5,60,100,-3,20,30\r\n")
    return log, validation


def test_the_page_has_the_numbers_of_the_tables(tables: tuple[Path, Path]) -> None:
    write_curves(*tables, "Training of <nano>", "8 images an epoch", 2, 3)
    page = Page(tables[0].with_name("curves.html"))
    head, first, second = page.rows
    assert head[:5] == ["Epoch", "Loss", "Confidence", "Box", "Identity"]
    assert first == ["1 (best)", "7", "–", "2.25", "1", "41.5", "60.0", "30.0", "-3.0", "20.0"]
    assert second == ["2", "4", "–", "1", "0.5", *"–––––"]
    assert "Epoch 2 of 3, step 1 of 2. Best AP50 41.5 % after epoch 1." in page.text
    assert "Training of &lt;nano&gt;" in page.text
    total = page.lines[5]  # after those of the scores
    assert [y for _, y in total] == sorted(y for _, y in total)  # the loss falls: down the page
    ends = [x for x, _ in total]
    assert ends[1] - ends[0] == pytest.approx(ends[2] - ends[1])  # steps of half an epoch each


def test_a_finished_run_does_not_load_itself_again(tables: tuple[Path, Path]) -> None:
    page = tables[0].with_name("curves.html")
    write_curves(*tables, "a", "b", 2, 2)
    assert 'http-equiv="refresh"' in page.read_text()
    write_curves(*tables, "a", "b", 1, 2)
    assert 'http-equiv="refresh"' not in page.read_text()
    assert "Finished: 2 epochs." in page.read_text()
    assert Page(page).tags.isdisjoint({"script", "link", "img", "iframe"})


def test_a_long_run_is_thinned(tables: tuple[Path, Path]) -> None:
    log, validation = tables
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "rate", "total"])
        writer.writerows([epoch, step, 0.1, 5] for epoch in range(1, 31) for step in range(1, 101))
    write_curves(log, validation, "a", "b", 100, 30)
    assert {len(line) for line in Page(log.with_name("curves.html")).lines if len(line) > 1} == {
        375
    }


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_its_window(width: int, tables: tuple[Path, Path]) -> None:
    write_curves(*tables, "Training of darknet53 at 1088x608", "b", 2, 3)
    script = """
        const root = document.documentElement;
        return [root.scrollWidth, document.querySelectorAll("svg").length];
    """
    page_width, charts = run_in_page(tables[0].with_name("curves.html"), script, width=width)
    assert page_width <= width
    assert charts == 6


def test_tensorboard_has_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a run that was stopped with reports that no state was saved of."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    learn_tiny_body(monkeypatch)
    monkeypatch.setattr(run_log, "open_events", tensorboard.open_events)

    class KilledError(Exception):
        pass

    def kill(report: Report) -> None:
        if (report.epoch, report.step) == (2, 3):
            raise KilledError

    def score(_: JdeNetwork) -> dict[str, float]:
        return {"ap50": 12.5}

    with pytest.raises(KilledError):
        small_run(small_recipe(), tmp_path, report=kill, validate=score)
    small_run(small_recipe(), tmp_path, resume=True, validate=score)
    events = accumulator.EventAccumulator(str(tmp_path / tensorboard.FOLDER))
    events.Reload()
    totals = events.Scalars("loss/total")
    assert [event.step for event in totals] == [1, 2, 3, 4, 5, 6, 7, 8]
    logged = [float(row["total"]) for row in rows(tmp_path / LOG)]
    assert [event.value for event in totals] == pytest.approx(logged, rel=1e-4)
    scores = events.Scalars("validation/ap50")
    assert [(event.step, event.value) for event in scores] == [(1, 12.5), (2, 12.5)]
