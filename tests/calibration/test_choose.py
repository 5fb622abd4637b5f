"""Which frames a calibration is made on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from phases import Phases

from jdetrt.calibration.frames.choose import choose_frames
from jdetrt.calibration.frames.frame_list import ChosenFrame, FrameList
from jdetrt.calibration.frames.scan import distinct, fingerprint
from jdetrt.errors import CalibrationError, SourceError
from jdetrt.runtime.preprocess import letterbox
from jdetrt.runtime.sources.open import open_source
from jdetrt.testing import FakeSession
from jdetrt.types import Array

SIZE = (64, 48)
NETWORK = (128, 64)


def picture(seed: int, brightness: float = 128, size: tuple[int, int] = SIZE) -> Array:
    """Blocks at random, so that no two are alike, of about this brightness."""
    random = np.random.default_rng(seed)
    blocks = random.uniform(-30, 30, (12, 16, 3)) + brightness
    grown = cv2.resize(blocks, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(grown.clip(0, 255).astype(np.uint8))


def write_folder(folder: Path, pictures: list[Array]) -> Path:
    folder.mkdir(parents=True)
    for i, one in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:04d}.png"), one)
    return folder


def write_video(path: Path, pictures: list[Array]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, SIZE)
    assert writer.isOpened()
    for one in pictures:
        writer.write(one)
    writer.release()
    return path


def choose(*sources: Path, count: int = 10, seed: int = 0) -> FrameList:
    return choose_frames(sources, count, seed, network_size=NETWORK)


def test_spread_over_sources_and_time(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(100)])
    video = write_video(tmp_path / "clip.avi", [picture(1000 + i) for i in range(60)])
    small = write_folder(tmp_path / "few", [picture(2000 + i) for i in range(2)])
    chosen = choose(folder, video, small, count=22)
    assert Counter(frame.source for frame in chosen.frames) == {
        str(folder): 10,
        str(video): 10,
        str(small): 2,
    }
    for source, length in ((folder, 100), (video, 60)):
        indices = [frame.index for frame in chosen.frames if frame.source == str(source)]
        assert indices == sorted(set(indices))
        # one of each tenth of the time
        assert [(index - 1) * 10 // length for index in indices] == list(range(10))
    assert not chosen.notes
    assert not chosen.skipped


def test_a_seed_gives_the_same_frames_another_seed_others(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(200)])
    first = choose(folder, seed=3)
    assert choose(folder, seed=3) == first
    assert choose(folder, seed=4).frames != first.frames


def test_two_bits_are_alike_and_three_are_not() -> None:
    bits = np.zeros((4, 256), np.uint8)
    bits[1, :2] = 1  # two bits from the first
    bits[2, [0, 1, 200]] = 1  # three from the first
    bits[3, [0, 1, 200, 201, 202]] = 1  # two from the third, five from the first
    hashes = np.packbits(bits, axis=1)
    assert distinct(hashes) == [0, 2]
    assert distinct(hashes, same_bits=1) == [0, 1, 3]


def test_no_two_alike_within_a_source_or_between_two(tmp_path: Path) -> None:
    pictures = [picture(i, size=(640, 480)) for i in range(8)]
    folder = write_folder(tmp_path / "a", [one for one in pictures for _ in range(3)])
    again = tmp_path / "b"  # stored anew, with losses
    again.mkdir()
    for i, one in enumerate(pictures[:4]):
        cv2.imwrite(str(again / f"{i}.jpg"), one, [cv2.IMWRITE_JPEG_QUALITY, 80])
    chosen = choose(folder, again, count=20)
    assert len(chosen) == 8
    assert {frame.source for frame in chosen.frames} == {str(folder)}
    assert "20 frames were asked for, 8 are different" in chosen.notes[0]


def test_light_and_dark(tmp_path: Path) -> None:
    # Each stretch of 4 frames has one that is not grey: dark ones and light ones.
    special = {1: 35, 7: 215, 8: 60, 14: 190, 16: 90}
    folder = write_folder(tmp_path / "walk", [picture(i, special.get(i, 128)) for i in range(20)])
    chosen = choose(folder, count=5)
    # The first of all is the middle of its stretch; the others are those that differ.
    assert len({frame.index - 1 for frame in chosen.frames} & special.keys()) >= 4
    assert max(f.brightness for f in chosen.frames) - min(f.brightness for f in chosen.frames) > 90


def test_empty_and_crowded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(16)])
    crowds = {3: 12, 4: 6, 9: 9, 15: 3}

    def see(feeds: object) -> dict[str, Array]:
        people = crowds.get(session.runs - 1, 0)  # all frames are asked about, in order
        boxes = np.array([[7 * i, 0, 7 * i + 5, 20] for i in range(4, 16)], np.float32)
        scores = np.where(np.arange(12) < people, 0.9, 0.1).astype(np.float32)
        return {"boxes": boxes[None], "scores": scores[None]}

    session = FakeSession(see, size=NETWORK)
    chosen = choose_frames([folder], 4, network_size=NETWORK, session=session)
    assert session.runs == 16
    assert len({frame.index - 1 for frame in chosen.frames} & crowds.keys()) >= 3
    for frame in chosen.frames:
        assert frame.people == crowds.get(frame.index - 1, 0)
    assert all(frame.people is None for frame in choose(folder).frames)


def test_batches_are_the_runtimes_letterbox(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(5)])
    video = write_video(tmp_path / "clip.avi", [picture(50 + i) for i in range(5)])
    chosen = choose(folder, video)
    seen = {str(uri): list(open_source(uri)) for uri in (folder, video)}
    wanted = [letterbox(seen[f.source][f.index - 1].image, NETWORK)[0] for f in chosen.frames]
    batches = list(chosen.batches())
    assert len(batches) == len(chosen) == 10
    for batch, want in zip(batches, wanted, strict=True):
        assert batch.shape == (1, 3, 64, 128)
        assert batch.dtype == np.float32
        np.testing.assert_array_equal(batch[0], want)
    assert next(chosen.batches((96, 32))).shape == (1, 3, 32, 96)
    # from the eighth on: the first seven are not read again, within the video neither
    later = list(chosen.batches(start=7))
    np.testing.assert_array_equal(np.stack(later), np.stack(batches[7:]))


def test_read_back_and_verified(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(6)])
    chosen = choose(folder, count=6, seed=5)
    path = tmp_path / "frames.json"
    chosen.write(path)
    again = FrameList.read(path)
    assert again == chosen
    again.verify()
    told = json.loads(path.read_text())
    assert told["seed"] == 5
    assert told["network_size"] == list(NETWORK)
    assert told["frames"][2]["name"] == "0002.png"

    cv2.imwrite(str(folder / "0003.png"), picture(99))
    with pytest.raises(CalibrationError, match=r"frame 4 \(0003\.png\) has changed since"):
        again.verify()
    (folder / "0005.png").unlink()
    (folder / "0003.png").write_bytes((folder / "0004.png").read_bytes())
    with pytest.raises(CalibrationError, match=r"frame 4 .*has changed since"):
        list(again.batches())
    with pytest.raises(CalibrationError, match=r"frame 6 was chosen .*cannot.*5 images"):
        list(again.batches(start=4))


def test_a_video_that_changed(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi", [picture(i) for i in range(20)])
    chosen = choose(video, count=20)
    write_video(video, [picture(i) for i in range(12)])
    with pytest.raises(CalibrationError, match=r"frame 13 was chosen.*ends after frame 12"):
        chosen.verify()
    write_video(video, [picture(100 + i) for i in range(20)])
    with pytest.raises(CalibrationError, match=r"frame 1 \(of a video\) has changed since"):
        chosen.verify()


def test_the_hash_of_a_list_is_that_of_its_pictures(tmp_path: Path) -> None:
    pictures = [picture(i) for i in range(4)]
    here = choose(write_folder(tmp_path / "a", pictures))
    there = choose(write_folder(tmp_path / "b", pictures))
    other = choose(write_folder(tmp_path / "c", pictures[:3]))
    assert here.sha256 == there.sha256
    assert here.sha256 != other.sha256


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2", "is not a list of calibration frames"),
        ("{}", "missing required field"),
        ('{"format": 1, "seed": 0, "asked": 1, "network_size": [8, 8], "frames": []}', "length"),
        ("\xff\xfe", "is not a list of calibration frames"),
    ],
)
def test_what_is_no_list(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "frames.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CalibrationError, match=words):
        FrameList.read(path)


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        FrameList.read(tmp_path / "absent.json")
    folder = write_folder(tmp_path / "walk", [picture(0)])
    path = tmp_path / "frames.json"
    choose(folder).write(path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(CalibrationError, match=r"of format 2, .* reads format 1"):
        FrameList.read(path)


def test_corrupt_pictures_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(10)])
    (folder / "0000.png").write_bytes(b"")  # the first, too
    whole = (folder / "0004.png").read_bytes()
    (folder / "0004.png").write_bytes(whole[: len(whole) // 2])
    (folder / "0007.png").write_bytes(b"no picture")
    chosen = choose(folder)
    assert [frame.index for frame in chosen.frames] == [2, 3, 4, 6, 7, 9, 10]
    assert [text.split(":")[0][-8:] for text in chosen.skipped] == [
        "0000.png",
        "0004.png",
        "0007.png",
    ]
    assert "empty" in chosen.skipped[0]
    assert "truncated" in chosen.skipped[1]
    assert "could not be read to their end: 3" in chosen.notes[-1]
    chosen.verify()


def test_a_video_that_breaks_off(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi", [picture(i) for i in range(60)])
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 6 // 10])
    chosen = choose(video, count=8)
    assert len(chosen) == 8
    assert max(frame.index for frame in chosen.frames) < 40
    assert "is cut off" in chosen.skipped[0]
    chosen.verify()


def test_pictures_of_other_sizes_are_letterboxed_each(tmp_path: Path) -> None:
    sizes = [SIZE, (48, 96), (200, 30)]
    folder = write_folder(tmp_path / "mixed", [picture(i, size=s) for i, s in enumerate(sizes)])
    chosen = choose(folder)
    for batch, frame in zip(chosen.batches(), chosen.frames, strict=True):
        want = letterbox(picture(frame.index - 1, size=sizes[frame.index - 1]), NETWORK)[0]
        np.testing.assert_array_equal(batch[0], want)


def test_black_frames_are_left_out(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    dark = random.integers(0, 3, (SIZE[1], SIZE[0], 3), np.uint8)  # noise of a covered lens
    folder = write_folder(tmp_path / "night", [dark] * 5 + [picture(i, 20) for i in range(4)])
    chosen = choose(folder)
    assert [frame.index for frame in chosen.frames] == [6, 7, 8, 9]
    assert "they have a single colour (such as black): 5" in " ".join(chosen.notes)

    black = write_folder(tmp_path / "black", [np.zeros_like(dark)] * 3 + [dark])
    with pytest.raises(CalibrationError, match=r"all 4 readable frames have a single colour"):
        choose(black)
    (black / "0001.png").write_bytes(b"damaged")
    with pytest.raises(CalibrationError, match=r"all 3 .*1 cannot be read, first: .*0001\.png"):
        choose(black)


@pytest.mark.parametrize(
    ("sources", "count", "error", "words"),
    [
        ([], 5, CalibrationError, "no source given"),
        (["walk"], 0, CalibrationError, "1 frame or more, got 0"),
        (["walk", "absent.mp4"], 5, SourceError, "absent.mp4: no such file"),
        (["void"], 5, SourceError, "void: no images found"),
    ],
)
def test_wrong_questions(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sources: list[str],
    count: int,
    error: type[Exception],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "walk", [picture(0)])
    (tmp_path / "void").mkdir()
    with pytest.raises(error, match=words):
        choose_frames(sources, count, network_size=NETWORK)


def test_a_camera_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Live:
        uri, live = "camera:0", True

        def __enter__(self) -> Live:
            return self

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr("jdetrt.calibration.frames.scan.open_source", lambda uri: Live())
    with pytest.raises(CalibrationError, match="frames cannot be read again; record a clip"):
        choose_frames(["camera:0"], network_size=NETWORK)


def test_a_source_named_twice_counts_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "walk", [picture(i) for i in range(5)])
    phases = Phases()
    choose_frames([folder, folder], 3, network_size=NETWORK, progress=phases)
    assert phases.steps == [("Frames of walk", i, 5) for i in range(1, 6)]
    assert phases.finished == ["Frames of walk"]


def test_few_records_are_kept_of_a_long_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def watch(image: Array) -> object:
        looked.append(1)
        return fingerprint(image)

    monkeypatch.setattr("jdetrt.calibration.frames.scan.fingerprint", watch)
    video = write_video(tmp_path / "clip.avi", [picture(i) for i in range(200)])
    chosen = choose(video, count=5)
    # The limit is 20: 41 of the first 41 frames, then every second, every fourth, every eighth.
    assert len(looked) < 100
    assert [(frame.index - 1) * 5 // 200 for frame in chosen.frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA),
        lambda image: image + np.uint8(20),
        lambda image: cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR),
    ],
)
def test_a_hash_outlives_storing(change: Callable[[Array], Array]) -> None:
    image = picture(7, size=(640, 480))
    hashes = np.stack(
        [fingerprint(image).bits, fingerprint(change(image)).bits, fingerprint(picture(8)).bits]
    )
    assert distinct(hashes) == [0, 2]


@pytest.mark.parametrize(
    "source", ["gst:videotestsrc ! filesink location=x", "rtsp://me:s#cret@host/s", "camera:0"]
)
def test_a_list_of_frames_opens_no_camera_and_runs_no_pipeline(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr("jdetrt.calibration.frames.scan.open_source", opened)
    frame = ChosenFrame(source=source, index=1, name="", sha256="0" * 64, brightness=99.0)
    frames = FrameList(seed=0, asked=1, network_size=NETWORK, frames=(frame,))
    with pytest.raises(CalibrationError, match="frames cannot be read again") as caught:
        frames.verify()
    assert "cret" not in str(caught.value)
