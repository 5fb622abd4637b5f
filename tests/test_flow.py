"""The whole line, source to files: the shipped fake session, a real clip, real processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from small_onnx import write_small_onnx

from jdetrt.errors import OutputError, SourceError
from jdetrt.runtime.mot.files import read_mot
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.sinks.text import JsonLinesSink, MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.testing import FakeSession
from jdetrt.types import Detections

NET = (96, 64)  # width and height
CLIP = (320, 240)
FRAMES = 40


def _walkers() -> list[Detections]:
    """Two people who walk towards each other, pass at frame 20 and keep their embeddings."""
    frames = []
    for index in range(FRAMES):
        left = np.array([[20 + 6 * index, 60, 60 + 6 * index, 180]])
        right = np.array([[260 - 6 * index, 70, 300 - 6 * index, 190]])
        boxes = np.vstack([left, right]).astype(np.float32)
        embeddings = np.eye(2, 16, dtype=np.float32)
        frames.append(Detections(boxes, np.array([0.95, 0.9], np.float32), embeddings))
    return frames


def _iou(pair: npt.NDArray[np.float32]) -> float:
    left, top = pair[:, :2].max(axis=0)
    right, bottom = pair[:, 2:].min(axis=0)
    common = max(right - left, 0) * max(bottom - top, 0)
    return float(common / ((pair[:, 2:] - pair[:, :2]).prod(axis=1).sum() - common))


def _clip(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, CLIP)
    assert writer.isOpened()
    for people in _walkers():
        picture = np.full((CLIP[1], CLIP[0], 3), 90, np.uint8)
        for x1, y1, x2, y2 in people.boxes.astype(int).tolist():
            cv2.rectangle(picture, (x1, y1), (x2, y2), (0, 200, 255), -1)
        writer.write(picture)
    writer.release()
    return path


def _session() -> FakeSession:
    return FakeSession.from_detections(_walkers(), size=NET, source_size=CLIP)


def test_clip_to_tracks(tmp_path: Path) -> None:
    """Each person is one track from frame 2 on, save where non-maximum suppression hides them."""
    source = open_source(_clip(tmp_path / "clip.avi"))
    sinks = [MotSink(tmp_path / "t.txt"), VideoSink(tmp_path / "t.mp4", source.frame_rate)]
    with _session() as session:
        report = Pipeline(source, session, Tracker("reference", source.frame_rate), sinks).run()
    assert (report.frames, report.tracks) == (FRAMES, 2)
    rows = read_mot(tmp_path / "t.txt")
    truth = _walkers()
    hidden = [frame for frame in range(1, FRAMES + 1) if _iou(truth[frame - 1].boxes) > 0.4]
    assert len(hidden) == 3
    for track, person, away in ((1, 0, []), (2, 1, hidden)):
        mine = rows.ids == track
        assert rows.frames[mine].tolist() == [f for f in range(2, FRAMES + 1) if f not in away]
        expected = np.array([truth[frame - 1].boxes[person] for frame in rows.frames[mine]])
        # Network pixels are 3.75 source pixels here; the filter lags at the start.
        np.testing.assert_allclose(rows.boxes[mine, :2], expected[:, :2], atol=4.0)
    video = cv2.VideoCapture(str(tmp_path / "t.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    ok, picture = video.read()
    assert ok
    assert picture.shape == (CLIP[1], CLIP[0], 3)


def test_the_overlap_changes_no_result(tmp_path: Path) -> None:
    """The pipeline writes what a plain loop over frames writes."""
    from jdetrt.runtime.decode import detections
    from jdetrt.runtime.preprocess import letterbox
    from jdetrt.runtime.tracking.filter import reportable

    clip = _clip(tmp_path / "clip.avi")
    with _session() as session:
        sinks = [MotSink(tmp_path / "pipeline.txt")]
        Pipeline(open_source(clip), session, Tracker("reference"), sinks).run()
    tracker, session = Tracker("reference"), _session()
    with MotSink(tmp_path / "loop.txt") as sink, open_source(clip) as source:
        for frame in source:
            tensor, fit = letterbox(frame.image, NET)
            seen = detections(session.infer({"images": tensor[np.newaxis]}), fit)
            sink.write(frame, reportable(tracker.update(seen), 1.6, 200.0))
    assert (tmp_path / "pipeline.txt").read_bytes() == (tmp_path / "loop.txt").read_bytes()


def test_a_clip_that_breaks_off_keeps_the_frames_before(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "clip.avi")
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with _session() as session:
        sinks = [MotSink(tmp_path / "t.txt"), JsonLinesSink(tmp_path / "t.jsonl")]
        pipeline = Pipeline(open_source(clip), session, Tracker("reference"), sinks)
        with pytest.raises(SourceError, match=r"Results up to frame \d+ are kept\."):
            pipeline.run()
    good = pipeline.report().frames
    assert 5 < good < FRAMES - 5
    assert read_mot(tmp_path / "t.txt").frames.max() == good
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == good


def test_a_disk_that_fills_up_keeps_the_frames_before(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow beyond a limit, as a full disk does."""

    def run() -> Pipeline:
        session = FakeSession.from_detections(_walkers(), size=NET, source_size=CLIP)
        sinks = [MotSink(tmp_path / "t.txt"), JsonLinesSink(tmp_path / "t.jsonl")]
        source = open_source(_clip(tmp_path / "clip.avi"))
        return Pipeline(source, session, Tracker("reference"), sinks)

    run().run()  # compiles, so that no kernel has to be written to the disk below
    pipeline = run()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"t\.jsonl.*too large.*\nResults up to") as caught:
            pipeline.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    good = pipeline.report().frames
    assert f"Results up to frame {good} are kept (1 of 2 outputs: one frame more)." in str(
        caught.value
    )
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(1, good + 1))
    assert 5 < good < FRAMES
    # The sink before it in the list had taken the frame already.
    assert read_mot(tmp_path / "t.txt").frames.max() in (good, good + 1)


