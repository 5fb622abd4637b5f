"""`jdetrt train`: what it prints and leaves, one message for what is wrong, and torchrun."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import learn_tiny_body, rows, weights
from walkers import walkers

import jdetrt
from jdetrt.cli import main
from jdetrt.training.network.model import random_network
from jdetrt.training.recipe import RECIPES, open_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

# Workers are forked; newer Pythons warn where another test has left a thread.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

RECIPE = """
batch = 4
mixed_precision = false
frozen_norms = "all"
[network]
body = "{body}"
size = [64, 64]
embedding_dim = 8
[synthetic]
clips = 1
frames = 8
people = 3
size = [64, 64]
[targets]
force_best = true
[optimiser]
learning_rate = 0.001
[schedule]
epochs = {epochs}
burn_in = 0
"""

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(jdetrt.__file__).parents[1]),
}
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a recipe of the tiny body, and one of the body nano."""
    monkeypatch.chdir(tmp_path)
    learn_tiny_body(monkeypatch)
    (tmp_path / "tiny.toml").write_text(RECIPE.format(body="tiny", epochs=2))
    (tmp_path / "nano.toml").write_text(RECIPE.format(body="nano", epochs=2))
    return tmp_path


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["train", *map(str, args)])
    return int(stop.value.code or 0)


# ---- a run ---------------------------------------------------------------------------------


def test_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny.toml", "-o", "out", "--workers", 0, "--device", "cpu") == 0
    output, error = capsys.readouterr()
    assert error == ""
    first, *steps, last = output.splitlines()
    assert first == "8 images per epoch, 3 identities, tiny on cpu"
    assert [line.split(":")[0] for line in steps] == [
        f"epoch {epoch}/2 step {step}/2" for epoch in (1, 2) for step in (1, 2)
    ]
    assert "; rate 1.00e-03, " in steps[0]
    assert "total " in steps[0]
    assert "box " in steps[0]
    assert last == "out/best.safetensors: best of 2 epochs; last: out/last.safetensors"
    assert {file.name for file in Path("out").iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "log.csv",
        "validation.csv",
        "recipe.json",
        "state.pt",
        "curves.html",
    }
    assert json.loads(Path("out/recipe.json").read_text())["network"]["body"] == "tiny"


@forks
def test_the_best_by_a_sequence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walkers(here / "walkers")
    args = ("tiny.toml", "-o", "out", "--validate", "walkers", "--workers", 1, "--cache-images")
    assert run(*args) == 0
    output = capsys.readouterr().out
    assert "after epoch 1: ap50 " in output
    assert re.search(r"out/best\.safetensors: best of 2 epochs, AP \d+\.\d %; ", output)
    scores = rows(Path("out/validation.csv"))
    assert [row["epoch"] for row in scores] == ["1", "2"]
    assert {"ap50", "tpr", "mota", "idf1", "hota"} <= set(scores[0])
    assert scores[0]["coverage"] == "100"  # percent, as everything in it
    before = Path("out/state.pt").read_bytes()
    assert run(*args, "--resume") == 0
    assert "best of 2 epochs, AP " in capsys.readouterr().out
    assert Path("out/state.pt").read_bytes() == before


def test_data_in_a_folder_and_weights_to_start_from(here: Path) -> None:
    assert run("tiny.toml", "-o", "first", "--workers", 0) == 0
    walkers(here / "data" / "walkers")
    text = Path("tiny.toml").read_text().replace("clips = 1", "clips = 0")
    Path("mot.toml").write_text(f'{text}\n[[data]]\npath = "walk*"\n')
    start = "first/last.safetensors"
    args = ("mot.toml", "--data-root", "data", "--start", start, "-o", "second", "--workers", 0)
    assert run(*args) == 0
    assert json.loads(Path("second/recipe.json").read_text())["start"] == start
    key = "body.first.0.conv.weight"
    one, other = weights(Path(start)), weights(Path("second/last.safetensors"))
    assert 0 < (one[key] - other[key]).abs().max() < 0.05


def test_on_a_terminal_it_draws_a_table(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda _: True))
    walkers(here / "walkers")
    assert run("tiny.toml", "-o", "out", "--workers", 0, "--validate", "walkers") == 0
    output = capsys.readouterr().err
    for text in ("learning rate", "images/s", "2 of 2", "identity", "ap50"):
        assert text in output


def test_flags_are_kept_with_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--epochs", 1, "--batch", 2, "--size", "96x64", "--learning-rate", 0.002)
    assert run("tiny.toml", "-o", "out", "--workers", 0, *flags) == 0
    output = capsys.readouterr().out
    assert "epoch 1/1 step 4/4" in output
    assert "; rate 2.00e-03, " in output
    recipe = json.loads(Path("out/recipe.json").read_text())
    assert recipe["schedule"]["epochs"] == 1
    assert (recipe["batch"], recipe["network"]["size"]) == (2, [96, 64])
    assert recipe["validation_size"] == [96, 64]
    assert recipe["optimiser"]["learning_rate"] == 0.002
    assert {row["epoch"] for row in rows(Path("out/log.csv"))} == {"1"}
    before = Path("out/state.pt").read_bytes()
    assert run("tiny.toml", "-o", "out", "--workers", 0, "--resume") == 1
    assert "another batch, optimiser, schedule" in capsys.readouterr().err.replace("network, ", "")
    assert run("-o", "out", "--workers", 0, "--resume") == 0  # the recipe is the run's own
    assert Path("out/state.pt").read_bytes() == before


