"""Weights in the files that training programs write, whatever they wrap them in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jdetrt.errors import CheckpointError
from jdetrt.training.checkpoints.reference import read_reference
from jdetrt.training.checkpoints.torch_file import read_torch, weights_in

STATE = {"0.weight": torch.arange(4.0), "0.bias": torch.ones(1)}


def _prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"epoch": 3, "model": STATE, "optimizer": []},
        {"state_dict": STATE},
        {"model_state_dict": _prefixed("module.")},
        {"ema": _prefixed("_orig_mod.")},
        {"ema": {"module": STATE, "decay": 0.99}},
        {"model": _prefixed("module._orig_mod.")},
        {"state_dict": _prefixed("_orig_mod.module.")},
        _prefixed("module.module."),
        {"model": {"state_dict": STATE}},
        {"n_averaged": torch.tensor(3), **_prefixed("module.")},
        {"state_dict": {"0._orig_mod.weight": STATE["0.weight"], "0.bias": STATE["0.bias"]}},
    ],
)
def test_weights_are_found_and_named_plainly(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    state = weights_in(read_torch(path), path)
    assert state is not None
    assert {name: value.tolist() for name, value in state.items()} == {  # type: ignore[attr-defined]
        name: value.tolist() for name, value in STATE.items()
    }


@pytest.mark.parametrize("content", [{}, [], 3, {"model": 3}, {"epoch": 1}, {"model": {"a": "b"}}])
def test_where_there_are_none(content: Any, tmp_path: Path) -> None:
    assert weights_in(content, tmp_path) is None


def test_the_weights_of_an_averaged_model(tmp_path: Path) -> None:
    average = torch.optim.swa_utils.AveragedModel(nn.Linear(2, 1))
    path = tmp_path / "a.pt"
    torch.save({"ema": average.state_dict()}, path)
    state = weights_in(read_torch(path), path)
    assert state is not None
    assert set(state) == {"weight", "bias"}


@pytest.mark.parametrize("dim", [65536, 1 << 24])
def test_expanded_tensors_do_not_fill_the_memory(dim: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    embedding = torch.zeros(1).expand(dim, 512, 3, 3)
    torch.save({"module_list.83.conv_83.weight": embedding}, path)
    assert path.stat().st_size < 4096
    with pytest.raises(CheckpointError, match=r"its tensors declare [\d,]+ bytes, the file has"):
        read_reference(path)


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    code = (
        "import sys; from jdetrt.training.checkpoints.checkpoint import save\n"
        "from jdetrt.training.network.model import random_network\n"
        "save(sys.argv[1], random_network(1, 'nano', 32), size=(64, 32), identities=3, epoch=2)"
    )
    files = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path in files:
        subprocess.run([sys.executable, "-c", code, path], check=True)
    assert len({path.read_bytes() for path in files}) == 1
