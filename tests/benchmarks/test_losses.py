from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from jdetrt.benchmarks.paper import losses
from jdetrt.benchmarks.paper.losses import COLUMNS, PAPER, Setting, compare_losses, recipe
from jdetrt.cli.bench import command
from jdetrt.evaluation.summary import QuickScore
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.training.data.datasets import open_data_set
from jdetrt.training.data.labels import label_path
from jdetrt.training.data.training_set import open_training_set
from jdetrt.training.distributed import processes
from jdetrt.training.recipe import DataConfig, Recipe
from jdetrt.training.train import train


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


def test_the_rows_are_trained_on_a_list(tmp_path: Path) -> None:
    """Triplet and upper-bound too: the frames of a list's folders follow each other."""
    folder = write_sequence(tmp_path / "seq", SyntheticClip(seed=3, frames=8, people=5))
    data_set = open_data_set(folder)
    lines = []
    for number in range(8):
        sample = data_set[number]
        name = f"images/seq/{number:06d}.jpg"
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "img1" / f"{number + 1:06d}.jpg", target)
        h, w = sample.image.shape[:2]
        rows = [
            f"0 {i} {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} {(x2 - x1) / w} {(y2 - y1) / h}\n"
            for i, (x1, y1, x2, y2) in zip(sample.ids, sample.boxes, strict=True)
        ]
        label = label_path(target)
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(rows))
        lines.append(f"{name}\n")
    listing = tmp_path / "some.train"
    listing.write_text("".join(lines))
    for setting in list(PAPER)[:2]:
        identity = setting.identity
        settings = recipe(setting, 1, 0, [DataConfig(path=str(listing))])
        settings = msgspec.structs.replace(settings, batch=2)
        with processes("cpu") as process:
            data = open_training_set(settings, tmp_path)
            trained = train(settings, data, tmp_path / identity, process, workers=0)
        with (tmp_path / identity / "log.csv").open() as file:
            [row] = csv.DictReader(file)
        assert trained.epochs == 1
        assert float(row["identity/8"]) > 0


@pytest.mark.slow
def test_a_row_is_trained_and_scored() -> None:
    assert [setting.identity for setting in list(PAPER)[:2]] == ["triplet", "upper-bound"]
    result = compare_losses(epochs=1)
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert any(row["TPR"] > 10 for row in result["rows"])