def test_a_run_without_a_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "out") == 2
    assert "RECIPE" in capsys.readouterr().err
    assert run("-o", "out", "--resume") == 1
    assert capsys.readouterr().err.startswith("ConfigError: out: no run to resume; ")


# ---- what is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        (("batch", "batches"), [], "ConfigError: tiny.toml: Object contains unknown field"),
        (('"tiny"', '"giant"'), [], "ConfigError: unknown body 'giant'; there are: "),
        (("[64, 64]", "[60, 64]"), [], "ConfigError: "),
        (("batch = 4", "batch = 9"), [], "DataError: data set: 8 images to train on are fewer"),
        (("batch = 4", "batch = 4\naccumulate = 3"), [], "ConfigError: accumulate: a batch of 4"),
        (("clips = 1", "clips = 0"), [], "ConfigError: no training data"),
        (("batch = 4", 'batch = 4\nstart = "x.pt"'), [], "CheckpointError: x.pt"),
        (("", ""), ["--device", "gpu"], "ConfigError: device 'gpu': expected auto, cpu, cuda or"),
        (("", ""), ["--resume"], "ConfigError: out: no run to resume; "),
        (("", ""), ["--validate", "nowhere"], "DataError: nowhere: cannot be read"),
        (("batch", "validation_size = [50, 50]\nbatch"), ["--validate", "walkers"], "ConfigError"),
        (("", ""), ["-o", "tiny.toml"], "OutputError: tiny.toml"),
    ],
)
def test_what_is_wrong_is_one_message(
    change: tuple[str, str],
    args: list[str],
    message: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    walkers(here / "walkers")
    recipe = Path("tiny.toml")
    recipe.write_text(recipe.read_text().replace(*change, 1) if change[0] else recipe.read_text())
    assert run("tiny.toml", "-o", "out", "--workers", 0, *args) == 1
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert len(error.splitlines()) == 1
    assert not Path("out/state.pt").exists()
    assert not Path("out/last.safetensors").exists()


def test_missing_recipes_and_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("none.toml", "-o", "out") == 1
    names = ", ".join(RECIPES)
    message = f"ConfigError: none.toml: no such file; recipes of jdetrt: {names}\n"
    assert capsys.readouterr().err == message
    assert run("paper", "-o", "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("DataError: ")
    assert open_recipe("paper").data[0].path in error
    assert len(error.splitlines()) == 1
    assert not Path("out").exists()


def test_a_folder_that_holds_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny.toml", "-o", "out", "--workers", 0) == 0
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    capsys.readouterr()
    assert run("tiny.toml", "-o", "out", "--workers", 0) == 1
    message = "ConfigError: out: already holds a run;"
    assert capsys.readouterr().err.startswith(message)
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace("batch = 4", "batch = 2"))
    assert run("tiny.toml", "-o", "out", "--workers", 0, "--resume") == 1
    message = capsys.readouterr().err
    assert message.startswith("ConfigError: out/state.pt: ")
    assert " with another batch; resume with the recipe" in message
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before


def test_a_loss_that_is_not_finite(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path("tiny.toml")
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.001", "learning_rate = 1e7"))
    assert run("tiny.toml", "-o", "out", "--workers", 0) == 1
    error = capsys.readouterr().err
    assert error.startswith("TrainingError: the ")
    assert "no longer finite in epoch 1, step 2; a lower learning rate" in error
    assert len(error.splitlines()) == 1


# ---- the command as it is called -----------------------------------------------------------


def call(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_two_processes_of_torchrun_give_what_one_gives(here: Path) -> None:
    assert run("nano.toml", "-o", "one", "--workers", 0, "--device", "cpu") == 0
    args = ("train", "nano.toml", "-o", "two", "--workers", 0, "--device", "cpu")
    done = call(*TORCHRUN, "jdetrt", *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 4  # only the first process tells
    one, two = (weights(Path(folder, "last.safetensors")) for folder in ("one", "two"))
    moved = 0.0
    begun = random_network(0, "nano", 8).state_dict()
    for name, value in one.items():
        far = float((value.double() - begun[name]).norm())
        difference = float((value.double() - two[name]).norm())
        # One process differs by 0.005 of it from itself on the kernels of another CPU, where a
        # rounding lets one activation change its sign (SSE4.1 in place of AVX2).
        assert difference <= 0.02 * far + 1e-6, name
        moved = max(moved, float((value.double() - begun[name]).abs().max()))
    assert moved > 1e-3
    each = [float(row["total"]) for row in rows(Path("one/log.csv"))]
    means = [float(row["total"]) for row in rows(Path("two/log.csv"))]  # of two steps each
    assert means == pytest.approx([sum(each[:2]) / 2, sum(each[2:]) / 2], rel=1e-4)

    again = call(*TORCHRUN, "jdetrt", *args)
    assert again.returncode == 1
    assert "ConfigError: two: already holds a run" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_it_with_its_state_kept(
    number: signal.Signals, here: Path
) -> None:
    """As Ctrl-C and `timeout` send it: the workers get it too."""
    Path("long.toml").write_text(RECIPE.format(body="nano", epochs=10_000))
    process = subprocess.Popen(
        [sys.executable, "-m", "jdetrt", "train", "long.toml", "-o", "out", "--workers", "2"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (130, "Interrupted.\n")
    state = torch.load("out/state.pt", weights_only=True)
    done = 2 * state["epoch"] + state["step"]
    assert done >= 4
    logged = [2 * int(row["epoch"]) - 2 + int(row["step"]) for row in rows(Path("out/log.csv"))]
    assert logged[-1] == done - done % 2  # of each epoch the last of its two steps is told
    assert not [file for file in Path("out").iterdir() if file.name.startswith(".")]
