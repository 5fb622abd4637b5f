"""States: written whole, read back as they were, refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from coloured_people import ColouredPeople

from jdetrt.errors import CheckpointError, ConfigError, OutputError
from jdetrt.training.recipe import AugmentConfig, Recipe
from jdetrt.training.run_folder import read_state, write_state

RECIPE, DATA = Recipe(), ColouredPeople(6)


def some_state() -> dict[str, Any]:
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    torch.autograd.backward(network(torch.ones(3)).sum())
    optimiser.step()
    return {
        "epoch": 3,
        "best": None,
        "means": {"total": [0.1, 1 / 3]},
        "trainee": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_state(tmp_path / "state.pt", some_state(), RECIPE, DATA)
    return tmp_path / "state.pt"


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state, path = some_state(), tmp_path / "new" / "state.pt"
    write_state(path, state, RECIPE, DATA)
    found = read_state(path, Recipe(), ColouredPeople(6))
    assert (found["epoch"], found["best"], found["means"]) == (3, None, state["means"])
    for name, value in state["trainee"].items():
        assert torch.equal(found["trainee"][name], value)
    for index, value in state["optimiser"]["state"].items():
        assert torch.equal(found["optimiser"]["state"][index]["exp_avg"], value["exp_avg"])
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_a_state_that_cannot_be_written_leaves_the_last_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def interrupted(_: object, temporary: Path) -> None:
        temporary.write_bytes(b"half of it")
        assert path.read_bytes() == before
        raise KeyboardInterrupt

    monkeypatch.setattr("torch.save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_state(path, some_state(), RECIPE, DATA)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OutputError, match=r"state\.pt: cannot be written \(No space .*free some"):
        write_state(path, some_state(), RECIPE, DATA)


def test_no_state(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no state to resume from; train without"):
        read_state(tmp_path / "state.pt", RECIPE, DATA)


def test_a_state_cut_short_or_damaged(path: Path) -> None:
    whole = path.read_bytes()
    for end in (0, 1, 3, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match=r"state\.pt: is (cut short or|no plain torch)"):
            read_state(path, RECIPE, DATA)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_state_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Code()}, "state.pt")
    with pytest.raises(CheckpointError, match="none of its code was run"):
        read_state(Path("state.pt"), RECIPE, DATA)
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [[1], {"epoch": 1}, {"format": "jdetrt-training-1"}])
def test_something_else(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="is not the state of a training run of this version"):
        read_state(tmp_path / "state.pt", RECIPE, DATA)


def test_another_recipe_is_named(path: Path) -> None:
    other = msgspec.structs.replace(RECIPE, batch=16, augment=AugmentConfig(flip=0))
    with pytest.raises(ConfigError, match=r"state\.pt: .* another batch, augment; resume with the"):
        read_state(path, other, DATA)


def test_other_data_are_named(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"with 6 images, .* 7; resume with"):
        read_state(path, RECIPE, ColouredPeople(7))
    with pytest.raises(ConfigError, match=r"with 18 identities, .* 12"):
        read_state(path, RECIPE, ColouredPeople(6, people=2))