_ENDLESS = """
import sys
from pathlib import Path
import numpy as np
import jdetrt.engine.open
from jdetrt.cli import main
from jdetrt.testing import FakeSession

box = np.array([[[20, 10, 30, 50]]], np.float32)
outputs = {"boxes": box, "scores": np.array([[0.9]], np.float32)}

def slow(feeds):
    Path("running").touch()
    return outputs

def session(model, **options):
    return FakeSession(slow, size=(96, 64), seconds=0.02)

jdetrt.engine.open.open_session = session
main(["track", "pictures/", "--model", "m.onnx", "--mot", "t.txt", "--jsonl", "t.jsonl",
      "--video", "t.mp4"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_completes_the_files(tmp_path: Path, number: int) -> None:
    """A process that would run for a minute is interrupted once it has begun."""
    write_small_onnx(tmp_path / "m.onnx")  # what the command line looks at; the session is slow
    (tmp_path / "pictures").mkdir()
    picture = np.full((CLIP[1], CLIP[0], 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "pictures" / "1.png"), picture)
    for index in range(2, 3001):
        os.link(tmp_path / "pictures" / "1.png", tmp_path / "pictures" / f"{index}.png")
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "running").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)  # a few frames more
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    records = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    frames = [record["frame"] for record in records]
    assert frames == list(range(1, len(frames) + 1))
    assert 1 <= len(frames) < 3000
    assert f"Results up to frame {len(frames)} are kept." in err
    assert f"pictures: {len(frames)} frames" in out
    assert read_mot(tmp_path / "t.txt", allow_empty=True).frames.max(initial=0) <= len(frames)
    video = cv2.VideoCapture(str(tmp_path / "t.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(frames)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"m.onnx", "pictures", "running", "t.txt", "t.jsonl", "t.mp4"}
