"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jdetrt.errors import OutputError
from jdetrt.files import (
    atomic_path,
    check_writable,
    remove_leftovers,
    sha256,
    write_text,
    write_together,
)


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
        "import os, signal, sys; from jdetrt.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t: t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".a[b]-12345678.txt", ".c.jdetrt-12345678.txt")]
    for other in others:
        other.write_text("mine")
    long_ago = time.time() - 3700
    for each in (left, *others):
        os.utime(each, (long_ago, long_ago))
    with atomic_path(path) as at_work:
        remove_leftovers(path)
        assert not left.exists()
        at_work.write_text("whole")
        remove_leftovers(path)
    assert path.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    remove_leftovers(tmp_path / "absent" / "a.txt")


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
