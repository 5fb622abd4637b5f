"""Settings files: what they may hold, and what is said of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jdetrt.config import IouConfig, ReferenceConfig, load
from jdetrt.errors import ConfigError


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('preset = "reference"\nbuffer = 60\n')
    config = load(path, ReferenceConfig)
    assert config.buffer == 60
    assert config.gate == ReferenceConfig().gate


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bufer = 3", "bufer"),
        ("buffer = -1", r"buffer"),
        ("score_threshold = 1.5", "score_threshold"),
        ('buffer = "long"', "buffer"),
        ("noise = [1.0]", "noise"),
        ("buffer = ", "Invalid value"),
        ("\xff", "a.toml"),
    ],
    ids=["unknown", "negative", "above 1", "type", "length", "no TOML", "no UTF-8"],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=says) as err:
        load(path, IouConfig)
    assert str(path) in str(err.value)


def test_missing_and_huge_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", IouConfig)
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(ConfigError, match="larger than"):
        load(huge, IouConfig)


def test_a_pipe_or_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match=rf"{path}: cannot be read \((not a reg|Is a dir)"):
            load(path, IouConfig)
