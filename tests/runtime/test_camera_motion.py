"""Motion of the camera: found exactly, found by itself, and followed by the tracks."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from jdetrt.benchmarks.virtual_camera import VirtualCamera
from jdetrt.config import PRESETS
from jdetrt.errors import ConfigError, DataError
from jdetrt.runtime.camera_motion import CameraMotion, chain
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Detections, Frame

SIZE = (640, 360)
FRAMES = 40


def scenery(seed: int = 0) -> Array:
    """A still scene with corners everywhere."""
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(seed)
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    for _ in range(150):
        x, y = (int(v) for v in random.integers((0, 0), SIZE))
        w, h = (int(v) for v in random.integers(8, 60, 2))
        colour = tuple(int(v) for v in random.integers(0, 255, 3))
        cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
    smooth: Array = cv2.GaussianBlur(image, (3, 3), 0)
    return smooth


def corners_off(camera: VirtualCamera, true: Array | None, estimate: Array | None) -> float:
    """Largest error of a corner of the image, in pixels."""
    width, height = camera.size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    still = np.eye(2, 3)
    true, estimate = (still if m is None else m for m in (true, estimate))
    return float(np.hypot(*(corners @ (true - estimate).T).T).max())


@pytest.mark.parametrize("path", ["pan", "zoom", "shake", "all"])
@pytest.mark.parametrize("mode", ["on", "auto"])
def test_the_motion_of_a_moving_camera_is_estimated(path: str, mode: str) -> None:
    camera, scene, motion = VirtualCamera(SIZE, FRAMES, 30.0, path), scenery(), CameraMotion(mode)
    errors, sizes = [], []
    for window, true in zip(camera.windows(), camera.motions(), strict=True):
        estimate = motion(camera.show(scene, window))
        errors.append(corners_off(camera, true, estimate))
        sizes.append(corners_off(camera, true, None))
    assert np.percentile(errors, 90) < 1.0
    assert np.mean(errors) < 0.3 * np.mean(sizes)
    assert motion.moving
    assert motion.moved > FRAMES / 2


@pytest.mark.parametrize("mode", ["on", "auto"])
def test_a_still_camera_stays_still_whoever_walks_by(mode: str) -> None:
    motion, scene = CameraMotion(mode), scenery()
    person = scenery(1)[:200, :80]
    for frame in range(FRAMES):
        image = scene.copy()
        for x in (6 * frame, 200 + 6 * frame):  # side by side, at the same pace
            image[100:300, x : x + 80] = person
        assert motion(image) is None
    assert motion.moved == 0


def test_a_camera_that_stops_is_found_to_stand_still() -> None:
    motion, scene = CameraMotion(), scenery()
    for frame in range(10):
        motion(np.roll(scene, 4 * frame, axis=1))
    assert motion.moving
    for _ in range(61):
        assert motion(np.roll(scene, 36, axis=1)) is None
    assert not motion.moving
    for shift in (44, 52):  # most of the image changes at once
        assert motion(np.roll(scene, shift, axis=1)) is not None
    assert motion.moving


def test_people_are_left_out_where_they_are_known() -> None:
    """A crowd that fills the image and walks to the right, before a still scene."""
    scene, crowd = scenery(), scenery(2)
    box = np.array([[40, 20, 600, 340]], np.float32)
    for known in (False, True):
        motion = CameraMotion("on")
        motion.people = box if known else box[:0]
        moved: list[Array | None] = []
        for frame in range(6):
            image = scene.copy()
            image[20:340, 40:600] = np.roll(crowd, 5 * frame, axis=1)[20:340, 40:600]
            moved.append(motion(image))
        assert (moved[-1] is None) is known


def test_a_cut_a_new_size_and_an_image_without_corners_are_no_motion() -> None:
    motion = CameraMotion("on")
    flat = np.full((360, 640, 3), 128, np.uint8)
    for image in (scenery(), scenery(5), scenery(5)[:300], flat, flat, flat[:20, :20], scenery()):
        assert motion(image) is None


def test_motions_of_frames_left_out_are_one_motion() -> None:
    motion, scene = CameraMotion("on"), scenery()
    for index in range(1, 8):
        motion.note(Frame(np.roll(scene, 4 * index, axis=1), index))
    for index, shift in ((2, 4), (6, 16), (6, None), (7, 4)):
        found = motion.until(index)
        if shift is None:
            assert found is None
        else:
            assert found is not None
            assert found == pytest.approx(np.array([[1, 0, shift], [0, 1, 0]]), abs=0.3)


def test_chained_motions_are_one_after_the_other() -> None:
    first, then = np.array([[1.1, 0, 3], [0, 1.1, -2]]), np.array([[1, -0.1, 5], [0.1, 1, 0]])
    both = chain(first, then)
    assert both is not None
    point = np.array([40.0, 70.0, 1.0])
    assert both @ point == pytest.approx(then @ np.append(first @ point, 1.0))
    assert chain(None, then) is then
    assert chain(first, None) is first


@pytest.mark.parametrize("preset", PRESETS)
def test_tracks_move_with_the_camera(preset: str) -> None:
    """A person who stands still before a camera that jumps by a body's width and zooms."""
    tracker, look = Tracker(preset), np.ones((1, 4), np.float32)
    jump = np.array([[1.05, 0.0, 90.0], [0.0, 1.05, -20.0]])
    box, ids = np.array([[300.0, 100.0], [340.0, 220.0]]), set()
    for frame in range(24):
        moves = frame > 4 and frame % 4 == 0
        if moves:
            jump[0, 2] *= -1
            box = box @ jump[:, :2].T + jump[:, 2]
        tracks = tracker.update(
            Detections(box.reshape(1, 4), [0.9], look), motion=jump if moves else None
        )
        ids.update(tracks.ids.tolist())
    assert ids == {1}
    assert tracks.boxes[0] == pytest.approx(box.ravel(), abs=3)


