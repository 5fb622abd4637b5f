"""The harness tells every kind of fault; and a short run of it finds none (``make fuzz``: long)."""

from __future__ import annotations

import itertools
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import msgspec
import pytest
from harness import Reader, fuzz
from mutations import mutants

from jdetrt.errors import DataError

_FOLDER = Path(__file__).parent
# Over all formats, half a minute of CPU time; `make fuzz` takes more than ten times as many.
_INPUTS = 1500


def _read(path: Path) -> Any:
    text = path.read_bytes()
    if text == b"hang":
        time.sleep(60)
    if text == b"eat":
        with mmap.mmap(-1, 300 << 20) as memory:  # new pages, whatever the heap has to spare
            memory[:: mmap.PAGESIZE] = b"x" * (len(memory) // mmap.PAGESIZE)
            return len(memory)
    if text == b"die":
        os.kill(os.getpid(), 9)
    if text == b"raise":
        raise ValueError(text)
    if text == b"lines":
        raise DataError("two\nlines")
    if text == b"no":
        raise DataError("refused")
    return text


_READER = Reader(
    "text",
    ".txt",
    lambda path: path.write_bytes(b"good"),
    _read,
    lambda text: "not sound" if text == b"silent" else None,
)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_every_outcome_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SECONDS", 3.0)
    monkeypatch.setattr(harness, "MEBIBYTES", 200)
    inputs = [b"good", b"no", b"raise", b"lines", b"die", b"good", b"hang", b"good", b"silent"]
    outcome = fuzz(_READER, inputs, tmp_path, tmp_path / "kept")
    assert (outcome.inputs, outcome.accepted, outcome.refused) == (9, 3, 1)
    assert (outcome.tracebacks, outcome.hangs, outcome.silent_acceptances) == (3, 1, 1)
    assert outcome.peak_memory_mb < 100
    assert not outcome.sound
    kept = sorted(path.read_bytes() for path in (tmp_path / "kept").iterdir())
    assert kept == [b"die", b"hang", b"lines", b"raise", b"silent"]

    outcome = fuzz(_READER, [b"good", b"eat", b"no"], tmp_path, None)
    assert 290 < outcome.peak_memory_mb < 400
    assert (outcome.accepted, outcome.refused, outcome.sound) == (2, 1, False)
    assert fuzz(_READER, [b"good", b"no"], tmp_path, None).sound
    with pytest.raises(RuntimeError, match="good file"):
        fuzz(replace(_READER, fault=lambda text: "bad"), [b"good"], tmp_path, None)


def test_mutations_are_many_and_the_same_for_a_seed() -> None:
    def some(seed: str, sample: bytes = b'{"a": 1.5, "b": [1, 2]}') -> list[bytes]:
        return list(itertools.islice(mutants(sample, [b"other"], seed, bombs=[b"bomb"]), 300))

    assert some("1") == some("1") != some("2")
    assert some("1")[:3] == [b"", b"bomb", b"other"]
    assert len(set(some("1"))) > 250
    assert some("1", b"")


def _run(folder: Path, *arguments: str) -> dict[str, Any]:
    output = folder / "fuzz.json"
    paths = [str(_FOLDER.parents[1]), str(_FOLDER.parent / "oracles")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(_FOLDER / "run.py"), "--output", str(output), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = msgspec.json.decode(output.read_bytes())
    return result


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    result = _run(tmp_path, "--inputs", str(_INPUTS), "--others", "5")
    rows = result["rows"]
    assert result["inputs"] >= _INPUTS
    assert len(rows) >= 40
    total: Callable[[str], int] = lambda key: sum(row[key] for row in rows)  # noqa: E731
    assert total("refused") + total("accepted") == result["inputs"]
    assert min(row["refused"] + row["accepted"] for row in rows) >= 10
    # Harmless damage exists, and so does harm: neither is decided for all alike.
    assert total("accepted") > 0.05 * result["inputs"] < total("refused")
