"""Whole runs: what they leave, that they can be repeated and resumed, and that they learn."""

from __future__ import annotations

import csv
import json
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import torch
from coloured_people import ColouredPeople
from small_runs import ALONE, SomePeople, learn_tiny_body, rows, small_recipe, small_run, weights
from tiny_network import EMBEDDING_DIM, SIZE
from torch import Tensor

from jdetrt.config import ScoreScale
from jdetrt.errors import CheckpointError, ConfigError, DataError, OutputError, TrainingError
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.export.torch_session import TorchSession
from jdetrt.progress import SilentProgress
from jdetrt.training import run
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.data.sample import Batch, Sample
from jdetrt.training.data.training_set import open_training_set
from jdetrt.training.learner import Learner
from jdetrt.training.losses.loss import PARTS
from jdetrt.training.network.anchors import network_anchors
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.progress import Report
from jdetrt.training.recipe import Recipe
from jdetrt.training.run_folder import BEST, LAST, LOG, STATE, VALIDATION, upgrade_tables
from jdetrt.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

# Workers are forked; newer Pythons warn where another test has left a thread.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

# All that a state has to hold: averages, momentum, statistics that move, a balance's memory.
RICH: dict[str, Any] = {
    "frozen_norms": "none",
    "accumulate": 2,
    "loss": {"balance": "loss-norm"},
    "optimiser": {"name": "adamw", "ema": 0.9},
    "augment": {"crop": 0.5, "mosaic": 0.3},
}


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        learn_tiny_body(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs of four steps that was never stopped; for reading."""
    folder = tmp_path_factory.mktemp("whole")
    small_run(small_recipe(**RICH), folder, validate=by_size())
    return folder


def by_size() -> Callable[[JdeNetwork], Mapping[str, float]]:
    """A score that follows from the weights alone."""

    def score(network: JdeNetwork) -> Mapping[str, float]:
        total = sum(float(v.detach().double().square().sum()) for v in network.parameters())
        return {"ap50": math.cos(1e4 * total), "total": total}

    return score


def same(one: object, other: object) -> bool:
    """Equal to the bit, tensors too."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        assert isinstance(other, list)
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def assert_same_checkpoint(one: Path, other: Path) -> None:
    assert same(weights(one), weights(other))
    assert checkpoint.load(one)[1] == checkpoint.load(other)[1]


def assert_same_folder(one: Path, other: Path) -> None:
    assert {file.name for file in one.iterdir()} == {file.name for file in other.iterdir()}
    for name in (LAST, BEST):
        assert_same_checkpoint(one / name, other / name)
    for name in (LOG, VALIDATION):
        assert rows(one / name) == rows(other / name)
    states = [torch.load(folder / STATE, weights_only=True) for folder in (one, other)]
    assert same(*states)


# ---- what a run leaves ---------------------------------------------------------------------


def test_what_a_run_leaves(tmp_path: Path) -> None:
    recipe, scales = small_recipe(), (ScoreScale(size=SIZE, slope=2.0, offset=0.5),)
    network = msgspec.structs.replace(recipe.network, scores=scales)
    recipe = msgspec.structs.replace(recipe, network=network)
    trained, told = small_run(recipe, tmp_path / "new" / "run")
    assert (trained.epochs, trained.score) == (2, None)
    assert trained.last == tmp_path / "new" / "run" / LAST
    assert {file.name for file in trained.last.parent.iterdir()} == {
        LAST,
        BEST,
        LOG,
        VALIDATION,
        STATE,
        "curves.html",
    }
    learnt, info = checkpoint.load(trained.last)
    assert (info.epoch, info.identities, info.config.size) == (2, 48, SIZE)
    assert info.config.scores == scales
    assert learnt.embedding_dim == EMBEDDING_DIM
    assert_same_checkpoint(trained.best, trained.last)
    assert [(p.epoch, p.step, p.steps) for p in told] == [
        (e, s + 1, 4) for e in (1, 2) for s in range(4)
    ]
    assert all(p.speed > 0 and not p.scores for p in told)
    assert {name for p in told for name in p.losses} <= {"total", *PARTS}
    # A burn-in of two steps, and a tenth after half of the epochs and again after three quarters.
    assert [p.rate for p in told] == pytest.approx([0, 1e-3 / 16, 1e-3, 1e-3] + [1e-5] * 4)
    logged = rows(trained.last.parent / LOG)
    assert list(logged[0]) == ["epoch", "step", "rate", "total", *PARTS]
    for row, progress in zip(logged, told, strict=True):
        assert (int(row["epoch"]), int(row["step"])) == (progress.epoch, progress.step)
        for name in ("total", *PARTS):
            assert (name in progress.losses) == (row[name] != "")
            if name in progress.losses:
                assert float(row[name]) == pytest.approx(progress.losses[name], rel=1e-5)


def test_reports_are_means_since_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, each = small_run(small_recipe(), tmp_path / "each")
    monkeypatch.setattr(run, "_REPORT_EVERY", 3)
    _, told = small_run(small_recipe(), tmp_path / "told")
    assert [(p.epoch, p.step) for p in told] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    totals = [progress.losses["total"] for progress in each]
    expected = [sum(totals[0:3]) / 3, totals[3], sum(totals[4:7]) / 3, totals[7]]
    assert [progress.losses["total"] for progress in told] == pytest.approx(expected)


def test_the_best_network_is_kept(tmp_path: Path) -> None:
    scores = iter([0.2, 0.7, 0.7, 0.4])
    seen = []

    def validate(network: JdeNetwork) -> Mapping[str, float]:
        assert not any(module.training for module in network.modules())
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"ap50": next(scores), "idf1": 1.0}

    recipe = small_recipe(schedule={"epochs": 4}, optimiser={"ema": 0.5}, frozen_norms="none")
    trained, told = small_run(recipe, tmp_path, validate=validate)
    assert trained.score == 0.7
    assert same(weights(trained.best), seen[1])
    assert same(weights(trained.last), seen[3])
    assert not same(seen[1], seen[2])
    assert checkpoint.load(trained.best)[1].epoch == 2
    assert [p.scores["ap50"] for p in told if p.scores] == [0.2, 0.7, 0.7, 0.4]
    assert [p.epoch for p in told if p.scores] == [1, 2, 3, 4]
    assert rows(tmp_path / VALIDATION)[1] == {"epoch": "2", "ap50": "0.7", "idf1": "1"}


