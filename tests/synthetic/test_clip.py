from __future__ import annotations

import configparser
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from jdetrt.errors import ConfigError, OutputError
from jdetrt.runtime.mot.files import read_mot
from jdetrt.runtime.mot.public_detections import read_detections
from jdetrt.synthetic.clip import SyntheticClip, Truth, noisy_detections, write_sequence
from jdetrt.synthetic.figure import Part, bounds
from jdetrt.synthetic.scene import Scene

SMALL = (320, 180)


def clip(seed: int = 3, frames: int = 40, people: int = 8, moving: bool = True) -> SyntheticClip:
    return SyntheticClip(seed, frames, SMALL, people, 30.0, moving)


def test_the_same_seed_gives_the_same_pictures_and_another_does_not() -> None:
    for (one, truth), (two, again) in itertools.islice(zip(clip(), clip(), strict=True), 5):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(truth.boxes, again.boxes)
        np.testing.assert_array_equal(truth.ids, again.ids)
    other, _ = clip(seed=4).render(1)
    assert (clip().render(1)[0] != other).any()


def test_frames_need_not_be_drawn_in_order() -> None:
    frames = [image for image, _ in map(clip().render, (7, 3))]
    again = [frame.image for frame, _ in itertools.islice(clip(), 7)]
    np.testing.assert_array_equal(frames[0], again[6])
    np.testing.assert_array_equal(frames[1], again[2])


def test_a_frame_is_a_bgr_picture_with_its_number_and_time() -> None:
    frame, truth = next(iter(clip()))
    assert frame.image.shape == (180, 320, 3)
    assert frame.image.dtype == np.uint8
    assert (frame.index, frame.timestamp, frame.name) == (1, 0.0, "000001.jpg")
    assert truth.ids.dtype == np.int64
    assert truth.boxes.dtype == np.float64
    assert truth.boxes.shape == (len(truth), 4)


def test_boxes_are_where_the_people_are_drawn() -> None:
    """Draw one person over a scene without people: what changes is that person and a shadow."""
    found = 0
    for seed in range(8):
        alone = SyntheticClip(seed, 1, (640, 360), 1, 30.0, moving_camera=False)
        empty = SyntheticClip(seed, 1, (640, 360), 0, 30.0, moving_camera=False)
        image, truth = alone.render(1)
        if len(truth) == 0 or truth.visibility[0] < 1:
            continue
        changed = (image.astype(int) != empty.render(1)[0]).any(axis=2)
        rows, columns = np.nonzero(changed)
        left, top, width, height = truth.boxes[0]
        assert abs(rows.min() - top) <= 1.5
        # Below and to the right there may be shadow; the head and the shoulders have none.
        upper = changed[: int(top + 0.6 * height)]
        columns = np.nonzero(upper)[1]
        assert columns.min() >= left - 1.5
        assert columns.max() <= left + width + 1.5
        assert changed[int(top + 0.2 * height), int(left) : int(left + width)].any()
        found += 1
    assert found >= 3


def test_bounds_of_parts() -> None:
    parts = [
        Part(np.array([[10.0, 20.0]]), 3.0, (0, 0, 0)),
        Part(np.array([[12.0, 30.0], [40.0, 25.0]]), 2.0, (0, 0, 0)),
    ]
    assert bounds(parts) == (7, 17, 42, 32)


def test_people_who_are_nearer_are_larger_and_hide_those_behind() -> None:
    scene = clip(people=20)
    poses = scene.poses(1)
    assert [p.depth for p in poses] == sorted((p.depth for p in poses), reverse=True)
    sizes = [p.scale for p in poses]
    assert sizes == sorted(sizes)
    crowd = [truth for _, truth in clip(people=20)]
    visibility = np.concatenate([truth.visibility for truth in crowd])
    assert visibility.min() >= 0
    assert visibility.max() <= 1
    assert 0.02 < (visibility < 0.5).mean() < 0.6
    assert (visibility > 0.95).mean() > 0.2


def test_identities_move_smoothly_and_never_change_hands() -> None:
    previous: dict[int, npt.NDArray[np.float64]] = {}
    gone: set[int] = set()
    moves = []
    for _, truth in clip(seed=1, frames=90, moving=False):
        now = dict(zip(truth.ids.tolist(), truth.boxes, strict=True))
        assert len(now) == len(truth)
        assert not gone & set(now)
        for identity in now.keys() & previous.keys():
            old, new = previous[identity], now[identity]
            step = np.abs((new[:2] + new[2:] / 2) - (old[:2] + old[2:] / 2)).max()
            moves.append(float(step / new[3]))
        gone |= previous.keys() - now.keys()
        previous = now
    # 1.7 m/s at 30 frames a second is 3 % of a body's height; the swinging limbs add a little.
    assert 0.001 < np.mean(moves) < 0.05
    assert max(moves) < 0.12


