from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from jdetrt.errors import SessionError
from jdetrt.evaluation.inference import infer
from jdetrt.runtime.preprocess import letterbox
from jdetrt.testing import FakeSession
from jdetrt.training.data.sample import Sample
from jdetrt.types import Array, TensorSpec

SIZE = (64, 32)


def samples(count: int) -> list[Sample]:
    random = np.random.default_rng(0)
    empty = np.empty((0, 4), np.float32)
    return [
        Sample(
            random.integers(0, 256, (20 + 4 * i, 50, 3), dtype=np.uint8),
            empty,
            np.empty(0, np.int64),
            empty,
        )
        for i in range(count)
    ]


def mean_colour(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """One box a picture, which is the mean of its channels."""
    means = feeds["images"].mean(axis=(2, 3))
    boxes = np.concatenate([means, means[:, :1]], axis=1)[:, None]
    return {"boxes": boxes, "scores": np.ones((len(means), 1), np.float32)}


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 6, 7])
def test_every_picture_gets_its_own_outputs(batch: int, count: int) -> None:
    pictures = samples(count)
    with FakeSession(mean_colour, size=SIZE) as session:
        found = list(infer(session, iter(pictures), batch=batch))
    assert [one.sample for one in found] == pictures
    assert session.runs == -(-count // batch)
    for sample, _, outputs in found:
        image, fit = letterbox(sample.image, SIZE)
        expected = image.mean(axis=(1, 2))
        np.testing.assert_allclose(outputs["boxes"][0, 0, :3], expected, rtol=1e-5)
        assert outputs["scores"].shape == (1, 1)
        assert fit.source_size == (50, sample.image.shape[0])
    assert [one.letterbox.source_size[1] for one in found] == [20 + 4 * i for i in range(count)]


class OneAtATime(FakeSession):
    """A model whose graph takes a batch of 1, and any size."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("images", "float32", (1, 3, -1, -1)),)


def test_a_model_that_takes_one_gets_one() -> None:
    with OneAtATime(mean_colour, size=SIZE) as session:
        assert len(list(infer(session, samples(3), size=SIZE, batch=4))) == 3
    assert session.runs == 3


def test_a_model_without_a_size_needs_one() -> None:
    session = OneAtATime(mean_colour, size=SIZE)
    with pytest.raises(SessionError, match="network size to use"):
        next(infer(session, samples(1)))


def test_the_next_pictures_are_read_while_the_network_runs() -> None:
    log = []

    def read() -> Iterator[Sample]:
        for i, sample in enumerate(samples(3)):
            log.append(f"read {i}")
            yield sample

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        log.append("run")
        return mean_colour(feeds)

    log.extend("use" for _ in infer(FakeSession(run, size=SIZE), read()))
    assert log == ["read 0", "run", "read 1", "run", "use", "read 2", "run", "use", "use"]
