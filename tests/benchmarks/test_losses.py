from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from jdetrt.benchmarks.paper import losses
from jdetrt.benchmarks.paper.losses import COLUMNS, PAPER, Setting, compare_losses, recipe
from jdetrt.cli.bench import command
from jdetrt.evaluation.summary import QuickScore
from jdetrt.training.recipe import Recipe


def scored(ap: float, idsw: int) -> QuickScore:
    return QuickScore(ap / 100, 0.5, 1.0, 40.0, 50.0, 30.0, idsw, 0, 0)


@pytest.fixture
def as_in_the_paper(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Training replaced by the paper's AP and ID switches; the recipes that were asked for."""
    asked: list[Recipe] = []

    def train_and_score(settings: Recipe, sequence: Path, folder: Path, workers: int) -> QuickScore:
        assert (sequence / "gt/gt.txt").is_file()
        asked.append(settings)
        row = PAPER[Setting(settings.loss.identity, settings.loss.balance)]
        return scored(row[0], row[3])

    monkeypatch.setattr(losses, "_train_and_score", train_and_score)
    return asked


def test_rows_differ_in_their_losses_alone(as_in_the_paper: list[Recipe]) -> None:
    result = compare_losses(epochs=2, seed=3)
    assert [(r["identity"], r["balance"]) for r in result["rows"]] == list(PAPER)
    assert len({(r.loss.identity, r.loss.balance) for r in as_in_the_paper}) == len(PAPER) == 7
    first = recipe(Setting("triplet", "fixed"), 2, 3)
    for one in as_in_the_paper:
        for name in Recipe.__struct_fields__:
            if name != "loss":
                assert getattr(one, name) == getattr(first, name)


def test_the_order_is_compared_with_the_papers(as_in_the_paper: list[Recipe]) -> None:
    result = compare_losses(epochs=1)
    correlation = result["rank_correlation"]
    assert correlation["AP"] == pytest.approx(1.0)
    assert correlation["IDs"] == pytest.approx(1.0)
    assert correlation["TPR"] == 0.0  # all the same: no order
    assert losses._rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1.0)


def test_the_command_prints_and_writes_the_table(
    as_in_the_paper: list[Recipe], tmp_path: Path
) -> None:
    path = tmp_path / "losses.json"
    done = CliRunner().invoke(command, ["losses", "--epochs", "1", "--json", str(path)])
    assert done.exit_code == 0, done.output
    assert "7 of 7: cross-entropy, uncertainty" in done.output
    written = json.loads(path.read_text())
    assert [row["paper"] for row in written["rows"]] == [
        dict(zip(COLUMNS, row, strict=True)) for row in PAPER.values()
    ]


@pytest.mark.slow
def test_a_row_is_trained_and_scored() -> None:
    result = compare_losses(epochs=1)
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert any(row["TPR"] > 10 for row in result["rows"])
