"""Every script of examples/ runs, and does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import jdetrt
from jdetrt.runtime.mot.files import read_mot
from jdetrt.synthetic.clip import SyntheticClip, write_sequence

ROOT = Path(__file__).parents[1]
FRAMES = 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "clip"
    return write_sequence(folder, SyntheticClip(seed=3, frames=FRAMES, moving_camera=False))


def run(name: str, *arguments: str | Path, cwd: Path) -> str:
    """What a script prints, run as its reader would."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_example_is_run_here_and_says_how() -> None:
    text = Path(__file__).read_text()
    for path in (ROOT / "examples").iterdir():
        if path.suffix == ".py":
            assert f'run("{path.name}"' in text
            assert f"python examples/{path.name} " in path.read_text()
            assert len(path.read_text().splitlines()) <= 50


def test_track(clip: Path, tmp_path: Path) -> None:
    printed = run("track.py", clip, cwd=tmp_path)
    rows = read_mot(tmp_path / "tracks.txt")
    assert len(rows) == len(re.findall(r"^frame \d+: person \d+ at", printed, re.M)) > FRAMES
    assert frames_of(tmp_path / "tracks.mp4") == FRAMES


def test_own_loop(clip: Path, tmp_path: Path) -> None:
    lines = run("own_loop.py", clip, cwd=tmp_path).splitlines()
    assert [int(re.findall(r"\d+", line)[0]) for line in lines] == list(range(1, FRAMES + 1, 2))
    assert re.search(r"tracks \[\d", lines[-1])


def test_several_sources(clip: Path, tmp_path: Path) -> None:
    printed = run("several_sources.py", clip, clip, cwd=tmp_path)
    assert printed.count(f"{FRAMES} frames") == 2
    one, other = (tmp_path / f"tracks-{number}.txt" for number in (1, 2))
    assert one.read_text() == other.read_text() != ""


def test_own_detector(clip: Path, tmp_path: Path) -> None:
    lines = run("own_detector.py", clip, cwd=tmp_path).splitlines()
    assert len(lines) == FRAMES
    assert any(re.search(r"tracks \[\d", line) for line in lines)


def test_own_drawing(clip: Path, tmp_path: Path) -> None:
    run("own_drawing.py", clip, "drawn.mp4", cwd=tmp_path)
    assert frames_of(tmp_path / "drawn.mp4") == FRAMES
    capture = cv2.VideoCapture(str(tmp_path / "drawn.mp4"))
    drawn = [capture.read()[1] for _ in range(FRAMES)][-1]
    capture.release()
    with jdetrt.track(clip, threads=1) as run_:
        frame, tracks = list(run_)[-1]
    x1, y1, x2, y2 = tracks.boxes[np.argmax(tracks.boxes[:, 3] - tracks.boxes[:, 1])].astype(int)
    head = slice(max(y1, 0), y1 + (y2 - y1) // 5), slice(max(x1, 0), x2)
    feet = slice(y2 - (y2 - y1) // 5, y2), slice(max(x1, 0), x2)
    change = np.abs(drawn.astype(float) - frame.image).mean(axis=2)
    assert change[head].mean() > 2 * change[feet].mean()


def test_count_line(clip: Path, tmp_path: Path) -> None:
    printed = run("count_line.py", clip, cwd=tmp_path)
    right, left, people = map(int, re.findall(r"\d+", printed))
    with jdetrt.track(clip, threads=1) as run_:
        centers: dict[int, list[float]] = {}
        for _, tracks in run_:
            for identity, box in zip(tracks.ids.tolist(), tracks.boxes, strict=True):
                centers.setdefault(identity, []).append(float(box[0] + box[2]) / 2)
    middle = SyntheticClip(seed=3, frames=FRAMES).size[0] / 2
    sides = [np.sign(np.array(line) - middle) for line in centers.values()]
    assert people == len(centers)
    assert right == sum(int((np.diff(side) > 0).sum()) for side in sides)
    assert left == sum(int((np.diff(side) < 0).sum()) for side in sides)


def test_int8(tmp_path: Path) -> None:
    few = SyntheticClip(seed=3, frames=3, moving_camera=False)  # every one costs seconds
    printed = run("int8.py", write_sequence(tmp_path / "clip", few), cwd=tmp_path)
    assert (tmp_path / "nano.int8.onnx").stat().st_size > 1_000_000
    assert float(re.findall(r"median cosine of embeddings (\S+)", printed)[0]) >= 0.99
    assert int(re.findall(r"(\d+) people in both", printed)[0]) > 0


def test_read_sweep(tmp_path: Path) -> None:
    sweep = ROOT / "benchmarks" / "results" / "sweep-nano-epyc-2core.json"
    printed = run("read_sweep.py", sweep, "30", cwd=tmp_path)
    hota, fps = map(float, re.findall(r"HOTA (\S+) at (\S+) FPS", printed)[0])
    assert fps >= 30
    rows = [row["accuracy"]["HOTA"] for row in json.loads(sweep.read_text())["rows"]]
    assert any(f"{score:.1f}" == f"{hota:.1f}" for score in rows)


def frames_of(video: Path) -> int:
    capture = cv2.VideoCapture(str(video))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count
