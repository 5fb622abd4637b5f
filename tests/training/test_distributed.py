"""Alone, and two processes together that torchrun starts (tests/oracles/two_processes.py)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import SomePeople, learn_tiny_body, rows, small_recipe, small_run, start, weights
from tiny_network import SIZE
from two_processes import RECIPES

import jdetrt
from jdetrt.errors import ConfigError
from jdetrt.training.batches import batches
from jdetrt.training.distributed import Processes, mean, processes, total

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPT = Path(__file__).parents[1] / "oracles" / "two_processes.py"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the two processes have written."""
    folder = tmp_path_factory.mktemp("two")
    done = subprocess.run(
        [sys.executable, "-m", *TORCHRUN, SCRIPT, folder],
        env={
            "PATH": "",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(jdetrt.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def found(folder: Path, rank: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / f"{rank}.json").read_text())
    return told


# ---- alone ---------------------------------------------------------------------------------


def test_alone_without_torchrun() -> None:
    for name in ("cpu", "cpu:0"):
        with processes(name) as process:
            assert process == Processes(0, 1, CPU)
            assert process.first
    values = torch.tensor([1.0, 5.0], requires_grad=True)
    assert total(values).tolist() == [1, 5]
    assert not total(values).requires_grad
    (slopes,) = torch.autograd.grad((mean(values) ** 2).sum(), values)
    assert slopes.tolist() == [2, 10]


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    for name, expected in (("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")):
        with processes(name) as process:
            assert process.device == torch.device(expected)
    gpus(monkeypatch, 0)
    with processes("auto") as process:
        assert process.device == CPU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device 'gpu': expected auto, cpu, cuda or cuda:N"),
        ("cuda:x", "device 'cuda:x': expected auto"),
        ("meta", "device 'meta': expected auto"),
        ("cuda:2", "device 'cuda:2': there are 2 GPUs"),
    ],
)
def test_devices_that_are_not_there(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match=message), processes(name):
        pass


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    message = r"device 'cuda': torch .* sees no CUDA GPU here"
    with pytest.raises(ConfigError, match=message), processes("cuda"):
        pass


def test_each_process_takes_the_gpu_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    chosen: list[torch.device] = []
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **__: None)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 3)
    with processes("cuda:0") as process:
        assert process == Processes(3, 4, torch.device("cuda:1"))
    assert chosen == [torch.device("cuda:1")]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="device 'cuda:2': there are 2 GPUs"), processes("cuda"):
        pass


def test_an_environment_that_torchrun_did_not_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ConfigError, match="WORLD_SIZE is 'many', expected a number"), processes():
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    message = r"other processes .* torchrun"
    with pytest.raises(ConfigError, match=message), processes("cpu"):
        pass


# ---- two together --------------------------------------------------------------------------


def test_two_processes_find_each_other(together: Path) -> None:
    for rank in range(2):
        told = found(together, rank)
        assert told["process"] == [rank, 2, rank == 0, "cpu"]
        assert told["total"] == [2, 1]
        # The mean of 1, 1 and of 0, 3; its square's slope is not halved, as gradients will be.
        assert told["mean"] == [[1.0, 1.5], [2.0, 3.0]]


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_are_as_good_as_one(
    name: str, together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_tiny_body(monkeypatch)
    trained, told = small_run(small_recipe(**RECIPES[name]), tmp_path)
    assert len(told) == 8
    for rank in range(2):
        for alone, both in zip(told, found(together, rank)[name], strict=True):
            assert both == pytest.approx(dict(alone.losses), rel=1e-4)
    logged = [float(row["total"]) for row in rows(together / name / "log.csv")]
    assert logged == pytest.approx([progress.losses["total"] for progress in told], rel=1e-4)
    begun, both = start(), weights(together / name / "last.safetensors")
    for key, alone_ in weights(trained.last).items():
        expected = alone_ - begun[key]
        far = float(expected.abs().max())
        torch.testing.assert_close(both[key] - begun[key], expected, rtol=0, atol=1e-3 * far + 1e-7)


def test_what_one_process_sees_and_the_other_does_not() -> None:
    """The runs above have such batches: people, or their names, in one of the halves only."""
    recipe = small_recipe()
    people, names = set(), set()
    for epoch in range(recipe.schedule.epochs):
        halves = [
            batches(SomePeople(16), recipe.augment, SIZE, 4, 0, epoch, 0, rank=rank, world=2)
            for rank in range(2)
        ]
        for first, second in zip(*halves, strict=True):
            people.add((len(first.ids) > 0, len(second.ids) > 0))
            names.add((bool((first.ids >= 0).any()), bool((second.ids >= 0).any())))
    assert people & {(True, False), (False, True)}
    assert names >= {(True, False), (False, False)}


def test_a_resumed_run_of_two_processes_is_as_one_that_went_on(together: Path) -> None:
    stopped, whole = together / "stopped", together / "parts"
    assert rows(stopped / "log.csv") == rows(whole / "log.csv")
    other = weights(whole / "last.safetensors")
    for key, value in weights(stopped / "last.safetensors").items():
        assert torch.equal(value, other[key])


def test_triplets_of_two_processes(together: Path) -> None:
    """Each takes negatives from its own images; so there is no equal run of one process."""
    logged = rows(together / "triplet" / "log.csv")
    assert all(math.isfinite(float(row["total"])) for row in logged)
    assert any(row["identity/32"] for row in logged)


def test_what_is_not_finite_in_one_stops_both(together: Path) -> None:
    for rank in range(2):
        message = found(together, rank)["poisoned"]
        assert message.startswith("the loss (total nan, confidence/32 nan")
        assert "no longer finite in epoch 1, step 3;" in message
    assert len(rows(together / "poisoned" / "log.csv")) == 2
    assert not (together / "poisoned" / "last.safetensors").exists()


def test_the_end_of_one_ends_the_other(together: Path) -> None:
    left = ["TrainingError", "another process has ended; its message says why"]
    assert found(together, 0)["end"] == left
    assert found(together, 1)["end"] == ["JdetrtError", "this is enough"]