def test_not_every_epoch_is_validated_but_the_last(tmp_path: Path) -> None:
    recipe = small_recipe(schedule={"epochs": 5}, validate_every=2)
    _, told = small_run(recipe, tmp_path, validate=by_size())
    assert [progress.epoch for progress in told if progress.scores] == [2, 4, 5]


# ---- the same again, and on from the middle ------------------------------------------------


def test_the_seed_decides(tmp_path: Path) -> None:
    first, told = small_run(small_recipe(), tmp_path / "first")
    torch.manual_seed(99)
    second, again = small_run(small_recipe(), tmp_path / "second")
    assert_same_checkpoint(first.last, second.last)
    assert [p.losses for p in told] == [p.losses for p in again]
    other, _ = small_run(small_recipe(seed=1), tmp_path / "other")
    assert not same(weights(other.last), weights(first.last))


@forks
def test_workers_change_nothing(whole: Path, tmp_path: Path) -> None:
    small_run(small_recipe(**RICH), tmp_path / "two", validate=by_size(), workers=2)
    assert_same_folder(tmp_path / "two", whole)


def stopping_at(epoch: int, step: int) -> Callable[[Report], None]:
    def report(progress: Report) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise KeyboardInterrupt

    return report


@forks
@pytest.mark.parametrize(
    ("epoch", "step", "workers"),
    [(1, 1, 0), (1, 3, 1), (1, 4, 0), (1, 0, 0), (2, 2, 2), (2, 4, 0), (2, 0, 0)],
)
def test_a_resumed_run_is_as_one_that_went_on(
    epoch: int, step: int, workers: int, whole: Path, tmp_path: Path
) -> None:
    """In the middle of an epoch, at its end, and after a validation, which is a step 0."""
    recipe, folder = small_recipe(**RICH), tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        small_run(recipe, folder, validate=by_size(), report=stopping_at(epoch, step))
    assert (folder / STATE).exists()
    _, told = small_run(recipe, folder, resume=True, workers=workers, validate=by_size())
    positions = [(e, s) for e in (1, 2) for s in (1, 2, 3, 4)]
    left = [where for where in positions if where > (epoch, step or 4)]
    assert [(p.epoch, p.step) for p in told if p.losses] == left
    assert_same_folder(folder, whole)