@pytest.mark.parametrize("motion", [np.eye(3), np.full((2, 3), np.nan), np.zeros((2, 3))])
def test_what_is_no_motion_is_refused(motion: Array) -> None:
    with pytest.raises(DataError, match=r"motion: expected a matrix of shape \(2, 3\)"):
        Tracker("iou").update(Detections.empty(), motion=motion)
    with pytest.raises(ConfigError, match="one of auto, off, on"):
        CameraMotion("yes")


class _Panning:
    """A camera that jumps to and fro before a still scene."""

    uri, name, frame_rate, live = "test:panning", "panning", 30.0, False
    size: tuple[int, int] | None = (320, 180)
    length: int | None = 30

    def __iter__(self) -> Iterator[Frame]:
        scene = scenery()
        for index in range(1, 31):
            x = 40 * (index % 2) + 100
            yield Frame(np.ascontiguousarray(scene[90:270, x : x + 320]), index)

    def close(self) -> None:
        pass

    def __enter__(self) -> _Panning:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("camera_motion", ["auto", "off"])
def test_a_pipeline_follows_its_camera(camera_motion: str) -> None:
    people = [
        Detections([[140 - 40 * (k % 2), 60, 165 - 40 * (k % 2), 130]], [0.9]) for k in range(1, 31)
    ]
    session = FakeSession.from_detections(people, size=(320, 192))
    source = _Panning()
    tracks = []
    pipeline = Pipeline(source, session, Tracker("iou"), camera_motion=camera_motion)
    for _, one in pipeline:
        tracks.append(one)
        time.sleep(0)
    report = pipeline.report()
    seen = sum(len(one) for one in tracks)
    if camera_motion == "auto":
        assert (report.tracks, seen) == (1, 30)
        assert "motion" in report.stages
    else:
        assert seen < 30
        assert "motion" not in report.stages
