"""One opener for every file: regular files of a bounded size."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from jdetrt.errors import DataError
from jdetrt.inputs import check_regular, open_regular, read_bytes, read_text, reading, sha256


def _special(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(folder / "behind")
        path.symlink_to(folder / "behind")
    elif kind == "socket":
        os.chdir(folder)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(kind)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pipe", r"not a regular file but a pipe"),
        ("link to a pipe", r"not a regular file but a pipe"),
        ("socket", r"not a regular file but a socket"),
        ("link to a device", r"not a regular file but a device"),
        ("folder", "Is a directory"),
        ("link to itself", "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_refused_in_one_sentence(
    tmp_path: Path, kind: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _special(tmp_path, kind)
    for read in (read_bytes, read_text, check_regular):
        with pytest.raises(DataError, match=rf"^{path}: cannot be read \({says}\)$"):
            read(path, DataError)
    with pytest.raises(OSError, match=says.split(" but")[0]):
        sha256(path)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pipe = tmp_path / "a", tmp_path / "pipe"
    path.write_text("x")
    os.mkfifo(pipe)
    opened = os.open

    def exchanged(name: Path, flags: int) -> int:
        path.unlink()
        path.symlink_to(pipe)
        return opened(name, flags)

    monkeypatch.setattr(os, "open", exchanged)
    with pytest.raises(OSError, match="not a regular file but a pipe"):
        open_regular(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(DataError, match=r"5,368,709,120 bytes; no such file is larger than 1 MiB"):
        read_bytes(tmp_path / "a", DataError, largest=1 << 20)


def test_names_with_a_nul_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"), reading("a\0b", DataError):
        open_regular("a\0b")
    (tmp_path / "a").write_bytes(b"abc\xff")
    with pytest.raises(DataError, match=r"a: not a text file \(byte 3 is not UTF-8\)"):
        read_text(tmp_path / "a", DataError)
    (tmp_path / "b").write_bytes("\ufeffné".encode())
    assert read_text(tmp_path / "b", DataError) == "né"
