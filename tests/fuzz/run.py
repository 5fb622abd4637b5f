"""``make fuzz``: damaged files for every reader; a table, and JSON of it.

python tests/fuzz/run.py [--inputs 20000] [--seed 1] [--only MOT] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import msgspec
from harness import MEBIBYTES, SECONDS, Outcome, fuzz
from mutations import mutants
from readers import READERS

from jdetrt.files import write_json
from jdetrt.machine.manifest import manifest

_COLUMNS = ("inputs", "refused", "accepted", "tracebacks", "hangs", "silent_acceptances")
_LARGEST_OTHER = 100_000  # bytes of a file of another kind that is tried


def samples(folder: Path) -> dict[str, bytes]:
    """A good file of each format, made in a process of its own."""
    import multiprocessing

    made = {}
    for number, reader in enumerate(READERS):
        place = folder / str(number)
        place.mkdir()
        path = place / f"input{reader.suffix}"
        maker = multiprocessing.get_context("fork").Process(target=reader.make, args=(path,))
        maker.start()
        maker.join()
        made[reader.name] = next(
            p for p in (path, *place.glob("*.json")) if p.is_file()
        ).read_bytes()
    return made


def run(
    counts: dict[str, int], seed: int, keep: Path | None = None, most_others: int | None = None
) -> list[Outcome]:
    """Fuzz the readers of these names, each with so many inputs; print a line for each.

    Args:
        counts: inputs by name.
        seed: of all mutations.
        keep: folder for inputs that make a fault.
        most_others: how many files of other formats each reader is given; None for all.
    """
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="jdetrt-fuzz-") as name:
        folder = Path(name)
        good = samples(folder)
        others = [data for data in dict.fromkeys(good.values()) if len(data) <= _LARGEST_OTHER]
        for reader in READERS:
            if reader.name not in counts:
                continue
            place = folder / f"work {reader.name}"
            place.mkdir()
            name = f"{seed} {reader.name}"
            some = random.Random(name).sample(others, min(most_others or len(others), len(others)))
            kinds = mutants(good[reader.name], some, name, bombs=list(reader.bombs()))
            outcome = fuzz(reader, itertools.islice(kinds, counts[reader.name]), place, keep)
            outcomes.append(outcome)
            print(_line(outcome), flush=True)  # noqa: T201
            for fault in outcome.faults[:3]:
                print("    " + fault.replace("\n", "\n    "), flush=True)  # noqa: T201
    return outcomes


def _line(outcome: Outcome) -> str:
    cells = [f"{getattr(outcome, column):>8}" for column in _COLUMNS]
    return (
        f"{outcome.name:<26}{''.join(cells)}{outcome.peak_memory_mb:>8.0f} MiB"
        f"{outcome.slowest_s:>8.2f} s"
    )


def main() -> int:
    """Run, print the table, write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=20_000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="formats of this name, or several: 'a|b'")
    parser.add_argument("--others", type=int, help="files of other formats, at most")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for inputs that made a fault")
    given = parser.parse_args()
    chosen = [one for one in READERS if not given.only or one.name in given.only.split("|")]
    share = given.inputs / sum(reader.share for reader in chosen)
    counts = {reader.name: round(share * reader.share) + 1 for reader in chosen}
    start = time.monotonic()
    outcomes = run(counts, given.seed, given.keep, given.others)
    inputs = sum(outcome.inputs for outcome in outcomes)
    print(f"{inputs} inputs in {time.monotonic() - start:.0f} s")  # noqa: T201
    if given.output:
        rows = [asdict(outcome) for outcome in outcomes]
        if given.only and given.output.is_file():  # the others stay
            names = {row["name"] for row in rows}
            former = msgspec.json.decode(given.output.read_bytes())["rows"]
            rows = [row for row in former if row["name"] not in names] + rows
        result = {
            "benchmark": "fuzz",
            "machine": manifest(),
            "settings": {"seed": given.seed, "seconds": SECONDS, "mebibytes": MEBIBYTES},
            "inputs": sum(row["inputs"] for row in rows),
            "rows": rows,
        }
        write_json(given.output, result)
    return 0 if all(outcome.sound for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
