"""Progress bars, on a terminal that is none."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
import rich.console

from jdetrt.cli.progress import ProgressBars, phase, watched
from jdetrt.progress import Progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where rich draws as on a terminal of 100 columns."""
    screen, console = io.StringIO(), rich.console.Console

    def make(**_: object) -> rich.console.Console:
        return console(file=screen, force_terminal=True, width=100, color_system=None)

    monkeypatch.setattr("rich.console.Console", make)
    return screen


def last_lines(screen: io.StringIO) -> list[str]:
    """The bars as they were drawn last."""
    text = re.sub(r"\x1b\[[\d?]*[A-Zlh]", "\n", screen.getvalue().replace("\r", "\n"))
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def test_it_is_a_progress() -> None:
    progress: Progress = ProgressBars()
    progress.message("fits")


def test_bars_count_and_stop(terminal: io.StringIO) -> None:
    with ProgressBars(rate="FPS") as bars:
        bars.start("clip", 4)
        bars.start("compiling", parent="clip")
        bars.finish("compiling")
        for done in (1, 2, 3, 4):
            bars.advance("clip", done)
        bars.start("open")
        bars.advance("open", 7)
        bars.finish("clip")
        bars.finish("open")
        bars.finish("never begun")
    clip, open_ended = last_lines(terminal)[-2:]
    assert clip.startswith("clip")
    assert " 4/4 " in clip
    assert "ETA" not in clip
    assert re.search(r"open\s.* 7/7 .*0:00:00", open_ended)


def test_only_the_last_finished_bars_stay(terminal: io.StringIO) -> None:
    with ProgressBars() as bars:
        for number in range(30):
            with phase(bars, f"epoch {number}", 1):
                pass
    shown = last_lines(terminal)
    assert any(line.startswith("epoch 29") for line in shown[-6:])
    assert not any(line.startswith("epoch 20 ") for line in shown[-6:])


def test_what_is_watched_is_counted(terminal: io.StringIO) -> None:
    def items() -> Iterator[str]:
        yield from "abc"

    with ProgressBars() as bars:
        assert list(watched(bars, "letters", items(), 3)) == ["a", "b", "c"]
    assert " 3/3 " in last_lines(terminal)[-1]


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_terminal_there_are_only_messages(
    quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBars(quiet=quiet) as bars, phase(bars, "work", 3):
        bars.advance("work", 2)
        bars.message("a note [with brackets]")
        assert not bars.shown
    assert capsys.readouterr() == ("", "" if quiet else "a note [with brackets]\n")


def test_phases_within_phases_are_indented_and_vanish() -> None:
    bar = ProgressBars(quiet=True)
    with bar:
        bar.start("whole", 2)
        bar.start("part", 4, "whole")
        bar.advance("part", 3)
        shown = [(task.description, task.completed, task.total) for task in bar._bars.tasks]
        assert shown == [("whole", 0, 2), ("  part", 3, 4)]
        bar.finish("part")
        bar.advance("unknown", 1)
        bar.finish("unknown")
        assert [task.description for task in bar._bars.tasks] == ["whole"]
