from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jdetrt.errors import DataError, OutputError
from jdetrt.runtime.sinks import base, encoder
from jdetrt.runtime.sinks import video as video_sinks
from jdetrt.runtime.sinks.base import Sink
from jdetrt.runtime.sinks.frames import FramesSink
from jdetrt.runtime.sinks.rotation import Rotation
from jdetrt.runtime.sinks.text import JsonLinesSink, KittiSink, MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.types import Frame, Tracks

ROW = "1.500,2.000,10.000,20.000"
KINDS = ["mot", "kitti", "jsonl", "avi", "frames"]


def _frame(index: int, size: tuple[int, int] = (64, 48)) -> Frame:
    image = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Frame(image, index, index / 25)


def _tracks(*ids: int) -> Tracks:
    boxes = np.array([[1.5, 2, 11.5, 22]] * len(ids), np.float32).reshape(-1, 4)
    return Tracks(np.array(ids, np.int64), boxes, np.full(len(ids), 0.75, np.float32))


def _sink(kind: str, folder: Path) -> tuple[Any, Path]:
    path = folder / f"out.{kind}"
    makes: dict[str, Callable[[Path], Sink]] = {
        "mot": MotSink,
        "kitti": KittiSink,
        "jsonl": JsonLinesSink,
        "frames": FramesSink,
    }
    return makes.get(kind, VideoSink)(path), path


def _count(path: Path) -> int:
    """Number of frames in an output, each of which had one track."""
    if path.is_dir():
        return len(list(path.iterdir()))
    if path.suffix in (".mot", ".kitti", ".jsonl"):
        text = path.read_text()
        assert text == "" or text.endswith("\n")
        return text.count("\n")
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    return count


# What is written


def test_mot_text(tmp_path: Path) -> None:
    with MotSink(tmp_path / "new/folder/out.txt") as sink:
        sink.write(_frame(1), _tracks(3, 1))
        sink.write(_frame(2), _tracks())
        sink.write(_frame(3), _tracks(1))
    assert sink.frames == 3
    assert (tmp_path / "new/folder/out.txt").read_text() == (
        f"1,3,{ROW},1,-1,-1,-1\n1,1,{ROW},1,-1,-1,-1\n3,1,{ROW},1,-1,-1,-1\n"
    )


def test_kitti_text(tmp_path: Path) -> None:
    with KittiSink(tmp_path / "out.txt") as sink:
        sink.write(_frame(1), _tracks(3))
    assert (tmp_path / "out.txt").read_text().startswith("0 3 Pedestrian -1 -1 -10 1.500 2.000 11.")


def test_json_lines(tmp_path: Path) -> None:
    with JsonLinesSink(tmp_path / "out.jsonl") as sink:
        sink.write(_frame(1), _tracks(3))
        sink.write(Frame(_frame(2).image, 2), _tracks())
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert records == [
        {
            "frame": 1,
            "timestamp": 0.04,
            "tracks": [{"id": 3, "box": [1.5, 2.0, 11.5, 22.0], "score": 0.75}],
        },
        {"frame": 2, "timestamp": None, "tracks": []},
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".MP4"])
def test_a_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoSink(path, 12.5) as sink:
        for index in range(1, 31):
            frame = Frame(np.full((48, 64, 3), 90, np.uint8), index)
            sink.write(frame, _tracks(1))
    assert _count(path) == 30
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 12.5
    ok, image = capture.read()
    assert ok
    assert image.shape == (48, 64, 3)
    assert abs(image[30:, 40:].astype(int) - 90).max() < 20  # the background
    assert abs(image[:22, :14].astype(int) - 90).max() > 60  # a box, a label


def test_pictures(tmp_path: Path) -> None:
    with FramesSink(tmp_path / "a/out", ".png") as sink:
        sink.write(_frame(1), _tracks(3))
        sink.write(_frame(12), _tracks())
    names = sorted(path.name for path in (tmp_path / "a/out").iterdir())
    assert names == ["tracked-000001.png", "tracked-000012.png"]
    image = cv2.imread(str(tmp_path / "a/out/tracked-000012.png"))
    assert image is not None
    np.testing.assert_array_equal(image[24:, 32:], _frame(12).image[24:, 32:])


