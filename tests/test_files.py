"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from jdetrt.errors import OutputError
from jdetrt.files import (
    atomic_folder,
    atomic_path,
    check_writable,
    remove_leftovers,
    write_text,
    write_together,
)
from jdetrt.inputs import sha256


def test_a_file_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_what_stood_there_stays_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_made_for_nothing_is_removed(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "new" / "a.txt"):
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["folder", "pipe", "file/below"])
def test_what_cannot_be_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=name.split("/")[0]):
        write_text(tmp_path / name, "x")


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit")],
)
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=says):
        write_text(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_the_known_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "a.txt", tmp_path / "new" / "b.txt"
    write_together({first: b"1", second: b"2"})
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    (tmp_path / "new" / "c.txt").mkdir()
    with pytest.raises(OutputError, match=r"c\.txt: is a folder"):
        write_together({first: b"3", second: b"4", tmp_path / "new" / "c.txt": b"5"})
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    with pytest.raises(OutputError, match="is a folder"):
        write_together({tmp_path / "other" / "a": b"3", tmp_path / "new" / "c.txt": b"5"})
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.txt", "b.txt", "c.txt", "new"]


def test_the_first_of_them_appears_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace

    def told(self: Path, target: Path) -> Path:
        order.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", told)
    write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert order == ["b", "a"]


def test_what_the_killed_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a[b].txt"
    code = (
        "import os, sys; from pathlib import Path; from jdetrt import files\n"
        "with files.atomic_path(sys.argv[1]) as t, files.atomic_folder(Path(sys.argv[2])):\n"
        "    t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, path, tmp_path / "folder"], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    others = [tmp_path / name for name in (".a[b]-12345678.txt", "c.jdetrt-12345678.txt")]
    for other in others:
        other.write_text("mine")
    # Whatever they are of, and at once; what is in work stays, in this process and in others.
    with atomic_path(tmp_path / "another.txt") as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("whole")
        call = "import sys; from jdetrt.files import write_text; write_text(sys.argv[1], 'x')"
        subprocess.run([sys.executable, "-c", call, tmp_path / "third.txt"], check=True)
    assert path.read_text() == "whole"
    names = [path.name, "another.txt", "third.txt", *(other.name for other in others)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(names)
    remove_leftovers(tmp_path / "absent" / "a.txt")


def test_a_folder_that_another_process_takes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    taken: list[str] = []

    def make_and_lose(**options: Any) -> str:
        folder: str = make(**options)
        if not taken:
            taken.append(folder)
            os.rmdir(folder)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "b").write_text("x")
    assert len(taken) == 1
    assert (tmp_path / "a" / "b").read_text() == "x"


def test_without_locks_what_is_old_is_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    old, young = (tmp_path / f".a.jdetrt-{name}" for name in ("12345678", "23456789"))
    for each in (old, young):
        each.write_text("half")
    os.utime(old, (time.time() - 3700,) * 2)
    write_text(tmp_path / "a", "x")
    assert sorted(tmp_path.iterdir()) == [young, tmp_path / "a"]


def test_a_folder_is_exchanged_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    renames: list[str] = []
    rename = Path.rename

    def told(self: Path, to: Path) -> Path:
        renames.append(self.name)
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", told)
    for number in range(2):
        with atomic_folder(folder) as new:
            (new / "number").write_text(str(number))
    assert renames == ["new"]  # of the first; the second exchanged the two
    assert (folder / "number").read_text() == "1"
    assert list(tmp_path.iterdir()) == [folder]


def test_where_folders_cannot_be_exchanged_the_next_run_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    with atomic_folder(folder) as new:
        (new / "old").write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from jdetrt import files\n"
        "files._exchange = lambda one, other: False\n"
        "rename = Path.rename\n"
        "def killed(self, to):\n"
        "    if self.name == 'new': os.kill(os.getpid(), 9)\n"
        "    return rename(self, to)\n"
        "Path.rename = killed\n"
        "with files.atomic_folder(Path(sys.argv[1])): pass\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, folder], check=False)
    assert killed.returncode == -9
    assert not folder.exists()
    write_text(tmp_path / "other", "x")
    assert (folder / "old").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [folder, tmp_path / "other"]


def test_content_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut may leave the new name with nothing behind it."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        order.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def renamed(self: Path, to: Path) -> Path:
        order.append("rename")
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "a", "x")
    content, rename, names = order
    assert ".jdetrt-" in content
    assert (rename, names) == ("rename", str(tmp_path))
    order.clear()
    with atomic_folder(tmp_path / "b") as new:
        (new / "file").write_text("x")
    assert [Path(path).name for path in order] == ["file", "new", tmp_path.name]


def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    longest = tmp_path / ("n" * 251 + ".txt")
    check_writable(longest)
    write_text(longest, "x")
    for call in (check_writable, lambda path: write_text(path, "x")):
        with pytest.raises(OutputError, match=r"File name too long.*; give it a shorter name"):
            call(tmp_path / ("n" * 252 + ".txt"))


def test_where_a_file_can_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "newer" / "file")
    with pytest.raises(OutputError, match="is a folder; name a file"):
        check_writable(tmp_path)
    with pytest.raises(OutputError, match=r"file/below: cannot be written: .*file is not"):
        check_writable(tmp_path / "file" / "below")
