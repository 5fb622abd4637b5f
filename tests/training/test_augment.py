from __future__ import annotations

import math
from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest
from coloured_people import GROUND, ColouredPeople, identities, paint
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.runtime.preprocess import BORDER
from jdetrt.training.augment.geometry import (
    affine,
    affine_matrix,
    clip,
    flip,
    hsv,
    letterbox_sample,
    mosaic,
    place,
    warp,
    window,
)
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig

PAPER = AugmentConfig()
STILL = AugmentConfig(
    saturation=0, value=0, rotation=0, scale=(1, 1), translation=0, shear=0, flip=0
)
SEEDS = st.integers(0, 2**32 - 1)


def _sample(
    boxes: list[list[float]],
    size: tuple[int, int] = (160, 120),
    ignore: list[list[float]] | None = None,
) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    regions = np.array(ignore or [], np.float32).reshape(-1, 4)
    return Sample(
        paint(size, array, list(range(len(boxes)))), array, np.arange(len(boxes)), regions
    )


def _extent(image: np.ndarray, identity: int) -> np.ndarray:
    """Left, top, right, bottom of the largest connected area that has a person's colour.

    Not of all such pixels: somebody else's edge, mixed with the ground, may happen to have it.
    """
    shown = (identities(image) == identity).astype(np.uint8)
    _, _, areas, _ = cv2.connectedComponentsWithStats(shown, connectivity=4)
    left, top, width, height, _ = max(areas[1:], key=lambda area: area[4])
    return np.array([left, top, left + width, top + height], float)


def _valid(sample: Sample, size: tuple[int, int]) -> None:
    assert sample.image.shape == (size[1], size[0], 3)
    assert sample.image.dtype == np.uint8
    assert sample.boxes.dtype == sample.ignore.dtype == np.float32
    assert sample.ids.dtype == np.int64
    assert sample.boxes.shape == (len(sample.ids), 4)
    assert sample.ignore.shape[1:] == (4,)


# ---- settings ------------------------------------------------------------------------------


def test_the_defaults_are_the_papers_preset() -> None:
    assert (PAPER.saturation, PAPER.value, PAPER.rotation, PAPER.shear) == (0.5, 0.5, 5, 2)
    assert (PAPER.scale, PAPER.translation, PAPER.flip) == ((0.5, 1.2), 0.1, 0.5)
    extras = ("hue", "mosaic", "crop", "copy_paste", "erase", "blur", "noise", "grey", "jpeg")
    assert not any(getattr(PAPER, name) for name in extras)


@pytest.mark.parametrize(
    "wrong", [{"scale": [1.2, 0.5]}, {"zoom": [2, 1]}, {"flip": 1.1}, {"saturation": 1}, {"x": 1}]
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, AugmentConfig)


# ---- colour --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_colour_changes_as_written_out(seed: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    sample = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros((0, 4), "f4"))
    rng = np.random.default_rng(seed)
    factors = [1 + rng.uniform(-1, 1) * 0.5 for _ in "sv"]
    channels = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    for channel, factor in zip((1, 2), factors, strict=True):
        values = channels[:, :, channel].astype(float) * factor
        if factor > 1:
            np.clip(values, None, 255, out=values)
        channels[:, :, channel] = values.astype(np.uint8)
    expected = cv2.cvtColor(channels, cv2.COLOR_HSV2BGR)
    varied = hsv(sample, PAPER, np.random.default_rng(seed))
    np.testing.assert_array_equal(varied.image, expected)


def test_hue_turns_and_nothing_else() -> None:
    sample = _sample([[10, 10, 60, 80], [70, 20, 150, 100]])
    config = msgspec.structs.replace(STILL, hue=0.5)
    before = cv2.cvtColor(sample.image, cv2.COLOR_BGR2HSV).astype(int)
    turned = set()
    for seed in range(5):
        varied = hsv(sample, config, np.random.default_rng(seed))
        after = cv2.cvtColor(varied.image, cv2.COLOR_BGR2HSV).astype(int)
        people = before[..., 1] > 0
        turn = (after[..., 0] - before[..., 0])[people] % 180
        assert np.ptp((turn - turn[0] + 90) % 180) <= 4  # hue has few levels in small colours
        turned.add(int(turn[0]))
        assert np.abs(after[..., 2] - before[..., 2]).max() <= 1
    assert len(turned) > 2