def test_stopped_again_and_again(whole: Path, tmp_path: Path) -> None:
    recipe, folder, stops = small_recipe(**RICH), tmp_path / "stopped", 0

    def stop(_: Report) -> None:
        nonlocal stops
        stops += 1
        raise KeyboardInterrupt

    resume = False
    while stops < 20:
        try:
            small_run(recipe, folder, resume=resume, validate=by_size(), report=stop)
            break
        except KeyboardInterrupt:
            resume = True
    assert stops == 10  # eight steps and two validations
    assert_same_folder(folder, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_step(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two reports, so that means are half taken."""
    monkeypatch.setattr(run, "_REPORT_EVERY", 3)
    recipe, folder, step, taken = small_recipe(**RICH), tmp_path / "stopped", Learner.step, 0
    small_run(recipe, tmp_path / "again", validate=by_size())

    def interrupted(self: Learner, parts: list[Batch], share: float) -> dict[str, float]:
        nonlocal taken
        taken += 1
        if taken == 2:
            signal.raise_signal(number)
        return step(self, parts, share)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        monkeypatch.setattr(Learner, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_run(recipe, folder, validate=by_size())
    finally:
        signal.signal(signal.SIGTERM, before)
        monkeypatch.setattr(Learner, "step", step)
    state = torch.load(folder / STATE, weights_only=True)
    assert (state["epoch"], state["step"], len(state["means"]["total"])) == (0, 2, 2)
    small_run(recipe, folder, resume=True, validate=by_size())
    assert_same_folder(folder, tmp_path / "again")


def test_stopped_while_it_waits_for_pictures(whole: Path, tmp_path: Path) -> None:
    class Slow(SomePeople):
        asked = 0

        def __getitem__(self, index: int) -> Sample:
            Slow.asked += 1
            if Slow.asked == 40:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    recipe, folder = small_recipe(**RICH), tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        small_run(recipe, folder, data=Slow(16), validate=by_size())
    assert torch.load(folder / STATE, weights_only=True)["step"] > 0
    small_run(recipe, folder, resume=True, validate=by_size())
    assert_same_folder(folder, whole)


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_a_validation_that_fails_loses_no_epoch(
    error: type[BaseException], whole: Path, tmp_path: Path
) -> None:
    def failing(_: JdeNetwork) -> Mapping[str, float]:
        raise error

    recipe, folder = small_recipe(**RICH), tmp_path / "stopped"
    with pytest.raises(error):
        small_run(recipe, folder, validate=failing)
    assert torch.load(folder / STATE, weights_only=True)["epoch"] == 1
    _, told = small_run(recipe, folder, resume=True, validate=by_size())
    assert told[0].scores
    assert_same_folder(folder, whole)


def test_the_state_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DeadError(Exception):
        pass

    def die(progress: Report) -> None:
        if (progress.epoch, progress.step) == (1, 3):
            raise DeadError

    with pytest.raises(DeadError):
        small_run(small_recipe(), tmp_path / "seldom", report=die)
    assert not (tmp_path / "seldom" / STATE).exists()
    monkeypatch.setattr(run, "_SAVE_EVERY", 0.0)
    with pytest.raises(DeadError):
        small_run(small_recipe(), tmp_path / "often", report=die)
    assert torch.load(tmp_path / "often" / STATE, weights_only=True)["step"] == 2
    # The row of the step after that is dropped, and written again.
    assert len(rows(tmp_path / "often" / LOG)) == 3
    small_run(small_recipe(), tmp_path / "often", resume=True)
    small_run(small_recipe(), tmp_path / "whole")
    assert rows(tmp_path / "often" / LOG) == rows(tmp_path / "whole" / LOG)


def as_earlier_versions_wrote_it(folder: Path) -> None:
    """Epochs from 0 in the log, and a validation in fractions with a step."""
    for name in (LOG, VALIDATION):
        with (folder / name).open(newline="") as file:
            table = list(csv.DictReader(file))
        for row in table:
            if name == LOG:
                row["epoch"] = str(int(row["epoch"]) - 1)
            else:
                row |= {"step": "0", "ap50": repr(float(row["ap50"]) / 100)}
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    state = torch.load(folder / STATE, weights_only=True)
    settings = json.loads(state["recipe"])
    del settings["schedule"]["burn_in_epochs"]  # a setting that it did not have
    state |= {"format": "jdetrt-training-2", "recipe": json.dumps(settings)}
    state["best"] /= 100
    torch.save(state, folder / STATE)


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_of_an_earlier_version_goes_on(times: int, whole: Path, tmp_path: Path) -> None:
    recipe, folder = small_recipe(**RICH), tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        small_run(recipe, folder, validate=by_size(), report=stopping_at(2, 2))
    as_earlier_versions_wrote_it(folder)
    assert rows(folder / LOG)[0]["epoch"] == "0"
    for _ in range(times):
        upgrade_tables(folder)  # as a run that is killed at once does
    small_run(recipe, folder, resume=True, validate=by_size())
    assert [row["epoch"] for row in rows(folder / LOG)] == ["1"] * 4 + ["2"] * 4
    assert rows(folder / LOG) == rows(whole / LOG)
    found, expected = (rows(one / VALIDATION) for one in (folder, whole))
    for row, other in zip(found, expected, strict=True):
        assert row.keys() == other.keys()
        assert float(row["ap50"]) == pytest.approx(float(other["ap50"]), rel=1e-4)


@pytest.mark.parametrize(
    ("burn_in", "epochs", "told"), [(7, 1, True), (4, 1, False), (7, 3, False)]
)
def test_a_burn_in_that_is_cut_short_is_told(
    burn_in: int, epochs: int, told: bool, tmp_path: Path
) -> None:
    class Messages(SilentProgress):
        texts: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.texts.append(text)

    Messages.texts.clear()
    schedule = {"burn_in": burn_in, "burn_in_epochs": epochs, "epochs": 4}
    small_run(small_recipe(schedule=schedule), tmp_path, progress=Messages())
    assert [text[:43] for text in Messages.texts] == told * [
        "Warning: the burn-in has only 4 of 7 steps,"
    ]


def test_a_finished_run_has_nothing_left_to_do(whole: Path) -> None:
    before = {file.name: file.read_bytes() for file in whole.iterdir()}
    trained, told = small_run(small_recipe(**RICH), whole, resume=True, validate=by_size())
    assert told == []
    assert trained.epochs == 2
    best = max(float(row["ap50"]) for row in rows(whole / VALIDATION))
    assert trained.score == pytest.approx(best, rel=1e-5)
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == before


def test_unfinished_files_are_never_seen(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that cannot be written leaves the last one, and nothing beside it."""
    save, folder, saved = torch.save, tmp_path / "run", 0

    def full(content: object, path: Path) -> None:
        nonlocal saved
        saved += 1
        if saved == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OutputError, match=r"state\.pt: cannot be written \(No space left"):
        small_run(small_recipe(**RICH), folder, validate=by_size())
    files = {LAST, BEST, LOG, VALIDATION, STATE, "curves.html"}
    assert {file.name for file in folder.iterdir()} == files
    small_run(small_recipe(**RICH), folder, resume=True, validate=by_size())
    assert_same_folder(folder, whole)


# ---- what goes wrong -----------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_step_and_damages_nothing(tmp_path: Path) -> None:
    recipe, folder = small_recipe(schedule={"epochs": 3}), tmp_path / "run"
    logs = (LOG, "curves.html")
    with pytest.raises(KeyboardInterrupt):
        small_run(recipe, folder, report=stopping_at(2, 2))
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in logs}

    step, taken = Learner.step, 0

    def poisoned(self: Learner, parts: list[Batch], share: float) -> dict[str, float]:
        nonlocal taken
        taken += 1
        if taken == 2:
            next(self.model.network.parameters()).data.fill_(math.nan)
        return step(self, parts, share)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", poisoned)
        message = r"the loss \(total nan, .*no longer finite in epoch 2, step 4; a lower learning"
        with pytest.raises(TrainingError, match=message):
            small_run(recipe, folder, resume=True)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.name not in logs} == before
    small_run(recipe, folder, resume=True)
    small_run(recipe, tmp_path / "whole")
    assert_same_folder(folder, tmp_path / "whole")


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    recipe = small_recipe(optimiser={"learning_rate": 1e6}, schedule={"burn_in": 0})
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 1, step [2-4];"):
        small_run(recipe, tmp_path)
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize("identity", ["cross-entropy", "triplet"])
def test_nobody_is_known_by_name(identity: str, tmp_path: Path) -> None:
    class Nameless(ColouredPeople):
        def __init__(self) -> None:
            super().__init__(16)
            self.identities = 0

        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            sample.ids.fill(-1)
            return sample

    recipe = small_recipe(loss={"identity": identity}, frozen_norms="none")
    trained, told = small_run(recipe, tmp_path, data=Nameless())
    assert all(torch.isfinite(value).all() for value in weights(trained.last).values())
    assert not any(name.startswith("identity") for p in told for name in p.losses)
    assert "identity/32" in rows(tmp_path / LOG)[0]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch": 6, "accumulate": 4}, ConfigError, "accumulate: a batch of 6 images cannot"),
        ({"batch": 20}, DataError, "16 images to train on are fewer than one batch of 20"),
        ({"batch": 32, "accumulate": 2}, ConfigError, "batch: the data have fewer than 32"),
        ({"batch": 3, "loss": {"identity": "triplet"}}, ConfigError, "pairs for 1 process"),
        ({"sizes": [[64, 64]]}, ConfigError, "sizes: anchors follow from one size; give network"),
        ({"network": {"size": [100, 64]}}, ConfigError, "multiples of 32"),
        ({"network": {"size": None}}, ConfigError, "network.size: is missing"),
        ({"network": {"body": "giant"}}, ConfigError, "unknown body 'giant'"),
        ({"start": "imagenet"}, CheckpointError, "for the body 'tiny'; name a file"),
        ({"start": "nothing.pt"}, CheckpointError, "nothing.pt"),
    ],
)
def test_recipes_that_do_not_fit(
    settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        small_run(small_recipe(**settings), tmp_path)
    assert not (tmp_path / STATE).exists()


def test_other_settings_or_data_cannot_be_resumed(whole: Path) -> None:
    with pytest.raises(ConfigError, match="with another seed; resume with the recipe"):
        small_run(small_recipe(seed=3, **RICH), whole, resume=True)
    with pytest.raises(ConfigError, match="with 16 images, now there are 17"):
        small_run(small_recipe(**RICH), whole, resume=True, data=SomePeople(17))


def test_no_state_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no state to resume from"):
        small_run(small_recipe(), tmp_path, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        small_run(small_recipe(), tmp_path / "file")


# ---- and it learns -------------------------------------------------------------------------


def test_sixteen_pictures_are_learnt_by_heart(tmp_path: Path) -> None:
    """The body nano from ImageNet on rendered images, each as it is."""
    size = (256, 128)
    recipe = msgspec.convert(
        {
            "synthetic": {"clips": 1, "frames": 16, "people": 4, "size": size},
            "network": {"body": "nano", "size": size, "embedding_dim": 32},
            "start": "imagenet",
            "batch": 4,
            "prior": 0.01,
            "frozen_norms": "body",
            "mixed_precision": False,
            "optimiser": {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.0},
            "schedule": {"epochs": 20, "burn_in": 4, "fall": "cosine"},
            "augment": {
                **dict.fromkeys(("saturation", "value", "rotation", "translation"), 0.0),
                "scale": (1.0, 1.0),
                "shear": 0.0,
                "flip": 0.0,
            },
            "targets": {"force_best": True},
            "loss": {"confidence": "focal", "box": "giou"},
        },
        Recipe,
    )
    data = open_training_set(recipe, tmp_path)
    trained = train(recipe, data, tmp_path / "run", ALONE, workers=0)
    network, _ = checkpoint.load(trained.last)
    with TorchSession(network, size, network_anchors(recipe.network, size)) as session:
        scores = evaluate_detection(session, (data[index] for index in range(len(data))))
    assert (scores.pictures, scores.people) == (16, 64)
    assert scores.ap50 > 0.95
    first, *_, last = (float(row["identity/16"]) for row in rows(tmp_path / "run" / LOG))
    assert last < 0.7 * first
