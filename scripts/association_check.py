"""Measure association of another checkout in turn with this one, and over a million frames.

    python scripts/association_check.py turns --other ../before
    python scripts/association_check.py long

- ``turns``: time a frame on the same crowds, pass by pass in turn, a process for each checkout.
- ``long``: a million frames of a crowd with dropped frames and outages: memory and time a frame.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
WARM_UP = 30
FRAMES = 300


def serve(preset: str, crowd: Path) -> None:
    """Track a crowd once for each line of the standard input; write the seconds of its frames."""
    try:
        tracker_class = importlib.import_module("jdetrt.runtime.tracking.tracker").Tracker
    except ModuleNotFoundError:  # where it was before
        tracker_class = importlib.import_module("jdetrt.runtime.tracker").Tracker
    from jdetrt.types import Detections

    with np.load(crowd) as arrays:
        parts = [np.split(arrays[name], arrays["ends"][:-1]) for name in ("boxes", "scores", "emb")]
    frames = [
        Detections(*(np.ascontiguousarray(a) for a in one)) for one in zip(*parts, strict=True)
    ]
    for _ in sys.stdin:
        tracker, seconds = tracker_class(preset), []
        for people in frames:
            begin = time.perf_counter()
            tracker.update(people)
            seconds.append(time.perf_counter() - begin)
        sys.stdout.write(json.dumps(seconds[WARM_UP:]) + "\n")
        sys.stdout.flush()


def turns(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a frame of two checkouts, in turn; of each frame the fastest pass counts."""
    from jdetrt.files import scratch_folder
    from jdetrt.synthetic.crowd import crowd

    rows = []
    checkouts = {"before": options.other.resolve(), "now": ROOT}
    for targets in (20, 100):
        people = list(crowd(targets, WARM_UP + FRAMES, 0, embedding_dim=512))
        with scratch_folder("turns") as folder:
            path = Path(folder, "crowd.npz")
            np.savez(
                path,
                boxes=np.concatenate([one.boxes for one in people]),
                scores=np.concatenate([one.scores for one in people]),
                emb=np.concatenate([one.embeddings for one in people]),
                ends=np.cumsum([len(one) for one in people]),
            )
            for preset in ("reference", "paper", "iou"):
                passes = _in_turn(checkouts, preset, path, options.passes)
                row: dict[str, Any] = {"targets": targets, "preset": preset}
                for name, seconds in passes.items():
                    row[name] = {
                        "median_of_fastest_ms": float(np.median(1e3 * seconds.min(axis=0))),
                        "median_of_all_ms": float(np.median(1e3 * seconds)),
                    }
                rows.append(row)
    commits = {name: _commit(path) for name, path in checkouts.items()}
    return {
        "commits": commits,
        "passes": options.passes,
        "frames": FRAMES,
        "embedding_dim": 512,
        "rows": rows,
    }


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _in_turn(
    checkouts: dict[str, Path], preset: str, crowd: Path, passes: int
) -> dict[str, np.ndarray[Any, Any]]:
    command = [sys.executable, str(Path(__file__).resolve()), "serve", preset, str(crowd)]
    processes = {
        name: subprocess.Popen(
            command,
            cwd=path,
            env={**os.environ, "PYTHONPATH": str(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, path in checkouts.items()
    }
    seconds: dict[str, list[list[float]]] = {name: [] for name in checkouts}
    for turn in range(passes + 1):
        names = list(checkouts)[:: 1 if turn % 2 else -1]
        for name in names:
            process = processes[name]
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[name].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    return {name: np.array(one[1:]) for name, one in seconds.items()}  # the first warms up


def long(options: argparse.Namespace) -> dict[str, Any]:
    """Memory and time over a million frames of 20 people, with drops and outages of a minute."""
    from jdetrt.runtime.tracking.tracker import Tracker
    from jdetrt.synthetic.crowd import crowd

    people, rate, dim, blocks = 20, 30.0, 128, 40
    tracker = Tracker("fused", rate)
    drops = np.random.default_rng(0).random(options.frames) < 0.1
    stream = islice(cycle(list(crowd(people, 3000, 0, embedding_dim=dim))), options.frames)
    every = options.frames // blocks
    second, points, block, updates, last_id = 0.0, [], np.empty(every), 0, 0
    for number, (detections, dropped) in enumerate(zip(stream, drops.tolist(), strict=True), 1):
        second += 60.0 if number % 54_000 == 0 else 1.0 / rate
        if not dropped:
            begin = time.perf_counter()
            tracks = tracker.update(detections, timestamp=second)
            block[updates % every] = time.perf_counter() - begin
            updates += 1
            last_id = max(last_id, int(tracks.ids.max(initial=0)))
        if number % every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            lately = 1e3 * block[: min(updates, every)]
            points.append(
                {
                    "frames": number,
                    "rss_mb": round(pages * resource.getpagesize() / 1e6, 2),
                    "median_ms": round(float(np.median(lately)), 4),
                    "p10_ms": round(float(np.percentile(lately, 10)), 4),
                    "tracks_kept": len(tracker._association.store),
                    "ids": last_id,
                }
            )
    half = points[len(points) // 2 :]
    fifth = len(points) // 5
    return {
        "settings": {"preset": "fused", "people": people, "embedding_dim": dim, "frame_rate": rate},
        "frames": options.frames,
        "updates": updates,
        "rss_mb_second_half": {
            "least": min(point["rss_mb"] for point in half),
            "most": max(point["rss_mb"] for point in half),
        },
        "p10_ms_of_the_first_and_last_fifth": [
            float(np.median([point["p10_ms"] for point in part]))
            for part in (points[:fifth], points[-fifth:])
        ],
        "points": points,
    }


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("turns")
    one.add_argument("--other", type=Path, required=True, help="another checkout")
    one.add_argument("--passes", type=int, default=40)
    one.set_defaults(part=turns, path="association-in-turns.json")
    one = parts.add_parser("long")
    one.add_argument("--frames", type=int, default=1_000_000)
    one.set_defaults(part=long, path="long-association.json")
    for one in parts.choices.values():
        one.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    one = parts.add_parser("serve")
    one.add_argument("preset")
    one.add_argument("crowd", type=Path)
    options = parser.parse_args()
    if not hasattr(options, "part"):
        serve(options.preset, options.crowd)
        return

    import msgspec

    from jdetrt.files import write_text
    from jdetrt.machine.manifest import manifest

    result = {
        "what": options.part.__doc__,
        "machine": msgspec.to_builtins(manifest()),
        "load_average_before": round(os.getloadavg()[0], 2),
        **options.part(options),
        "load_average_after": round(os.getloadavg()[0], 2),
    }
    path = options.output / options.path
    write_text(path, json.dumps(result, indent=2, default=str) + "\n")
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