# ---- letterbox -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size", "resized", "borders"),
    [  # golden: measured with the reference's own function
        ((1920, 1080), (1088, 608), (1081, 608), (3, 4, 0, 0)),
        ((1920, 1080), (864, 480), (853, 480), (5, 6, 0, 0)),
        ((1920, 1080), (576, 320), (569, 320), (3, 4, 0, 0)),
        ((640, 480), (1088, 608), (811, 608), (138, 139, 0, 0)),
    ],
)
def test_golden_letterbox(
    source: tuple[int, int],
    size: tuple[int, int],
    resized: tuple[int, int],
    borders: tuple[int, int, int, int],
) -> None:
    left, right, top, bottom = borders
    image = np.full((source[1], source[0], 3), 200, np.uint8)
    box = np.array([[0, 0, *source], [100, 200, 300, 400]], np.float32)
    fitted = letterbox_sample(Sample(image, box, np.array([4, -1]), box[1:]), size)
    _valid(fitted, size)
    columns = np.flatnonzero((fitted.image[size[1] // 2] == 200).all(axis=1))
    rows = np.flatnonzero((fitted.image[:, size[0] // 2] == 200).all(axis=1))
    assert (columns[0], size[0] - 1 - columns[-1], len(columns)) == (left, right, resized[0])
    assert (rows[0], size[1] - 1 - rows[-1], len(rows)) == (top, bottom, resized[1])
    assert set(np.unique(fitted.image)) == {128, 200}
    gain = min(size[0] / source[0], size[1] / source[1])
    x, y = (left + right) / 2, (top + bottom) / 2
    for before, after in zip([*box, box[1]], [*fitted.boxes, *fitted.ignore], strict=True):
        expected = [before[0] * gain + x, before[1] * gain + y]
        expected += [before[2] * gain + x, before[3] * gain + y]
        np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert fitted.ids.tolist() == [4, -1]


# ---- affine map ----------------------------------------------------------------------------


def _slow_matrix(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The paper preset's matrix from OpenCV's rotation and two plain products."""
    width, height = size
    degrees, scale = rng.uniform(-1, 1) * 5, rng.uniform(0.5, 1.2)
    shift_x, shift_y = rng.uniform(-1, 1, 2)
    shear_x, shear_y = rng.uniform(-1, 1, 2) * 2
    rotation = np.eye(3)
    rotation[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    translation = np.eye(3)
    translation[0, 2] = shift_x * 0.1 * height  # the quirk: of the other side
    translation[1, 2] = shift_y * 0.1 * width
    shear = np.eye(3)
    shear[0, 1] = math.tan(math.radians(shear_x))
    shear[1, 0] = math.tan(math.radians(shear_y))
    return (shear @ translation @ rotation)[:2], math.radians(degrees)


@pytest.mark.parametrize("seed", range(5))
def test_the_matrix_is_shear_times_translation_times_rotation(seed: int) -> None:
    size = (576, 320)
    matrix, angle = affine_matrix(size, PAPER, np.random.default_rng(seed))
    expected, expected_angle = _slow_matrix(size, np.random.default_rng(seed))
    np.testing.assert_allclose(matrix, expected, atol=1e-9)
    assert angle == pytest.approx(expected_angle)


def test_the_ranges_are_used_whole_and_not_left() -> None:
    size = (600, 200)
    config = msgspec.structs.replace(PAPER, shear=0)
    drawn = [affine_matrix(size, config, np.random.default_rng(s)) for s in range(600)]
    degrees = np.rad2deg([angle for _, angle in drawn])
    scales = [math.hypot(matrix[0, 0], matrix[0, 1]) for matrix, _ in drawn]
    centre = np.array([300, 100, 1])
    shifts = np.array([matrix @ centre - centre[:2] for matrix, _ in drawn])
    for values, low, high in (
        (degrees, -5, 5),
        (scales, 0.5, 1.2),
        (shifts[:, 0], -20, 20),
        (shifts[:, 1], -60, 60),
    ):
        span = high - low
        assert low - 1e-9 <= min(values) < low + 0.05 * span
        assert high - 0.05 * span < max(values) <= high + 1e-9


def _slow_boxes(
    boxes: np.ndarray, matrix: np.ndarray, angle: float, size: tuple[int, int]
) -> tuple[list[tuple[int, list[float]]], list[list[float]]]:
    """One box after the other by the reference's rules: what is kept with its row, what is seen."""
    kept, ignored = [], []
    shrink = math.sqrt(max(abs(math.sin(angle)), abs(math.cos(angle))))
    for row, (x1, y1, x2, y2) in enumerate(boxes.astype(float)):
        xs, ys = [], []
        for x, y in ((x1, y1), (x2, y1), (x1, y2), (x2, y2)):
            xs.append(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2])
            ys.append(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2])
        cx, cy = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        w, h = (max(xs) - min(xs)) * shrink, (max(ys) - min(ys)) * shrink
        box = [
            min(max(cx - w / 2, 0), size[0]),
            min(max(cy - h / 2, 0), size[1]),
            min(max(cx + w / 2, 0), size[0]),
            min(max(cy + h / 2, 0), size[1]),
        ]
        w, h = box[2] - box[0], box[3] - box[1]
        ratio = w * h / ((x2 - x1) * (y2 - y1) + 1e-16)
        if w > 4 and h > 4 and ratio > 0.1 and max(w / h, h / w) < 10:
            kept.append((row, box))
        elif w >= 1 and h >= 1:
            ignored.append(box)
    return kept, ignored


@given(seed=SEEDS)
def test_boxes_follow_the_written_out_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (160, 120)
    corner = rng.uniform(-40, 150, (20, 2))
    sides = rng.uniform(2, 90, (20, 2)) * rng.choice([0.1, 1.0], (20, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    sample = Sample(
        np.zeros((120, 160, 3), np.uint8), boxes, np.arange(20), np.zeros((0, 4), np.float32)
    )
    config = msgspec.structs.replace(PAPER, rotation=90)  # so that the shrinking matters
    matrix, angle = affine_matrix(size, config, np.random.default_rng(seed))
    warped = warp(sample, matrix, angle, config)
    kept, ignored = _slow_boxes(boxes, matrix, angle, size)
    assert warped.ids.tolist() == [row for row, _ in kept]
    np.testing.assert_allclose(
        warped.boxes, np.array([box for _, box in kept]).reshape(-1, 4), atol=1e-3
    )
    np.testing.assert_allclose(warped.ignore, np.array(ignored).reshape(-1, 4), atol=1e-3)


@pytest.mark.parametrize("seed", range(12))
def test_warped_boxes_fit_warped_pixels(seed: int) -> None:
    # The box is the bounding box of the corners times the shrinking: at 5 degrees 0.2 %.
    sample = _sample([[60, 30, 100, 90]])
    warped = affine(sample, PAPER, np.random.default_rng(seed))
    np.testing.assert_allclose(warped.boxes[0], _extent(warped.image, 0), atol=2)


def test_translation_and_scale_move_pixels_and_boxes_alike() -> None:
    sample = _sample([[40, 20, 80, 100], [100, 40, 150, 110]])
    matrix = np.array([[1.5, 0, -30], [0, 1.5, -10]])
    warped = warp(sample, matrix, 0.0, PAPER)
    assert warped.boxes.tolist() == [[30, 20, 90, 120], [120, 50, 160, 120]]
    for box, identity in zip(warped.boxes, (0, 1), strict=True):
        np.testing.assert_allclose(_extent(warped.image, identity), box, atol=1)


def test_the_border_is_the_letterboxs_grey() -> None:
    warped = warp(_sample([]), np.array([[1.0, 0, 16], [0, 1, -8]]), 0.0, PAPER)
    assert (warped.image[:, :16] == BORDER).all()
    assert (warped.image[-8:] == BORDER).all()
    assert (warped.image[:-8, 16:] == GROUND).all()


def test_a_still_map_changes_nothing() -> None:
    sample = _sample([[40, 20, 80, 100]], ignore=[[1, 2, 3, 4]])
    moved = affine(sample, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(moved.image, sample.image)
    np.testing.assert_array_equal(moved.boxes, sample.boxes)
    np.testing.assert_array_equal(moved.ignore, sample.ignore)


def test_what_is_dropped_and_can_be_seen_is_ignored() -> None:
    size = (160, 120)
    boxes: list[list[float]] = [
        [-95, 10, 5, 110],  # 5 % of it is left
        [-95, 10, 11, 110],  # just above 10 %
        [30, 10, 33, 60],  # narrower than 4 pixels
        [40, 10, 48, 95],  # longer than 10 times its width
        [60, 10, 60.5, 40],  # too narrow to be seen
        [160, 10, 200, 90],  # outside
    ]
    ignore: list[list[float]] = [[-10, -10, 20, 20], [300, 300, 400, 400]]
    cut = clip(
        _sample(boxes, size, ignore),
        np.array([(b[2] - b[0]) * (b[3] - b[1]) * 0.1 for b in boxes], np.float32),
        PAPER,
    )
    assert cut.ids.tolist() == [1]
    assert cut.boxes.tolist() == [[0, 10, 11, 110]]
    assert cut.ignore.tolist() == [
        [0, 0, 20, 20],
        [0, 10, 5, 110],
        [30, 10, 33, 60],
        [40, 10, 48, 95],
    ]


# ---- flip ----------------------------------------------------------------------------------


def test_flip_mirrors_pixels_and_boxes() -> None:
    sample = _sample([[40, 20, 80, 100], [100, 40, 150, 110]], ignore=[[0, 5, 20, 30]])
    mirrored = flip(sample)
    assert mirrored.boxes.tolist() == [[80, 20, 120, 100], [10, 40, 60, 110]]
    assert mirrored.ignore.tolist() == [[140, 5, 160, 30]]
    for row in range(2):
        assert (_extent(mirrored.image, row) == mirrored.boxes[row]).all()
    twice = flip(mirrored)
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.boxes, sample.boxes)
    np.testing.assert_array_equal(twice.ids, sample.ids)


# ---- windows and mosaics -------------------------------------------------------------------


@given(seed=SEEDS, gain=st.floats(0.2, 4))
def test_windows_hold_somebody_and_boxes_fit(seed: int, gain: float) -> None:
    rng = np.random.default_rng(seed)
    sample = ColouredPeople(20)[seed % 20]
    size = (96, 64)
    cut = window(sample, size, gain, STILL, rng)
    width, height = cut.image.shape[1::-1]
    assert width == min(size[0], max(round(sample.image.shape[1] * gain), 1))
    assert height == min(size[1], max(round(sample.image.shape[0] * gain), 1))
    _valid(cut, (width, height))
    assert len(cut.boxes) + len(cut.ignore) > 0
    put = place(cut, size, rng)
    _valid(put, size)
    for made in (cut, put):
        for box, identity in zip(made.boxes, made.ids, strict=True):
            np.testing.assert_allclose(_extent(made.image, int(identity)), box, atol=1 + gain)
    assert (put.image == BORDER).all(axis=2).sum() >= size[0] * size[1] - width * height


def test_boxes_of_a_window_are_scaled_as_its_whole_pixels_are() -> None:
    whole = _sample([[0, 0, 50, 75]], (100, 75))
    cut = window(whole, (96, 64), 0.334, STILL, np.random.default_rng(0))  # 33.4 x 25.05 pixels
    assert cut.boxes.tolist() == [[0, 0, 16.5, 25]]
    assert cut.image.shape == (25, 33, 3)


def test_windows_show_people_at_many_heights() -> None:
    sample = letterbox_sample(ColouredPeople(1)[0], (160, 96))
    full = (sample.boxes[:, 3] - sample.boxes[:, 1]).min()
    heights = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        cut = window(sample, (160, 96), rng.uniform(0.6, 2.5), STILL, rng)
        heights += (cut.boxes[:, 3] - cut.boxes[:, 1]).tolist()
    assert min(heights) < 0.75 * full
    assert max(heights) > 1.8 * full


def test_nobody_in_the_picture_is_no_obstacle() -> None:
    rng = np.random.default_rng(0)
    empty = _sample([])
    for made in (
        letterbox_sample(empty, (96, 64)),
        place(window(empty, (96, 64), 1.3, PAPER, rng), (96, 64), rng),
        affine(letterbox_sample(empty, (96, 64)), PAPER, rng),
        flip(letterbox_sample(empty, (96, 64))),
        mosaic([empty] * 4, (96, 64), PAPER, rng),
    ):
        _valid(made, (96, 64))
        assert made.boxes.shape == made.ignore.shape == (0, 4)


@pytest.mark.parametrize("seed", range(8))
def test_a_mosaic_is_four_pictures_without_a_gap(seed: int) -> None:
    people = ColouredPeople(4)
    made = mosaic([people[i] for i in range(4)], (160, 96), STILL, np.random.default_rng(seed))
    _valid(made, (160, 96))
    assert not (made.image == BORDER).all(axis=2).any()
    assert (made.boxes[:, :2] >= 0).all()
    assert (made.boxes[:, 2:] <= (160, 96)).all()
    centre = (made.boxes[:, :2] + made.boxes[:, 2:]) / 2
    for (x, y), identity in zip(centre.astype(int), made.ids, strict=True):
        assert identities(made.image)[y, x] == identity
    # The first lies above and to the left of the others.
    parts = made.ids // 3
    assert set(parts.tolist()) <= {0, 1, 2, 3}
    for low, high, axis in ((0, 1, 0), (2, 3, 0), (0, 2, 1), (1, 3, 1)):
        lower, higher = made.boxes[parts == low, axis + 2], made.boxes[parts == high, axis]
        assert lower.max(initial=0) <= higher.min(initial=200)


@given(seed=SEEDS)
def test_the_input_is_not_changed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = ColouredPeople(8)[seed % 8]
    before = replace(sample, image=sample.image.copy(), boxes=sample.boxes.copy())
    affine(sample, PAPER, rng)
    hsv(sample, PAPER, rng)
    flip(sample)
    letterbox_sample(sample, (64, 96))
    place(window(sample, (64, 96), 1.2, PAPER, rng), (64, 96), rng)
    np.testing.assert_array_equal(sample.image, before.image)
    np.testing.assert_array_equal(sample.boxes, before.boxes)