def test_whoever_leaves_is_followed_by_somebody_new() -> None:
    scene = Scene(seed=1, frames=1500, size=SMALL, people=6, frame_rate=30.0)
    walkers = scene.walkers
    assert len(walkers) > 12
    assert [w.identity for w in walkers] == list(range(1, len(walkers) + 1))
    assert {len(scene.poses(frame)) for frame in range(1, 1501, 50)} == {6}


def test_the_camera_moves_only_when_asked() -> None:
    still, moving = clip(moving=False), clip(frames=200)
    assert {still.offset(frame) for frame in range(1, 40)} == {(0, 0)}
    offsets = np.array([moving.offset(frame) for frame in range(1, 200)])
    assert np.ptp(offsets[:, 0]) > 0.05 * SMALL[0]
    assert (np.abs(offsets) <= moving.margin).all()


def test_the_truth_can_be_had_without_the_picture() -> None:
    _, drawn = clip().render(5)
    truth = clip().truth(5)
    np.testing.assert_array_equal(truth.ids, drawn.ids)
    np.testing.assert_array_equal(truth.visibility, drawn.visibility)


def test_detections_miss_the_hidden_and_are_near_the_truth() -> None:
    boxes = np.array([[100.0, 50, 40, 100], [200, 50, 40, 100]])
    truth = Truth(np.array([1, 2]), boxes, np.array([1.0, 0.1]))
    rng = np.random.default_rng(0)
    runs = [noisy_detections(truth, SMALL, rng) for _ in range(300)]
    close = [np.abs(d.boxes - [100, 50, 140, 150]).max(axis=1, initial=0) < 10 for d in runs]
    hidden = [np.abs(d.boxes - [200, 50, 240, 150]).max(axis=1, initial=0) < 10 for d in runs]
    assert 0.93 < sum(map(np.sum, close)) / 300 < 1
    assert sum(map(np.sum, hidden)) == 0
    assert 0.05 < sum(len(d) for d in runs) / 300 - sum(map(np.sum, close)) / 300 < 0.3
    scores = np.concatenate([d.scores for d in runs])
    assert (scores > 0).all()
    assert (scores < 1).all()


def test_a_sequence_folder_reads_back(tmp_path: Path) -> None:
    made = clip(frames=6)
    folder = write_sequence(tmp_path / "new" / "walk", made)
    ini = configparser.ConfigParser()
    ini.read(folder / "seqinfo.ini")
    assert dict(ini["Sequence"]) == {
        "name": "walk",
        "imdir": "img1",
        "framerate": "30",
        "seqlength": "6",
        "imwidth": "320",
        "imheight": "180",
        "imext": ".jpg",
    }
    assert sorted(p.name for p in (folder / "img1").iterdir()) == [
        f"{i:06d}.jpg" for i in range(1, 7)
    ]
    rows = read_mot(folder / "gt" / "gt.txt")
    truths = [truth for _, truth in made]
    assert rows.ids.tolist() == np.concatenate([t.ids for t in truths]).tolist()
    np.testing.assert_allclose(rows.boxes, np.concatenate([t.boxes for t in truths]), atol=0.006)
    assert rows.classes is not None
    assert set(rows.classes.tolist()) == {1}
    assert set(rows.scores.tolist()) == {1.0}
    found = read_detections(folder / "det" / "det.txt", length=6)
    assert sum(map(len, found.values())) > len(rows) / 2
    # The same call writes the same bytes.
    again = write_sequence(tmp_path / "walk", made)
    for name in ("gt/gt.txt", "det/det.txt", "seqinfo.ini", "img1/000003.jpg"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_a_folder_that_exists_is_kept_unless_it_was_a_sequence(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists already"):
            write_sequence(folder, clip(frames=1), overwrite=overwrite)
    assert (folder / "mine.txt").read_text() == "keep"
    written = write_sequence(tmp_path / "other", clip(frames=2))
    write_sequence(written, clip(frames=1), overwrite=True)
    assert len(list((written / "img1").iterdir())) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "walk"]
    # Neither is a sequence of somebody else, nor one of ours that something was added to.
    (written / "tracks.txt").write_text("keep")
    with pytest.raises(OutputError, match="exists already"):
        write_sequence(written, clip(frames=1), overwrite=True)
    (written / "tracks.txt").unlink()
    (written / ".jdetrt").unlink()
    with pytest.raises(OutputError, match="exists already"):
        write_sequence(written, clip(frames=1), overwrite=True)
    assert len(list((written / "img1").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_sequence(tmp_path / "file" / "walk", clip(frames=1))


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"frames": 0}, "frames"),
        ({"size": (8, 540)}, "width"),
        ({"size": (960, 0)}, "height"),
        ({"people": -1}, "people"),
        ({"frame_rate": 0.0}, "frame_rate"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_clip_that_cannot_be_is_refused(wrong: dict[str, int], name: str) -> None:
    with pytest.raises(ConfigError, match=f"synthetic clip: {name} is"):
        SyntheticClip(**wrong)  # type: ignore[arg-type]