# Whole, or as far as it got, or not at all


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_there_before_the_end(tmp_path: Path, kind: str) -> None:
    sink, path = _sink(kind, tmp_path)
    sink.write(_frame(1), _tracks(1))
    assert not path.exists()
    sink.close()
    assert _count(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    sink.close()
    sink.discard()
    assert _count(path) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_discarded(tmp_path: Path, kind: str) -> None:
    sink, _ = _sink(kind, tmp_path)
    sink.write(_frame(1), _tracks(1))
    sink.discard()
    sink.discard()
    sink.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="is closed; frame 2 is not written"):
        sink.write(_frame(2), _tracks(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_what_is_complete(
    tmp_path: Path, kind: str, error: type[BaseException]
) -> None:
    sink, path = _sink(kind, tmp_path)
    with pytest.raises(error), sink:  # noqa: PT012
        for index in (1, 2, 3):
            sink.write(_frame(index), _tracks(1))
        raise error
    assert _count(path) == 3
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_before_the_first_frame_leaves_nothing(tmp_path: Path, kind: str) -> None:
    sink, _ = _sink(kind, tmp_path)
    with pytest.raises(KeyboardInterrupt), sink:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_earlier_output_stays_until_the_new_one_is_complete(tmp_path: Path, kind: str) -> None:
    first, path = _sink(kind, tmp_path)
    with first:
        for index in (1, 2, 3):
            first.write(_frame(index), _tracks(1))
    second, _ = _sink(kind, tmp_path)
    second.write(_frame(1), _tracks(1))
    assert _count(path) == 3
    second.discard()
    assert _count(path) == 3
    third, _ = _sink(kind, tmp_path)
    with third:
        third.write(_frame(1), _tracks(1))
    assert _count(path) == 1


@pytest.mark.parametrize("kind", ["mot", "jsonl"])
def test_a_run_without_frames_leaves_an_empty_text(tmp_path: Path, kind: str) -> None:
    sink, path = _sink(kind, tmp_path)
    with sink:
        pass
    assert path.read_text() == ""


def test_a_video_without_frames_is_none(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_can_be_made(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        _sink(kind, tmp_path / "file")


@pytest.mark.parametrize("kind", ["mot", "avi"])
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"out.{kind}").mkdir()
    with pytest.raises(OutputError, match="is a folder; name a file"):
        _sink(kind, tmp_path)


def test_pictures_of_others_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "000001.jpg").write_bytes(b"of a data set")
    with pytest.raises(OutputError, match=r"holds other files \(000001.jpg\); name a new or empty"):
        FramesSink(tmp_path)
    with pytest.raises(OutputError, match="is a file; name a folder"):
        FramesSink(tmp_path / "000001.jpg")
    with FramesSink(tmp_path / "out") as sink:
        sink.write(_frame(1), _tracks(1))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("made meanwhile")
        with pytest.raises(OutputError, match=r"holds other files \(mine.txt\)"):
            sink.close()
        sink.discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.jpg", "out"]


# A full disk


class _FullFile:
    """A file of a disk that takes ``room`` bytes, also in the middle of a write."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: memoryview) -> int:
        taken = data[: self._room]
        if not taken:
            raise OSError(28, "No space left on device")
        self._room -= len(taken)
        return int(self._file.write(taken))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("kind", ["mot", "kitti", "jsonl"])
def test_a_full_disk_keeps_the_complete_frames(tmp_path: Path, kind: str) -> None:
    whole, path = _sink(kind, tmp_path)
    with whole:
        for index in (1, 2):
            whole.write(_frame(index), _tracks(1, 2))
    expected = path.read_text()
    sink, path = _sink(kind, tmp_path)
    sink._target._file = _FullFile(
        sink._target._file, len(expected) + 15
    )  # the third frame ends in its middle
    sink.write(_frame(1), _tracks(1, 2))
    sink.write(_frame(2), _tracks(1, 2))
    with pytest.raises(OutputError, match=r"No space left on device\); 2 frames are kept"):
        sink.write(_frame(3), _tracks(1, 2))
    assert path.read_text() == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    sink.close()
    with pytest.raises(OutputError, match="is closed"):
        sink.write(_frame(4), _tracks(1))


@pytest.mark.parametrize("kind", ["mot", "jsonl"])
def test_a_disk_that_is_full_at_once(tmp_path: Path, kind: str) -> None:
    sink, _ = _sink(kind, tmp_path)
    sink._target._file = _FullFile(sink._target._file, 5)
    with pytest.raises(OutputError, match="no frame is kept"):
        sink.write(_frame(1), _tracks(1))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_reports_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, _ = _sink("mot", tmp_path)
    sink.write(_frame(1), _tracks(1))

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"cannot be completed \(No space"):
        sink.close()
    assert list(tmp_path.iterdir()) == []


def test_pictures_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, path = _sink("frames", tmp_path)
    sink.write(_frame(1), _tracks(1))
    write_bytes = Path.write_bytes

    def half(self: Path, data: Any) -> int:
        write_bytes(self, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OutputError, match="1 frame is kept"):
        sink.write(_frame(2), _tracks(1))
    assert [p.name for p in path.iterdir()] == ["tracked-000001.jpg"]


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv"])
def test_a_video_is_completed_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    free = iter([20 << 20, 10 << 20, 9 << 20, 7 << 20])
    monkeypatch.setattr(video_sinks, "_free_space", lambda path: next(free))
    sink, path = _sink(kind, tmp_path)
    for index in (1, 2, 3):
        sink.write(_frame(index), _tracks(1))
    with pytest.raises(OutputError, match=r"the disk is full; 3 frames are kept"):
        sink.write(_frame(4), _tracks(1))
    assert _count(path) == 3


# A limit of the operating system on the size of a file stands in for a full disk: writes beyond it
# fail in the middle, in Python as in OpenCV, without a disk of one's own.
LIMITED = """
import resource, signal, sys
import numpy as np
from jdetrt.errors import OutputError
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.types import Frame, Tracks

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rng = np.random.default_rng(0)
tracks = Tracks(np.arange(1, 21), np.full((20, 4), 5, np.float32), np.ones(20, np.float32))
sink = (MotSink if sys.argv[1].endswith(".txt") else VideoSink)(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    with sink:
        for i in range(1, 301):
            sink.write(Frame(rng.integers(0, 256, (96, 128, 3), np.uint8), i), tracks)
except OutputError as err:
    print(err)
"""


def _limited(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_text_beyond_the_limit_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    message = _limited(path)
    rows = path.read_text().splitlines()
    kept = len(rows) // 20
    assert 50 < kept < 300
    assert len(rows) == kept * 20
    assert rows[-1].startswith(f"{kept},20,")
    assert message == f"{path}: cannot be written (File too large); {kept} frames are kept\n"


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_beyond_the_limit_of_the_system(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    message = _limited(path)
    assert message.startswith(f"{path}: ")
    left = [p.name for p in tmp_path.iterdir()]
    if path.exists():  # a container that is readable without its end
        assert left == [path.name]
        match = re.search(
            r"(?:only (\d+) of \d+ frames reached the disk|(\d+) frames are kept)", message
        )
        assert match is not None
        assert _count(path) == int(match[1] or match[2]) > 0
    else:
        assert left == []
        assert "the video cannot be completed (is the disk full?); nothing is kept" in message


# Videos that cannot be


@pytest.mark.parametrize("name", ["out.txt", "out", "out.mp3"])
def test_a_suffix_that_is_no_video(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"expected a video file ending in .mp4, .avi, .mkv, got"):
        VideoSink(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", [0, -5, float("nan"), float("inf"), 1e6])
def test_a_frame_rate_that_cannot_be(tmp_path: Path, rate: float) -> None:
    with pytest.raises(OutputError, match="expected a frame rate above 0, at most 1000, got"):
        VideoSink(tmp_path / "out.mp4", rate)


def test_no_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "load_av", lambda: None)
    monkeypatch.setitem(encoder.CODECS, ".mp4", ("none", "NONE"))
    with VideoSink(tmp_path / "out.mp4") as sink, pytest.raises(OutputError) as caught:
        sink.write(_frame(1), _tracks(1))
    assert "encodes none of none, NONE at 64x48 and 30 frames a second" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(1, 40), (40, 1)])
def test_a_picture_too_small_for_a_video(tmp_path: Path, size: tuple[int, int]) -> None:
    message = f"the frames are {size[0]}x{size[1]}, and a video has at least 2x2 pixels"
    with VideoSink(tmp_path / "out.mp4") as sink, pytest.raises(OutputError, match=message):
        sink.write(_frame(1, size), _tracks(1))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"names in UTF-8, .*; rename it"):
        VideoSink(tmp_path / os.fsdecode(b"out\xff.mp4"))  # OpenCV would crash
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["avi", "frames"])
def test_a_frame_without_a_picture(tmp_path: Path, kind: str) -> None:
    sink, _ = _sink(kind, tmp_path)
    with pytest.raises(OutputError, match="frame 1 has no image to draw on"), sink:
        sink.write(Frame(np.empty((0, 0, 3), np.uint8), 1), _tracks(1))
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size(tmp_path: Path) -> None:
    sink, path = _sink("mp4", tmp_path)
    sink.write(_frame(1), _tracks(1))
    sink.write(Frame(np.full((96, 256, 3), 200, np.uint8), 2), _tracks())
    sink.close()
    assert _count(path) == 2
    assert sink.notes == ["frames of another size are fitted into 64x48: 1 of 2"]
    capture = cv2.VideoCapture(str(path))
    capture.grab()
    image = capture.read()[1]
    assert image is not None
    assert image.shape == (48, 64, 3)
    assert abs(image[14:34, 30:].astype(int) - 200).max() < 20  # 64x24, in the middle
    assert max(image[:10].max(), image[38:].max()) < 40


def test_a_pending_file_that_is_forgotten_is_cleared_away(tmp_path: Path) -> None:
    pending = base.PendingFile(tmp_path / "out.txt")
    assert pending.temporary.exists()
    del pending
    assert list(tmp_path.iterdir()) == []


# Live: under its own name, rotated


@pytest.mark.parametrize("kind", [MotSink, JsonLinesSink])
def test_a_live_file_grows_under_its_own_name(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "out.txt"
    path.write_text("of the run before\n")
    os.utime(path, (0, 1_700_000_000))
    sink = kind(path, live=Rotation())
    assert (tmp_path / "out-20231114T221320Z.txt").read_text() == "of the run before\n"
    sink.write(_frame(1), _tracks(1))
    first = path.read_text()
    sink.write(_frame(2), _tracks(1))
    assert path.read_text().startswith(first)
    assert path.read_text().count("\n") == 2
    sink.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out-20231114T221320Z.txt", "out.txt"]


def test_a_live_file_is_rotated_by_size_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with MotSink(path, live=Rotation(size=100, keep=2)) as sink:
        for index in range(1, 13):
            sink.write(_frame(index), _tracks(1))  # rows of 43 and 44 bytes: three a file
    texts = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert len(texts) == 3
    last = texts.pop("out.txt")
    frames = sorted(int(line.split(",")[0]) for text in texts.values() for line in text.split())
    assert frames == [4, 5, 6, 7, 8, 9]
    assert [line.split(",")[0] for line in last.split()] == ["10", "11", "12"]


def test_a_live_file_is_rotated_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("jdetrt.runtime.sinks.target.time.monotonic", lambda: now[0])
    with JsonLinesSink(tmp_path / "out.jsonl", live=Rotation.parse("1h")) as sink:
        sink.write(_frame(1), _tracks(1))
        now[0] += 3599
        sink.write(_frame(2), _tracks(1))
        now[0] += 1
        sink.write(_frame(3), _tracks(1))
    assert sorted(_count(p) for p in tmp_path.iterdir()) == [1, 2]
    assert _count(tmp_path / "out.jsonl") == 1


def test_a_live_file_without_a_frame_is_none(tmp_path: Path) -> None:
    MotSink(tmp_path / "out.txt", live=Rotation()).discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size", "seconds"),
    [("100MB", 10**8, None), ("2 gb", 2 * 10**9, None), ("30m", None, 1800), ("1d", None, 86400)],
)
def test_rotation(text: str, size: int | None, seconds: float | None) -> None:
    assert Rotation.parse(text, keep=3) == Rotation(size, seconds, 3)


@pytest.mark.parametrize("text", ["", "100", "0h", "1w", "-1h", "1e3MB", "MB", "1h1m"])
def test_a_rotation_that_is_none(text: str) -> None:
    with pytest.raises(DataError, match="expected a size such as 100MB or 2GB, or a time"):
        Rotation.parse(text)


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with MotSink("-") as mot, JsonLinesSink("-", stream="door", clock=True) as lines:
        mot.write(_frame(1), _tracks(3))
        now = time.monotonic()
        lines.write(Frame(_frame(1).image, 1, now), _tracks())
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"1,3,{ROW},1,-1,-1,-1"
    record = json.loads(second)
    assert (record["stream"], record["timestamp"]) == ("door", round(now, 6))
    moment = datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp()
    assert abs(moment - time.time()) < 60
    assert not Path("-").exists()


# A kill


KILLED = """
import os, signal, sys
import numpy as np
from jdetrt.runtime.sinks.rotation import Rotation
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.types import Frame, Tracks

sink = VideoSink(sys.argv[1], 10, live=Rotation() if sys.argv[2] == "live" else None)
for i in range(1, 56):
    image = np.full((90, 160, 3), i * 4, np.uint8)
    sink.write(Frame(image, i, i / 10), Tracks([1], [[20, 20, 60, 80]], [0.9]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("mode", ["live", "whole"])
def test_a_video_survives_a_kill(tmp_path: Path, suffix: str, mode: str) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"of the run before")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), mode], check=False)
    assert done.returncode == -9
    if mode == "live":  # what stood there is set aside
        grown = path
        assert len(list(tmp_path.iterdir())) == 2
    else:
        grown = tmp_path / f"out.part{suffix}"
        assert path.read_bytes() == b"of the run before"
    with av.open(str(grown)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"  # browsers play no other
        shades = [int(frame.to_ndarray(format="gray")[5, 80]) for frame in container.decode(stream)]
    assert 45 <= len(shades) <= 55  # what is missing is the last second
    assert shades == sorted(shades)
    if mode == "whole":  # the next run takes its place
        with VideoSink(path, 10) as sink:
            sink.write(_frame(1), _tracks(1))
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_live_video_shows_each_frame_at_its_time(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    times = [100.0, 100.1, 100.2, 103.0, 103.1]
    with VideoSink(tmp_path / "out.mp4", 10, live=Rotation()) as sink:
        for index, seconds in enumerate(times, start=1):
            sink.write(Frame(_frame(index).image, index, seconds), _tracks(1))
    with av.open(str(tmp_path / "out.mp4")) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert shown == pytest.approx([0, 0.1, 0.2, 3.0, 3.1], abs=1e-3)


def test_without_pyav_the_video_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (encoder, video_sinks):
        monkeypatch.setattr(module, "load_av", lambda: None)
    with VideoSink(tmp_path / "out.mp4") as sink:
        sink.write(_frame(1), _tracks(1))
    assert _count(tmp_path / "out.mp4") == 1
    assert len(sink.notes) == 1
    assert "install PyAV" in sink.notes[0]
