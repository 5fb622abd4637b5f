"""Sources with damage inside, and sources that state something else than they hold."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.errors import DataError
from jdetrt.runtime.sources.container import exact_frames
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.sources.rate import choose_rate, measured_rate, parse_rate
from jdetrt.runtime.sources.video import VideoFile
from jdetrt.types import Frame

FRAMES, SIZE = 150, (160, 120)


def _image(number: int) -> np.ndarray:
    """An image whose upper half says its number in bits, the lower is noise."""
    image = np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    image[:60] = 0
    for bit in range(8):
        image[:60, 20 * bit : 20 * bit + 20] = 255 * (number >> bit & 1)
    return image


def _number(frame: Frame) -> int:
    row = frame.image[30, 10::20].mean(axis=1) > 127
    return int((row << np.arange(8)).sum())


def _write(path: Path, codec: str) -> Path:
    if codec == "h264":
        av = pytest.importorskip("av", reason="PyAV has the encoder for H.264")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"g": "10"})
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for number in range(1, FRAMES + 1):
                frame = av.VideoFrame.from_ndarray(_image(number), format="bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, SIZE)
    assert writer.isOpened()
    for number in range(1, FRAMES + 1):
        writer.write(_image(number))
    writer.release()
    return path


def _damage(path: Path, at: float, share: float) -> Path:
    data = bytearray(path.read_bytes())
    start, length = int(at * len(data)), int(share * len(data))
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    return path


CONTAINERS = [("mp4", "mp4v"), ("mp4", "h264"), ("avi", "MJPG")]


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_a_whole_video_is_whole(tmp_path: Path, suffix: str, codec: str) -> None:
    path = _write(tmp_path / f"v.{suffix}", codec)
    assert exact_frames(path) == FRAMES
    source = open_source(path)
    assert [_number(frame) for frame in source] == list(range(1, FRAMES + 1))
    assert isinstance(source, VideoFile)
    assert source.account.to_dict() == {"taken": FRAMES, "left_out": {}}
    assert not source.account.is_short


@pytest.mark.parametrize(("at", "share"), [(0.4, 0.2), (0.7, 0.05), (0.5, 0.45)])
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_a_damaged_block_is_read_past_and_counted(
    tmp_path: Path, suffix: str, codec: str, at: float, share: float
) -> None:
    source = open_source(_damage(_write(tmp_path / f"v.{suffix}", codec), at, share))
    frames = list(source)
    assert isinstance(source, VideoFile)
    account = source.account
    assert account.taken == len(frames)
    assert account.total == FRAMES
    # A frame behind the damage that refers to one inside of it is lost or spoilt with it.
    assert len(frames) >= FRAMES * (1 - share) - 15
    assert account.lost >= FRAMES * share - 15
    assert account.is_short
    assert f"{len(frames)} of {FRAMES} frames; left out: " in account.summary()


def test_frames_behind_the_damage_keep_their_numbers(tmp_path: Path) -> None:
    source = open_source(_damage(_write(tmp_path / "v.mp4", "mp4v"), 0.4, 0.2))
    frames = list(source)
    assert frames[-1].index == FRAMES
    whole = [frame for frame in frames if frame.index < 55 or frame.index > 110]
    assert [frame.index for frame in whole] == [_number(frame) for frame in whole]


def test_a_little_may_be_missing(tmp_path: Path) -> None:
    path = _write(tmp_path / "v.mp4", "mp4v")
    source = open_source(_damage(path, 0.5, 0.004))
    assert FRAMES - 2 <= len(list(source)) <= FRAMES
    assert isinstance(source, VideoFile)
    assert not source.account.is_short


def test_a_video_without_a_count_that_ends_early_is_noted(tmp_path: Path) -> None:
    source = open_source(_damage(_write(tmp_path / "v.mkv", "MJPG"), 0.4, 0.2))
    assert len(list(source)) < FRAMES
    assert isinstance(source, VideoFile)
    (doubt,) = source.account.doubts
    assert "timestamps have gaps of 3" in doubt
    assert source.account.is_short


def test_a_transport_stream_with_a_hole_is_told(tmp_path: Path) -> None:
    """FFmpeg hides the damage; times go back behind it."""
    av = pytest.importorskip("av")
    path = tmp_path / "v.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
        for number in range(160):
            image = np.roll(noise, number, axis=1).repeat(8, 0).repeat(8, 1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    source = open_source(_damage(path, 0.5, 0.125))
    count = len(list(source))
    assert count < 157
    assert isinstance(source, VideoFile)
    assert source.account.is_short
    told = " ".join([source.account.summary(), *source.account.doubts])
    assert f"of {160 - count} frames beside {count}" in told or "left out" in told


def _webm_of(path: Path, duration: bytes) -> Path:
    """A Matroska file whose default duration of a frame, in ns, is replaced."""
    data = _write(path, "mp4v").read_bytes()
    at = data.index(b"\x23\xe3\x83")  # DefaultDuration
    width = data[at + 3] & 0x7F
    path.write_bytes(data[: at + 4] + duration.rjust(width, b"\0") + data[at + 4 + width :])
    return path


def test_a_rate_that_the_timestamps_contradict(tmp_path: Path) -> None:
    path = _webm_of(tmp_path / "v.mkv", struct.pack(">I", 1_000_000))  # 1 ms: 1000 FPS
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) > 100
    source = open_source(path)
    assert (source.frame_rate, source.length) == (25, FRAMES)
    list(source)
    assert isinstance(source, VideoFile)
    assert any("its timestamps say 25; 25 is used" in note for note in source.account.notes)
    assert open_source(path, frame_rate=12.5).frame_rate == 12.5


@pytest.mark.parametrize("stated", [1000.0, 90_000.0, 0.0, float("nan"), 1e-310, 5.0])
def test_times_win_over_what_is_stated(stated: float) -> None:
    rate, note = choose_rate(stated, measured_rate([0, 0.0333, 0.0667, 0.1]))
    assert rate == 30
    assert note is not None
    assert "30 is used" in note


@pytest.mark.parametrize(
    ("stated", "rate", "noted"),
    [(29.97, 29.97, False), (0.0, 30, True), (90_000.0, 30, True), (float("inf"), 30, True)],
)
def test_without_times_a_usual_rate_is_believed(stated: float, rate: float, noted: bool) -> None:
    chosen, note = choose_rate(stated, measured_rate([0.0, 0.0, 0.0]))
    assert (chosen, note is not None) == (rate, noted)


def test_a_rare_rate_that_the_times_confirm_is_kept() -> None:
    assert choose_rate(480.0, measured_rate([i / 480 for i in range(16)])) == (480.0, None)


def test_rates_as_people_write_them() -> None:
    assert parse_rate(" 30000/1001 ") == pytest.approx(29.97, abs=0.001)
    assert parse_rate("12.5") == 12.5
    for text in ("", "0", "-5", "1/0", "x", "nan", "inf", "1e400", "1_0", "1001"):
        with pytest.raises(DataError, match="frames per second above 0"):
            parse_rate(text)
