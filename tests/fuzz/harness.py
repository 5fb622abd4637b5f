"""Feed damaged files to a reader, each under a limit of time and memory, in a process of its own.

An input ends in one of two good ways: the reader refuses it with one clear error of ours, or it
takes it and what it gives is sound. Everything else is a fault: another exception, a death, a time
or a memory above the limit, or something taken in silence that is not sound.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import resource
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jdetrt.errors import JdetrtError

SECONDS = 10.0  # of CPU time for one input
_PATIENCE = 10  # times so long it may wait for the CPU
MEBIBYTES = 1000  # for one input, beside what the process has before it
_ROOM = 4 << 30  # bytes of addresses beyond those at the start, after which memory is refused
_LONGEST = 2000  # characters of a message
_FORK = multiprocessing.get_context("fork")  # everything large is imported once


@dataclass(frozen=True)
class Reader:
    """A reader and its good files.

    Attributes:
        name: of the format.
        suffix: of the file.
        make: writes a good file under this path, and what has to lie beside it.
        read: reads it; what it gives is judged by ``fault``.
        fault: tells in words why what was read is not sound, or gives None.
        bombs: contents that are known to be bad.
        share: of the inputs, for readers that take long.
    """

    name: str
    suffix: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    fault: Callable[[Any], str | None]
    bombs: Callable[[], Iterable[bytes]] = tuple
    share: float = 1.0


@dataclass
class Outcome:
    """Counts of one format, and an example of each fault."""

    name: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    tracebacks: int = 0
    hangs: int = 0
    silent_acceptances: int = 0
    peak_memory_mb: float = 0.0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """True without a fault."""
        bad = self.tracebacks + self.hangs + self.silent_acceptances
        return not bad and self.peak_memory_mb <= MEBIBYTES


def fuzz(reader: Reader, contents: Iterable[bytes], folder: Path, keep: Path | None) -> Outcome:
    """Give a reader all contents, one after the other.

    Args:
        reader: under test.
        contents: of the files.
        folder: empty.
        keep: folder for the inputs that made a fault; None keeps none.
    """
    outcome = Outcome(reader.name)
    path = folder / f"input{reader.suffix}"
    worker = None
    for content in contents:
        worker = worker if worker is not None and worker.alive else _Worker(reader, path)
        kind, detail, seconds, mebibytes = worker.run(content)
        outcome.inputs += 1
        outcome.slowest_s = max(outcome.slowest_s, seconds)
        outcome.peak_memory_mb = max(outcome.peak_memory_mb, mebibytes)
        if kind == "refused":
            outcome.refused += 1
        elif kind == "accepted":
            outcome.accepted += 1
        elif kind == "hang":
            outcome.hangs += 1
        elif kind == "silent":
            outcome.silent_acceptances += 1
        else:
            outcome.tracebacks += 1
        if kind not in ("refused", "accepted") or mebibytes > MEBIBYTES:
            outcome.faults.append(f"{kind}: {detail} ({mebibytes:.0f} MiB)")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                name = f"{reader.name.replace(' ', '-')}-{outcome.inputs}{reader.suffix}"
                (keep / name).write_bytes(content)
    if worker is not None:
        worker.end()
    return outcome


class _Worker:
    """A process that reads one file after the other."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self._path = path
        self._pipe, inner = _FORK.Pipe()
        self._process = _FORK.Process(target=_work, args=(reader, path, inner), daemon=True)
        self._process.start()
        inner.close()
        answer = self._pipe.recv() if self._pipe.poll(60) else "no answer"
        if answer != "ready":
            self.end()
            raise RuntimeError(f"{reader.name}: its own good file is refused: {answer}")
        self.alive = True

    def run(self, content: bytes) -> tuple[str, str, float, float]:
        """Kind of the outcome, details, seconds, mebibytes."""
        self._path.write_bytes(content)
        start = time.monotonic()
        try:
            self._pipe.send("go")
            busy = self._seconds_of_cpu()
            while not self._pipe.poll(SECONDS):
                waited, used = time.monotonic() - start, self._seconds_of_cpu() - busy
                # On a machine that has other things to do, an input has to wait for its turn.
                if used > SECONDS or waited > _PATIENCE * SECONDS or used < 0.01 * waited:
                    outcome = ("hang", f"{waited:.0f} s, {used:.1f} s of CPU time", waited, 0.0)
                    break
            else:
                kind, detail, mebibytes = self._pipe.recv()
                return kind, detail, self._seconds_of_cpu() - busy, mebibytes
        except (EOFError, OSError):
            self._process.join(5)
            outcome = ("death", f"exit code {self._process.exitcode}", 0.0, 0.0)
        self.end()
        return outcome

    def _seconds_of_cpu(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self.alive = False


def _work(reader: Reader, path: Path, pipe: Connection) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # decoders and linkers talk
    warnings.simplefilter("ignore")
    reader.make(path)
    kind, detail = judge(reader, path)
    if kind != "accepted":
        pipe.send(detail)
        return
    gc.collect()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))
    pipe.send("ready")
    while pipe.recv():
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
        before = _peak()
        kind, detail = judge(reader, path)
        pipe.send((kind, detail, (_peak() - before) / 1024))


def _peak() -> int:
    """Largest resident memory in KiB."""
    match = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1])


def judge(reader: Reader, path: Path) -> tuple[str, str]:
    """Read a file: ``"refused"``, ``"accepted"``, ``"silent"`` or ``"traceback"``, and why."""
    try:
        value = reader.read(path)
    except JdetrtError as err:
        text = str(err)
        if "\n" in text.strip() or len(text) > _LONGEST or not text.strip():
            return "traceback", f"a message that is no sentence: {text[:300]!r}"
        return "refused", text
    except BaseException:
        return "traceback", traceback.format_exc()[-1500:]
    try:
        fault = reader.fault(value)
    except Exception as err:
        fault = f"it cannot be judged: {err!r}"[:300]
    return ("accepted", "") if fault is None else ("silent", fault)
