from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jdetrt.errors import SourceError
from jdetrt.runtime.sources import camera_uri, network
from jdetrt.runtime.sources import gstreamer as gstreamer_module
from jdetrt.runtime.sources import status as status_module
from jdetrt.runtime.sources.camera import Camera
from jdetrt.runtime.sources.images import Images
from jdetrt.runtime.sources.open import Source, open_source
from jdetrt.runtime.sources.video import VideoFile
from jdetrt.types import Frame

SHARED = Path(__file__).parents[2] / "../shared/data"
SIZE = (64, 48)


def _picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture whose blue channel says its number, blurred little by compression."""
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    image[:, :, 0] = 4 * number % 256
    return image


def _number(frame: Frame) -> int:
    return round(float(frame.image[:, :, 0].mean()) / 4)


def _write_pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, start=1):
        cv2.imwrite(str(folder / name), _picture(number))
    return folder


def _write_video(path: Path, frames: int = 40, codec: str = "MJPG", rate: float = 25) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, SIZE)
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for number in range(1, frames + 1):
        picture = _picture(number)
        blocks = rng.integers(64, 192, (SIZE[1] // 8, SIZE[0] // 8, 2), np.uint8)
        picture[:, :, 1:] = blocks.repeat(8, 0).repeat(8, 1)
        writer.write(picture)
    writer.release()
    return path


def _cut(path: Path, share: float) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


def _until_error(source: Source) -> tuple[list[Frame], str]:
    """All frames before the SourceError, and its message."""
    frames: list[Frame] = []
    with pytest.raises(SourceError) as caught, source:  # noqa: PT012
        for frame in source:
            frames.append(frame)  # noqa: PERF402
    return frames, str(caught.value)


# Pictures


def test_a_folder_in_natural_order(tmp_path: Path) -> None:
    folder = _write_pictures(tmp_path / "walk", ["a1.png", "a2.PNG", "a10.jpg", "b.bmp"])
    (folder / "notes.txt").write_text("no picture")
    (folder / "._a1.png").write_bytes(b"left by a file manager")
    with open_source(folder) as source:
        frames = list(source)
    assert isinstance(source, Source)
    assert (source.name, source.frame_rate, source.size, source.length, source.live) == (
        "walk",
        30.0,
        SIZE,
        4,
        False,
    )
    assert [frame.name for frame in frames] == ["a1.png", "a2.PNG", "a10.jpg", "b.bmp"]
    assert [frame.index for frame in frames] == [1, 2, 3, 4]
    assert [_number(frame) for frame in frames] == [1, 2, 3, 4]
    assert frames[3].timestamp == pytest.approx(0.1)


def test_the_caller_knows_the_frame_rate_better(tmp_path: Path) -> None:
    folder = _write_pictures(tmp_path / "walk", ["1.png", "2.png"])
    assert open_source(folder, frame_rate=5).frame_rate == 5
    video = _write_video(tmp_path / "v.avi", 3)
    assert open_source(video).frame_rate == 25
    assert open_source(video, frame_rate=5).frame_rate == 5
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SourceError, match="expected a frame rate above 0"):
            open_source(folder, frame_rate=bad)


def test_a_pattern(tmp_path: Path) -> None:
    _write_pictures(tmp_path / "one", ["9.png", "10.png"])
    _write_pictures(tmp_path / "two", ["1.jpg"])
    source = open_source(f"{tmp_path}/one/*.png")
    assert source.name == "one"
    assert [frame.name for frame in source] == ["9.png", "10.png"]
    assert [frame.name for frame in open_source(f"{tmp_path}/**/[0-9]*.*")] == [
        "9.png",
        "10.png",
        "1.jpg",
    ]


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    folder = _write_pictures(tmp_path / "take [1]", ["1.png"])
    assert open_source(str(folder)).length == 1


def test_one_picture(tmp_path: Path) -> None:
    _write_pictures(tmp_path, ["only.png"])
    assert [_number(frame) for frame in open_source(tmp_path / "only.png")] == [1]


def _sequence(folder: Path, **changes: Any) -> Path:
    """A MOT sequence of three pictures."""
    keys = {"name": "Other", "imDir": "img1", "frameRate": 14, "seqLength": 3, "imExt": ".jpg"}
    _write_pictures(folder / "img1", ["000001.jpg", "000002.jpg", "000003.jpg"])
    lines = "".join(f"{key}={value}\n" for key, value in (keys | changes).items())
    (folder / "seqinfo.ini").write_text("[Sequence]\n" + lines)
    return folder


def test_a_mot_sequence_has_the_name_of_its_folder(tmp_path: Path) -> None:
    source = open_source(_sequence(tmp_path / "MOT17-05-FRCNN"))
    assert (source.name, source.frame_rate, source.length) == ("MOT17-05-FRCNN", 14.0, 3)
    assert [frame.name for frame in source] == ["000001.jpg", "000002.jpg", "000003.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seqLength": 2}, "states 2 images .* img1 holds 3"),
        ({"seqLength": 5}, "states 5 images .* img1 holds 3; .* missing is 000004.jpg"),
        ({"imExt": ".png"}, "states 3 images .* img1 holds 0"),
        ({"imDir": "frames"}, "folder frames, which does not exist; .*--detections"),
        ({"frameRate": "x"}, "seqinfo.ini: expected a number above 0"),
    ],
)
def test_a_mot_sequence_that_contradicts_itself(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(_sequence(tmp_path / "seq", **changes))


def test_a_frame_missing_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = _sequence(tmp_path / "seq")
    (folder / "img1/000002.jpg").unlink()
    with pytest.raises(SourceError, match=r"holds 2; the first that is missing is 000002.jpg"):
        open_source(folder)


def _spoil(how: str) -> Callable[[Path], object]:
    return {
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("this is no picture\n" * 50),
        "truncated": lambda path: _cut(path, 0.6),
        "gone": lambda path: path.unlink(),
        "a folder": lambda path: (path.unlink(), path.mkdir()),
        "larger": lambda path: cv2.imwrite(str(path), _picture(1, (80, 48))),
        "huge": lambda path: os.truncate(path, 1 << 40),
    }[how]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "empty"),
        ("text", "not an image"),
        ("truncated", "truncated|damaged"),
        ("gone", "cannot be read .No such file"),
        ("a folder", "cannot be read .Is a directory"),
        ("huge", "cannot be read .* larger than 256 MiB"),
    ],
)
def test_a_bad_picture_in_the_middle_is_left_out_and_named(
    tmp_path: Path, suffix: str, how: str, message: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for number in (1, 2, 3, 4):
        cv2.imwrite(str(tmp_path / f"{number}{suffix}"), noise)
    source = open_source(tmp_path)
    assert isinstance(source, Images)
    _spoil(how)(tmp_path / f"3{suffix}")
    frames = list(source)
    assert [frame.index for frame in frames] == [1, 2, 4]
    assert source.account.summary() == "3 of 4 images; left out: 1 that cannot be read"
    assert source.account.is_short
    (note,) = source.account.notes
    assert re.match(f"{tmp_path}/3{suffix}: .*({message})", note)


def test_a_larger_picture_in_the_middle_is_named_after_the_good_ones(tmp_path: Path) -> None:
    _write_pictures(tmp_path, ["1.png", "2.png", "3.png"])
    cv2.imwrite(str(tmp_path / "3.png"), _picture(1, (80, 48)))
    frames, error = _until_error(open_source(tmp_path))
    assert [frame.index for frame in frames] == [1, 2]
    assert "3.png: the image is 80x48, those before it are 64x48" in error


def test_a_bad_first_picture_and_none_that_is_good(tmp_path: Path) -> None:
    folder = _write_pictures(tmp_path / "walk", ["1.png", "2.png"])
    _spoil("empty")(folder / "1.png")
    source = open_source(folder)
    assert source.size == SIZE
    assert [frame.index for frame in source] == [2]
    _spoil("text")(folder / "2.png")
    with pytest.raises(SourceError, match=r"1.png: the image is empty"):
        open_source(folder)


@pytest.mark.parametrize(("first", "said"), [(1, ""), (0, "numbered 0, as frame 1")])
def test_a_sequence_without_a_seqinfo(tmp_path: Path, first: int, said: str) -> None:
    _write_pictures(tmp_path / "seq" / "img1", [f"{first + i:06d}.jpg" for i in range(3)])
    source = open_source(tmp_path / "seq")
    assert isinstance(source, Images)
    assert (source.name, source.frame_rate) == ("seq", 30.0)
    assert [frame.index for frame in source] == [1, 2, 3]
    (note,) = source.account.notes
    assert "has no seqinfo.ini; 3 images at 30 FPS are assumed" in note
    assert said in note
    assert open_source(tmp_path / "seq", frame_rate=14).frame_rate == 14


def test_a_stated_size_that_the_images_have_not(tmp_path: Path) -> None:
    source = open_source(_sequence(tmp_path / "seq", imWidth=1920, imHeight=1080))
    assert isinstance(source, Images)
    assert len(list(source)) == 3
    assert "seqinfo.ini states 1920x1080, but the images are 64x48" in source.account.notes[0]


def test_a_thumbnail_does_not_hide_a_truncated_jpeg(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    thumbnail = cv2.imencode(".jpg", _picture(1))[1].tobytes()
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    block = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = whole[:2] + block + whole[2:]
    (tmp_path / "a.jpg").write_bytes(data)
    assert open_source(tmp_path).length == 1
    (tmp_path / "a.jpg").write_bytes(data[:-200])
    with pytest.raises(SourceError, match="truncated"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]]
)
def test_what_follows_a_jpeg_does_not_make_it_truncated(tmp_path: Path, options: list[int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise, options)[1].tobytes()
    path = tmp_path / "a.jpg"
    video = b"ftypmp42 \xff\xda of a motion photo"
    path.write_bytes(jpeg + video)
    assert open_source(path).size == SIZE
    for share in (0.3, 0.6, 0.99):
        path.write_bytes(jpeg[: int(len(jpeg) * share)])
        with pytest.raises(SourceError, match="truncated"):
            open_source(path)


def test_an_extension_without_its_dot(tmp_path: Path) -> None:
    assert open_source(_sequence(tmp_path / "seq", imExt="jpg")).length == 3


# Video files


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "MJPG"), (".avi", "XVID"), (".mp4", "mp4v"), (".mkv", "mp4v")]
)
def test_a_video(tmp_path: Path, suffix: str, codec: str) -> None:
    path = _write_video(tmp_path / f"clip{suffix}", 40, codec)
    with open_source(path) as source:
        frames = list(source)
    assert (source.name, source.frame_rate, source.size, source.length, source.live) == (
        "clip",
        25.0,
        SIZE,
        40,
        False,
    )
    assert [frame.index for frame in frames] == list(range(1, 41))
    assert [_number(frame) for frame in frames] == pytest.approx(list(range(1, 41)), abs=2)
    stamps = [float(frame.timestamp or 0) for frame in frames]
    assert stamps == pytest.approx([i / 25 for i in range(40)], abs=0.05)
    assert stamps == sorted(set(stamps), key=float)


def test_a_video_can_be_read_again_and_be_left_in_the_middle(tmp_path: Path) -> None:
    source = open_source(_write_video(tmp_path / "v.avi"))
    for frame in source:
        if frame.index == 3:
            break
    assert len(list(source)) == 40
    iterator = iter(source)
    next(iterator)
    source.close()
    assert list(iterator) == []


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "MJPG"), (".avi", "XVID"), (".mkv", "mp4v")]
)
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_video_that_breaks_off(tmp_path: Path, suffix: str, codec: str, share: float) -> None:
    path = _write_video(tmp_path / f"v{suffix}", 60, codec)
    frames, error = _until_error(open_source(_cut(path, share)))
    assert 1 <= len(frames) < 58
    assert [_number(frame) for frame in frames] == pytest.approx(
        list(range(1, len(frames) + 1)), abs=2
    )
    assert error == (
        f"{path}: the video is cut off: the last good frame is {len(frames)}, but its container "
        "states 60; copy the file again"
    )


def test_an_mp4_without_its_index(tmp_path: Path) -> None:
    path = _cut(_write_video(tmp_path / "v.mp4", codec="mp4v"), 0.9)
    with pytest.raises(SourceError, match=r"v.mp4: the video is truncated: its index \(moov\)"):
        open_source(path)


def test_a_matroska_file_with_a_longer_sound_or_a_gap(tmp_path: Path) -> None:
    """Its number of frames is a duration times a rate, and the duration is of all there is."""
    path = _write_video(tmp_path / "v.mkv", 40, "mp4v")
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # the element Duration, a double of 8 bytes
    longer = 1.5 * struct.unpack(">d", data[at : at + 8])[0]
    path.write_bytes(data[:at] + struct.pack(">d", longer) + data[at + 8 :])
    source = open_source(path)
    assert source.length is not None
    assert source.length > 55
    assert len(list(source)) == 40


def test_a_matroska_file_of_unknown_size(tmp_path: Path) -> None:
    """A recording that was never closed; what there is of it is all there is."""
    path = _write_video(tmp_path / "v.mkv", 40, "mp4v")
    data = path.read_bytes()
    at = data.index(b"\x18\x53\x80\x67") + 4  # the segment, its size in 8 bytes
    assert data[at] == 1
    path.write_bytes((data[:at] + b"\x01" + 7 * b"\xff" + data[at + 8 :])[: len(data) // 2])
    assert 1 <= len(list(open_source(path))) < 38


def test_an_mp4_with_frames_that_are_not_shown(tmp_path: Path) -> None:
    """A clip cut without encoding again has an edit list: it starts after the first frames."""
    path = _write_video(tmp_path / "v.mp4", 40, "mp4v")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    ticks = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]  # a second of the track
    assert struct.unpack(">II", data[at + 4 : at + 12]) == (0, 1)  # version 0, one edit
    data[at + 16 : at + 20] = struct.pack(">I", ticks)  # it starts after 1 s, 25 frames
    path.write_bytes(data)
    source = open_source(path)
    assert source.length == 40
    assert len(list(source)) < 30


def test_an_mp4_with_its_index_in_front_that_breaks_off(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "v.mp4", 60, "mp4v")
    path.write_bytes(_index_in_front(path.read_bytes()))
    assert len(list(open_source(path))) == 60
    frames, error = _until_error(open_source(_cut(path, 0.6)))
    assert 1 <= len(frames) < 58
    assert "the video is cut off" in error


def _index_in_front(data: bytes) -> bytes:
    """Move the box moov of an MP4 file before mdat, and the places of the frames with it."""
    boxes, start = {}, 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        boxes[data[start + 4 : start + 8]] = data[start : start + length]
        start += length
    moov = bytearray(boxes[b"moov"])
    at = moov.index(b"stco") + 8
    count = int.from_bytes(moov[at : at + 4], "big")
    places = np.frombuffer(bytes(moov), ">u4", count, at + 4) + len(moov)
    moov[at + 4 : at + 4 + 4 * count] = places.astype(">u4").tobytes()
    rest = b"".join(box for name, box in boxes.items() if name not in (b"ftyp", b"moov"))
    return boxes[b"ftyp"] + bytes(moov) + rest


@pytest.mark.parametrize("name", [b"v\xff.mp4", b"v\xff.avi"])
def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    try:
        _write_video(tmp_path / "v.avi").rename(path)
    except OSError as err:
        pytest.skip(f"this file system takes no such name: {err}")
    with pytest.raises(SourceError, match=r"takes? only names in UTF-8, .*; rename it"):
        open_source(path)  # OpenCV would crash


def test_a_uri_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(SourceError, match="names in UTF-8"):
        open_source(os.fsdecode(b"gst:videotestsrc name=\xff ! appsink"))


def test_a_name_in_utf8_opens_in_any_locale(tmp_path: Path) -> None:
    _write_video(tmp_path / "é.avi", 4)
    program = (
        "import glob, sys; from jdetrt.runtime.sources.open import open_source;"
        "print(len(list(open_source(glob.glob(sys.argv[1])[0]))))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, f"{tmp_path}/*.avi"],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.returncode) == ("4\n", 0), run.stderr


class _Capture:
    """A capture that gives ``frames`` pictures and then no more, or raises."""

    def __init__(
        self, frames: int, promised: float = 0, error: Exception | None = None, rate: float = 25
    ) -> None:
        self.left = frames
        self.count = 0
        self.error = error
        self.values = {5: rate, 7: promised, 3: SIZE[0], 4: SIZE[1]}
        self.released = False

    def get(self, property_: int, /) -> float:
        return self.values.get(property_, 0.0)

    def read(self) -> tuple[bool, Any]:
        if self.left == 0:
            if self.error is not None:
                raise self.error
            return False, None
        self.left -= 1
        self.count += 1
        return True, _picture(self.count)

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize(
    ("promised", "decoded", "cut", "complete"),
    [
        (40, 40, False, True),
        (40, 20, False, True),  # variable rate, longer sound, a gap, frames that are not shown
        (40, 45, False, True),
        (0, 12, False, True),  # a stream that was recorded states no number
        (-9e18, 12, False, True),
        (float("nan"), 12, False, True),
        (40, 40, True, True),
        (40, 38, True, True),
        (40, 37, True, False),
        (2000, 1980, True, True),  # 1 %
        (2000, 1979, True, False),
        (0, 12, True, False),
    ],
)
def test_the_rule_for_a_video_that_is_short(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promised: float,
    decoded: int,
    cut: bool,
    complete: bool,
) -> None:
    path = tmp_path / "v.mp4"
    # Two boxes of 16 bytes, the second cut or not (ISO/IEC 14496-12, 4.2).
    path.write_bytes(
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x10mdat" + bytes(8))[: -1 if cut else 99]
    )
    captures: list[_Capture] = []

    def open_(self: VideoFile) -> _Capture:
        captures.append(_Capture(decoded, promised))
        return captures[-1]

    monkeypatch.setattr(VideoFile, "_open", open_)
    source = VideoFile(path)
    if complete:
        assert sum(1 for _ in source) == decoded
    else:
        frames, error = _until_error(source)
        assert len(frames) == decoded
        assert (
            f"the last good frame is {decoded}, but its container states {promised or 'more'}"
            in error
        )
    assert all(capture.released for capture in captures)


def test_a_frame_that_opencv_fails_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = iter([_Capture(9, 9), _Capture(3, 9, cv2.error("bad"))])
    monkeypatch.setattr(VideoFile, "_open", lambda self: next(opened))
    frames, error = _until_error(VideoFile(Path("v.mp4")))
    assert len(frames) == 3
    assert "frame 4 cannot be decoded" in error
    assert "the last good frame is 3 of 9" in error


def test_a_video_without_a_time_or_a_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VideoFile, "_open", lambda self: _Capture(3, rate=90_000))
    (tmp_path / "v.ts").write_bytes(bytes(99))
    source = VideoFile(tmp_path / "v.ts")
    assert source.frame_rate == 30.0
    assert [frame.timestamp for frame in source] == pytest.approx([0, 1 / 30, 2 / 30])


def test_files_that_are_no_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with pytest.raises(SourceError, match=r"v.mp4: no such file or folder; expected a video"):
        open_source(path)
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"v.mp4: the video is empty \(0 bytes\)"):
        open_source(path)
    path.write_text("not a video\n" * 99)
    with pytest.raises(SourceError, match=r"v.mp4: not a video: it looks like text"):
        open_source(path)
    path.write_bytes(os.urandom(5000))
    with pytest.raises(SourceError, match=r"v.mp4: not a video that this OpenCV can decode"):
        open_source(path)
    with path.open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(SourceError, match=r"v.mp4: not a video that this OpenCV can decode"):
        open_source(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe: neither a file nor a folder"):
        open_source(tmp_path / "pipe")


@pytest.mark.parametrize("uri", ["{}", "{}/*.jpg", "{}/**/x[0-9].png"])
def test_nothing_to_see(tmp_path: Path, uri: str) -> None:
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(SourceError, match=r"no images found \(looked for .bmp, .jpeg, .jpg"):
        open_source(uri.format(tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "no source given"),
        ("  ", "no source given"),
        ("/nowhere/at/all", "no such file or folder"),
        ("http://no.such.host.invalid/v.mp4", "does not open .there is no host no.such.host"),
        ("ftp://me:secret@host/v", r"ftp://me:\*\*\*@host/v: ftp:// is not supported"),
        ("camera:", "expected the number of a camera"),
        ("camera:front", "expected the number of a camera"),
        ("csi://x", "expected the number of a camera"),
        ("camera:0?size=3", "expected whole numbers for fps, height, width, got size=3"),
        ("csi://0?width=full", "expected whole numbers for .*, got width=full"),
        ("rtsp://", "expected a host, as in rtsp://host/stream"),
        ("rtsp://host/s#av1", "expected #h264 or #h265 at its end, if any"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_uris_that_mean_nothing(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(uri)


# Cameras and streams


@pytest.mark.parametrize("uri", ["camera:97", "/dev/video97"])
def test_a_camera_that_is_not_there(uri: str) -> None:
    with pytest.raises(SourceError, match=r"/dev/video97 "):
        open_source(uri)


@pytest.mark.parametrize(
    ("uri", "pipeline"),
    [
        ("csi://1?width=1280&height=720&fps=60", "nvarguscamerasrc sensor-id=1 ! .*width=1280,"),
        ("gst:videotestsrc ! appsink", "videotestsrc ! appsink"),
    ],
)
def test_without_gstreamer_the_pipeline_is_shown(
    monkeypatch: pytest.MonkeyPatch, uri: str, pipeline: str
) -> None:
    monkeypatch.setattr(gstreamer_module, "has_gstreamer", lambda: False)
    with pytest.raises(
        SourceError, match=f"built without GStreamer(?s:.)*The pipeline is:\n  {pipeline}"
    ):
        open_source(uri)


class _Cv2:
    """Stands in for cv2: remembers what is opened, and opens or not."""

    CAP_GSTREAMER, CAP_FFMPEG, CAP_V4L2, CAP_ANY = 1800, 1900, 200, 0
    CAP_PROP_FOURCC, CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS = 6, 3, 4, 5

    def __init__(self, opens: bool) -> None:
        self.opens = opens
        self.opened: list[tuple[Any, ...]] = []
        self.set_to: dict[int, float] = {}

    def VideoCapture(self, *arguments: Any) -> Any:
        self.opened.append(arguments)
        capture: Any = _Capture(0)
        capture.isOpened = lambda: self.opens
        capture.set = self.set_to.__setitem__
        return capture

    @staticmethod
    def VideoWriter_fourcc(*letters: str) -> str:
        return "".join(letters)


@pytest.fixture
def fake_cv2(monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Cv2]:
    def install(*, opens: bool = True, gstreamer: bool = True) -> _Cv2:
        fake = _Cv2(opens)
        for module in (camera_uri, network, gstreamer_module):
            monkeypatch.setattr(module, "load_cv2", lambda: fake)
            monkeypatch.setattr(module, "has_gstreamer", lambda: gstreamer, raising=False)
        monkeypatch.setattr(network, "gstreamer_version", lambda: (1, 22) if gstreamer else None)
        monkeypatch.setattr(network, "explain", lambda url: "")
        monkeypatch.setattr(network, "load_av", lambda: None)
        return fake

    return install


def test_with_gstreamer_the_pipeline_is_opened(fake_cv2: Callable[..., _Cv2]) -> None:
    fake = fake_cv2()
    source = open_source("gst:videotestsrc ! appsink")
    assert fake.opened == [("videotestsrc ! appsink", 1800)]
    assert (source.live, source.length, source.size, source.name) == (True, None, SIZE, "gst")
    assert open_source("csi://0?fps=60").frame_rate == 60
    assert "framerate=60/1" in fake.opened[1][0]
    with pytest.raises(SourceError, match="must end in an appsink"):
        open_source("gst:videotestsrc ! fakesink")


def test_a_pipeline_that_does_not_start_is_shown(fake_cv2: Callable[..., _Cv2]) -> None:
    fake_cv2(opens=False)
    with pytest.raises(SourceError, match=r"cannot start the pipeline(?s:.)*sensor-id=0") as caught:
        open_source("csi://0")
    assert "gst-launch-1.0" in str(caught.value)


@pytest.mark.parametrize("gstreamer", [True, False])
def test_a_password_is_used_and_not_shown(fake_cv2: Callable[..., _Cv2], gstreamer: bool) -> None:
    fake = fake_cv2(gstreamer=gstreamer)
    source = open_source("rtsp://me:p@ss@10.0.0.7:554/stream1")
    assert source.uri == "rtsp://me:***@10.0.0.7:554/stream1"
    assert source.name == "10-0-0-7-554-stream1"
    assert "rtsp://me:p@ss@10.0.0.7:554/stream1" in fake.opened[0][0]
    fake_cv2(opens=False, gstreamer=gstreamer)
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://me:p@ss@10.0.0.7:554/stream1")
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    ("jetson", "decoder"),
    [(True, "rtph265depay ! h265parse ! nvv4l2decoder"), (False, "decodebin")],
)
def test_a_jetson_decodes_in_hardware(
    fake_cv2: Callable[..., _Cv2], monkeypatch: pytest.MonkeyPatch, jetson: bool, decoder: str
) -> None:
    fake = fake_cv2()
    monkeypatch.setattr(camera_uri, "on_jetson", lambda: jetson)
    open_source("rtsp://host/s#h265")
    assert decoder in fake.opened[0][0]
    assert 'location="rtsp://host/s"' in fake.opened[0][0]


def test_the_cpu_decodes_rtsp_of_a_jetson_where_it_is_asked_to(
    fake_cv2: Callable[..., _Cv2], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_cv2()
    monkeypatch.setattr(camera_uri, "on_jetson", lambda: True)
    open_source("rtsp://host/s#h265", decoder="cpu")
    assert "decodebin" in fake.opened[0][0]
    assert "nvv4l2decoder" not in fake.opened[0][0]


def test_a_file_goes_to_the_hardware_decoder_of_a_jetson_and_loses_no_frame(
    fake_cv2: Callable[..., _Cv2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = fake_cv2()
    monkeypatch.setattr(gstreamer_module, "on_jetson", lambda: True)
    monkeypatch.setattr(gstreamer_module, "has_gstreamer", lambda: True)
    monkeypatch.setattr(gstreamer_module, "missing_elements", lambda probe, jetson: {})
    path = tmp_path / 'a "walk".mp4'
    path.write_bytes(b"video")
    source = open_source(path, decoder="nvdec")
    assert not source.live
    assert source.name == 'a "walk"'
    pipeline = fake.opened[0][0]
    assert r'location="' in pipeline
    assert r"a \"walk\".mp4" in pipeline
    assert "nvv4l2decoder" in pipeline
    assert "drop" not in pipeline


@pytest.mark.parametrize(
    ("jetson", "gstreamer", "missing", "words"),
    [
        (False, True, {}, "on a Jetson, and this machine is none"),
        (True, False, {}, "built without GStreamer"),
        (True, True, {"nvvidconv": "nvidia-l4t-gstreamer"}, "lacks nvvidconv, of the package"),
    ],
)
def test_a_hardware_decoder_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    jetson: bool,
    gstreamer: bool,
    missing: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setattr(gstreamer_module, "on_jetson", lambda: jetson)
    monkeypatch.setattr(gstreamer_module, "has_gstreamer", lambda: gstreamer)
    monkeypatch.setattr(gstreamer_module, "missing_elements", lambda probe, jetson: missing)
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"video")
    for uri in (str(path), "rtsp://user:secret@host/stream"):
        with pytest.raises(SourceError, match=rf"no hardware decoder .*{words}") as caught:
            open_source(uri, decoder="nvdec")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["camera:0", "http://host/a.mjpg", "gst:videotestsrc ! appsink"])
def test_what_a_hardware_decoder_does_not_take(uri: str, tmp_path: Path) -> None:
    for source in (uri, str(tmp_path)):
        with pytest.raises(SourceError, match="takes video files and rtsp"):
            open_source(source, decoder="nvdec")


def test_a_usb_camera_and_its_options(
    fake_cv2: Callable[..., _Cv2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/video0", "/dev/video2"])
    fake = fake_cv2()
    assert open_source("camera:2").name == "camera2"
    assert fake.opened == [(2, 200)]
    assert fake.set_to == {}
    open_source("/dev/video2")
    open_source("camera:0?width=1280&height=720&fps=30")
    assert fake.opened[1:] == [(2, 200), (0, 200)]
    assert fake.set_to == {6: "MJPG", 3: 1280, 4: 720, 5: 30}
    with pytest.raises(SourceError, match=r"/dev/video1 .*/dev/video0, /dev/video2"):
        open_source("camera:1")
    fake_cv2(opens=False)
    with pytest.raises(SourceError, match=r"does not open; .*no other program is using it"):
        open_source("camera:0")


class _Live(_Capture):
    """A camera that gives a frame each time it is let."""

    def __init__(self, frames: int = -1) -> None:
        super().__init__(frames)
        self.let = threading.Semaphore(0)

    def read(self) -> tuple[bool, Any]:
        self.let.acquire()
        return super().read()


def _camera(*captures: _Capture, **options: Any) -> Camera:
    opened = iter(captures)

    def open_capture() -> _Capture:
        capture = next(opened, None)
        if capture is None:
            raise SourceError("cam: connection refused")
        return capture

    return Camera("cam", open_capture, name="cam", **options)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_slow_consumer_gets_the_newest_frame() -> None:
    capture = _Live()
    before = time.monotonic()
    with _camera(capture) as source:
        frames = iter(source)
        capture.let.release()
        first = next(frames)
        capture.let.release(5)
        _until(lambda: source.dropped == 4)
        sixth = next(frames)
        assert (first.index, sixth.index) == (1, 6)
        assert [_number(first), _number(sixth)] == [1, 6]
        assert source.dropped == 4
        assert first.timestamp is not None
        assert sixth.timestamp is not None
        assert before <= first.timestamp <= sixth.timestamp <= time.monotonic()
        capture.let.release()  # or the thread waits in read for ever
        source.close()
        assert list(frames) == []
    assert capture.released


def test_without_reconnecting_a_camera_that_is_unplugged_is_lost() -> None:
    capture = _Capture(1)
    frames, error = _until_error(_camera(capture, reconnect_for=0))
    # The camera may fail before anyone has taken its last frame; that frame still comes first.
    assert [frame.index for frame in frames] == [1]
    assert error == "cam: lost after frame 1 (gives no more frames)"
    assert capture.released


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(status_module, "_LONGEST_WAIT", 0.05)


@pytest.mark.usefixtures("no_wait")
def test_a_stream_is_opened_again_for_a_time() -> None:
    first, dead, second = _Capture(2), _Capture(0), _Capture(3)
    said: list[str] = []
    source = _camera(first, dead, second, reconnect_for=0.3, say=said.append)
    frames, error = _until_error(source)
    assert frames[-1].index == 5  # frame numbers go on
    assert len(frames) + source.dropped == 5
    match = re.fullmatch(
        r"cam: lost after frame 5 \(cam: connection refused\); away for 0\.\d s, "
        r"opened again (\d+) times in vain",
        error,
    )
    assert match is not None
    assert int(match[1]) >= 6  # waits of 1, 2, 4, 8, 16, 32, then 50 ms
    assert all(capture.released for capture in (first, dead, second))
    status = source.status()
    assert (status.connected, status.captured, status.outages, status.stalls) == (False, 5, 2, 0)
    assert 0.3 <= status.away_seconds < 5
    assert said[0] == "cam: lost after frame 2 (gives no more frames); opening it again"
    assert re.fullmatch(r"cam: back after \d\.\d s", said[1])
    assert said[3] == "cam: connection refused; trying again"
    assert len(said) == 4  # and not once for each try


@pytest.mark.usefixtures("no_wait")
def test_a_stream_that_comes_back_in_another_size() -> None:
    class Wide(_Capture):
        def read(self) -> tuple[bool, Any]:
            ok, _ = super().read()
            return ok, _picture(1, (80, 48))

    said: list[str] = []
    source = _camera(_Capture(1), Wide(3), reconnect_for=0.1, say=said.append)
    frames, _ = _until_error(source)
    assert (frames[0].image.shape, frames[-1].image.shape) == ((48, 64, 3), (48, 80, 3))
    assert source.size == (80, 48)
    assert source.status().size_changes == 1
    assert "cam: frame 2 is 80x48, those before it 64x48" in said


@pytest.mark.usefixtures("no_wait")
def test_a_source_that_is_away_at_the_beginning_is_waited_for() -> None:
    tries: Iterator[SourceError | _Capture] = iter(
        [SourceError("cam: off"), SourceError("cam: off"), _Capture(2)]
    )
    said: list[str] = []

    def open_capture() -> _Capture:
        capture = next(tries, SourceError("cam: gone"))
        if isinstance(capture, SourceError):
            raise capture
        return capture

    source = Camera("cam", open_capture, name="cam", wait=True, reconnect_for=0.5, say=said.append)
    assert not source.status().connected
    frames, error = _until_error(source)
    assert frames[-1].index == 2
    assert error.startswith("cam: lost after frame 2 (cam: gone); away for 0.5 s")
    assert said[0] == "cam: off; trying again"


@pytest.mark.usefixtures("no_wait")
def test_a_reader_that_hangs_is_replaced() -> None:
    hung, good = _Live(), _Capture(2)
    said: list[str] = []
    source = _camera(hung, good, stall_timeout=0.05, reconnect_for=0.5, say=said.append)
    frames, error = _until_error(source)
    assert frames[-1].index == 2
    assert error.startswith("cam: lost after frame 2 ")
    assert said[0] == "cam: lost (no frame for 0.05 s); opening it again"
    assert (source.status().outages, source.status().stalls) == (2, 1)
    hung.let.release()  # it comes to life at last, and goes
    _until(lambda: hung.released)
    assert frames[-1].index == 2


@pytest.mark.usefixtures("no_wait")
def test_many_outages_leave_nothing_behind() -> None:
    captures = [_Capture(1) for _ in range(40)]
    source = _camera(*captures, reconnect_for=0.2)
    frames, _ = _until_error(source)
    assert frames[-1].index == 40
    assert source.status().outages == 40
    assert all(capture.released for capture in captures)
    assert len(source._readers) == 1


@pytest.mark.usefixtures("no_wait")
def test_a_driver_that_always_hangs_is_given_up() -> None:
    captures = [_Live() for _ in range(9)]
    source = _camera(*captures, stall_timeout=0.02)
    with pytest.raises(SourceError, match=r"cam: lost after frame 0: 5 readers hang"):
        next(iter(source))
    for capture in captures[:5]:
        capture.let.release()
    source.close()
    _until(lambda: all(capture.released for capture in captures[:5]))


def test_an_error_in_the_driver_reaches_the_consumer() -> None:
    _, error = _until_error(_camera(_Capture(0, error=cv2.error("boom")), reconnect_for=0))
    assert error.startswith("cam: ")
    assert "boom" in error


def test_closing_a_camera_that_was_never_read() -> None:
    capture = _Capture(1)
    source = _camera(capture, frame_rate=12)
    assert source.frame_rate == 12
    source.close()
    source.close()
    assert capture.released
    assert list(source) == []


# Real data


def test_the_sample_video_and_sequence() -> None:
    video = SHARED / "video/one-by-one-person-detection.mp4"
    if not video.is_file():
        pytest.skip(f"{video} is not there")
    with open_source(video) as source:
        assert (source.frame_rate, source.size, source.length) == (10.0, (768, 432), 1394)
    with open_source(SHARED / "sequences/MOT17-09") as source:
        assert (source.frame_rate, source.size, source.length) == (30.0, (960, 540), 525)
        assert next(iter(source)).name == "000001.jpg"
