"""The made-up crowds: the same for a seed, and what their description says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist

from jdetrt.errors import ConfigError
from jdetrt.synthetic.crowd import crowd, frame_size
from jdetrt.types import Detections


def bytes_of(frames: list[Detections]) -> list[bytes]:
    return [
        d.boxes.tobytes()
        + d.scores.tobytes()
        + (b"" if d.embeddings is None else d.embeddings.tobytes())
        for d in frames
    ]


def test_seed_fixes_everything() -> None:
    first = bytes_of(list(crowd(30, 20, 5, embedding_dim=32)))
    assert bytes_of(list(crowd(30, 20, 5, embedding_dim=32))) == first
    assert bytes_of(list(crowd(30, 20, 6, embedding_dim=32)))[0] != first[0]


def test_longer_stream_starts_like_the_shorter() -> None:
    assert bytes_of(list(crowd(9, 30, 1, embedding_dim=8)))[:10] == bytes_of(
        list(crowd(9, 10, 1, embedding_dim=8))
    )


def test_boxes_do_not_depend_on_embeddings() -> None:
    for a, b in zip(
        crowd(12, 50, 2, embedding_dim=16), crowd(12, 50, 2, embedding_dim=None), strict=True
    ):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
        assert b.embeddings is None


@pytest.mark.parametrize(("targets", "frames"), [(20, 300), (61, 150), (1000, 20)])
def test_count_is_about_what_was_asked(targets: int, frames: int) -> None:
    counts = [len(d) for d in crowd(targets, frames, 4, embedding_dim=None)]
    assert len(counts) == frames
    assert np.mean(counts) == pytest.approx(targets, rel=0.1)


@pytest.mark.parametrize("targets", [1, 61, 500])
def test_boxes_scores_and_embeddings_are_valid(targets: int) -> None:
    width, height = frame_size(targets)
    for d in crowd(targets, 25, 8, embedding_dim=64):
        sizes = d.boxes[:, 2:] - d.boxes[:, :2]
        assert np.isfinite(d.boxes).all()
        assert (sizes > 8).all()
        assert (sizes[:, 1] < 400).all()
        assert (d.boxes[:, 2:] > -100).all()
        assert (d.boxes[:, :2] < [width + 100, height + 100]).all()
        assert ((d.scores >= np.float32(0.3)) & (d.scores <= 1)).all()
        assert (np.diff(d.scores) <= 0).all()
        assert d.embeddings is not None
        np.testing.assert_allclose(np.linalg.norm(d.embeddings, axis=1), 1, rtol=1e-5)


def test_some_scores_lie_below_and_on_the_threshold() -> None:
    scores = np.concatenate([d.scores for d in crowd(61, 50, 9, embedding_dim=None)])
    assert 0.02 < (scores < 0.5).mean() < 0.2
    assert (scores == 0.5).any()


def test_density_stays_when_the_number_grows() -> None:
    assert frame_size(10) == frame_size(60) == (1920, 1080)
    small, large = (np.prod(frame_size(n)) / n for n in (100, 1000))
    assert small == pytest.approx(large)


def nearest(d: Detections, later: Detections) -> npt.NDArray[np.float64]:
    """Distance in looks from each detection to the closest of a later frame."""
    assert d.embeddings is not None
    assert later.embeddings is not None
    return np.asarray(cdist(d.embeddings, later.embeddings))


def test_looks_tell_people_apart_but_not_all() -> None:
    first, second = crowd(100, 2, 11, false_alarms=0, missed=0, hiding=0, spoilt=0)
    distances = np.sort(nearest(first, second), axis=1)
    assert len(first) == len(second) == 100
    assert 0.3 < np.median(distances[:, 0]) < 0.5  # the same person
    strangers = distances[:, 20:]
    assert 1.15 < np.quantile(strangers, 0.01) < np.quantile(strangers, 0.99) < 1.45
    alike = (distances[:, 1] > 0.55) & (distances[:, 1] < 0.95)
    assert 0.1 < alike.mean() < 0.5


def test_motion_is_smooth() -> None:
    first, second = crowd(1, 2, 3, false_alarms=0, missed=0, hiding=0, embedding_dim=None)
    centres = [(d.boxes[0, :2] + d.boxes[0, 2:]) / 2 for d in (first, second)]
    tall = first.boxes[0, 3] - first.boxes[0, 1]
    assert np.abs(centres[1] - centres[0]).max() < 0.3 * tall


def test_nobody_is_a_stream_too() -> None:
    assert list(crowd(5, 0, 1)) == []
    assert all(len(d) <= 3 for d in crowd(1, 30, 1, embedding_dim=4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": 0}, "targets=0"),
        ({"frames": -1}, "frames=-1"),
        ({"embedding_dim": 1}, "embedding_dim=1"),
        ({"missed": 1.0}, "missed=1.0"),
        ({"hiding": -0.1}, "hiding=-0.1"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(
    arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        crowd(**({"targets": 5, "frames": 2, "seed": 1} | arguments))  # type: ignore[arg-type]
