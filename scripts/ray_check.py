"""Check `jdetrt track --manifest` on 200 short clips: one process, two of Ray, one of them killed.

    python scripts/ray_check.py --output benchmarks/results/ray.json

Three runs of the command line over the same synthetic clips: one process with one thread, two
workers with one thread each, and two workers of which one is killed in the middle. The MOT files of
all three are compared byte for byte; the exit code is 1 where they differ. The motion of the camera
is not estimated: people are masked there as soon as their boxes are known, which depends on how
fast threads are, in one process as in several.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from jdetrt.files import write_json
from jdetrt.machine.manifest import manifest
from jdetrt.synthetic.clip import SyntheticClip, write_sequence

MARK = "JDETRT_RAY_CHECK"


def main() -> int:
    """Run all three and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--clips", type=int, default=200, help="number of clips")
    parser.add_argument("--frames", type=int, default=4, help="frames of each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for seed in range(options.clips):
            scene = SyntheticClip(seed=seed, frames=options.frames, size=(480, 270), people=3)
            write_sequence(folder / "clips" / f"clip{seed:03}", scene)
        names = sorted(path.name for path in (folder / "clips").iterdir())
        (folder / "videos.txt").write_text("".join(f"clips/{name}\n" for name in names))
        load = os.getloadavg()[0]
        runs = {
            "one process": track(folder, "one", 1),
            "two workers": track(folder, "two", 2),
            "two workers, one killed": track(folder, "killed", 2, kill=True),
        }
        texts = [
            {path.name: path.read_bytes() for path in (folder / name).glob("*.txt")}
            for name in ("one", "two", "killed")
        ]
    different = sorted(
        name for name in texts[0] if any(t.get(name) != texts[0][name] for t in texts)
    )
    same = not different and [len(one) for one in texts] == 3 * [options.clips]
    one, two = (runs[name]["fps"] for name in ("one process", "two workers"))
    result = {
        "machine": msgspec.to_builtins(manifest()),
        "load_before": load,
        "clips": options.clips,
        "frames_per_clip": options.frames,
        "runs": runs,
        "speed_up": two / one,
        "same_tracks": same,
        "different": different,
    }
    write_json(options.output, result)
    sys.stdout.write(f"{json.dumps(runs, indent=1)}\nSame tracks: {same}; {two / one:.2f} x\n")
    return 0 if same else 1


def track(folder: Path, name: str, workers: int, *, kill: bool = False) -> dict[str, Any]:
    """Track all clips; seconds of the work, and of the whole command with its start."""
    mark = uuid.uuid4().hex
    begin = time.perf_counter()
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "jdetrt", "track", "--manifest", str(folder / "videos.txt")),
            *("-o", str(folder / name), "--workers", str(workers), "--threads", "1", "-q"),
            *("--camera-motion", "off"),
        ],
        env={**os.environ, MARK: mark},
    ) as process:
        if kill:
            kill_one(process, folder / name, mark)
    if process.returncode:
        sys.exit(f"{name}: exit code {process.returncode}")
    totals = json.loads((folder / name / "report.json").read_text())["totals"]
    keys = ("frames", "detections", "tracks", "retries", "failed", "seconds", "fps")
    return {
        **{key: totals[key] for key in keys},
        "command_seconds": time.perf_counter() - begin,
    }


def kill_one(process: subprocess.Popen[bytes], folder: Path, mark: str) -> None:
    """Kill a worker with SIGKILL once a quarter of the records is there."""
    clips = len((folder.parent / "videos.txt").read_text().splitlines())
    while process.poll() is None:
        if len(list((folder / "records").glob("*.json"))) >= clips // 4:
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if not (entry / "cmdline").read_bytes().startswith(b"ray::_work"):
                        continue
                    if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                        os.kill(int(entry.name), signal.SIGKILL)
                        return
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
