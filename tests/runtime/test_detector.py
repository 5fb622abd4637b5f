"""The detector: one image, several, submitted ones, candidates, and its errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from jdetrt.errors import DataError, SessionError
from jdetrt.runtime.decode import detections
from jdetrt.runtime.detector import Candidates, Detector
from jdetrt.runtime.preprocess import letterbox
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Detections, Size, TensorSpec

SIZE = (128, 64)
# Network pixels: the first two overlap by 0.8.
BOXES = [[10, 10, 30, 50], [10, 10, 30, 42], [60, 10, 80, 50], [90, 5, 99, 40]]
SCORES = [0.9, 0.8, 0.7, 0.3]


def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The same people in every image, their embeddings the number of the image's blue value."""
    images = feeds["images"]
    count = len(images)
    blue = images[:, 2, 32, 64].reshape(-1, 1, 1)
    return {
        "boxes": np.tile(np.array(BOXES, np.float32), (count, 1, 1)),
        "scores": np.tile(np.array(SCORES, np.float32), (count, 1)),
        "embeddings": np.tile(blue, (1, len(BOXES), 3)).astype(np.float32),
    }


def image(blue: int = 255, width: int = 256) -> npt.NDArray[np.uint8]:
    picture = np.zeros((128, width, 3), np.uint8)
    picture[..., 0] = blue
    return picture


def detector(**settings: float) -> Detector:
    return Detector(FakeSession(answer, size=SIZE, embedding_size=3), **settings)  # type: ignore[arg-type]


def same(a: Detections, b: Detections) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert (a.embeddings is None) == (b.embeddings is None)
    if a.embeddings is not None and b.embeddings is not None:
        np.testing.assert_array_equal(a.embeddings, b.embeddings)


def test_it_detects_in_source_pixels_as_the_parts_do_by_hand() -> None:
    with detector() as two_people:
        assert two_people.size == Size(*SIZE)
        assert two_people.embedding_dim == 3
        found = two_people.detect(image())
        tensor, fit = letterbox(image(), SIZE)
        by_hand = detections(two_people.session.infer({"images": tensor[None]}), fit)
        same(found, by_hand)
    np.testing.assert_array_equal(found.scores, np.array([0.9, 0.7], np.float32))
    np.testing.assert_allclose(found.boxes[0], [20, 20, 60, 100])


def test_thresholds_are_the_detectors_and_may_change() -> None:
    with detector(score_threshold=0.2, nms_iou=0.9) as all_four:
        assert len(all_four.detect(image())) == 4
        all_four.nms_iou = 0.4
        assert len(all_four.detect(image())) == 3
        all_four.score_threshold = 0.85
        assert len(all_four.detect(image())) == 1


def test_it_says_where_every_candidate_is_above_the_threshold() -> None:
    with detector(score_threshold=0.3) as one:
        one.detect(image())
        assert not one.full  # 0.3 is not above
        one.score_threshold = 0.29
        one.detect(image())
        assert one.full
        one.score_threshold = 0.5
        one.detect(image())
        assert not one.full


@pytest.mark.parametrize("batch", [-1, 1])
def test_a_batch_gives_what_each_image_gives(batch: int) -> None:
    with detector() as whole:
        fake = whole.session
        assert isinstance(fake, FakeSession)
        fake._inputs = (TensorSpec("images", "float32", (batch, 3, SIZE[1], SIZE[0])),)
        images = [image(10), image(200, width=300), image(90)]
        together = whole.detect_batch(images)
        assert fake.runs == (1 if batch == -1 else 3)
        for one, alone in zip(images, together, strict=True):
            same(whole.detect(one), alone)
        assert whole.detect_batch([]) == []
        same(whole.detect_batch(images[:1])[0], together[0])


def test_candidates_are_in_network_pixels_and_not_suppressed() -> None:
    with detector() as one:
        candidates = one.candidates(image())
        assert isinstance(candidates, Candidates)
        np.testing.assert_array_equal(candidates.boxes, np.array(BOXES[:3], np.float32))
        assert len(one.candidates(image(), score_threshold=0.1)) == 4
        assert candidates.letterbox.network_size == SIZE
        everything = candidates.to_source()
        np.testing.assert_allclose(everything.boxes, 2 * candidates.boxes)
        same(candidates.suppress(one.nms_iou).to_source(), one.detect(image()))
        rows = candidates[candidates.scores > 0.75]
        assert rows.to_source().scores.tolist() == pytest.approx([0.9, 0.8])


def test_submit_and_wait() -> None:
    with detector() as one:
        for blue in (10, 20, 30):
            one.submit(image(blue))
            found = one.wait().embeddings
            assert found is not None
            assert found[0] == pytest.approx(blue / 255)
        one.submit(image())
        for call in (one.submit, one.detect, one.candidates):
            with pytest.raises(SessionError, match="wait"):
                call(image())
        with pytest.raises(SessionError, match="wait"):
            one.detect_batch([image(), image()])
        assert len(one.wait()) == 2
        with pytest.raises(SessionError, match="submit"):
            one.wait()


def test_it_is_of_use_after_an_error() -> None:
    runs = iter([True, False, False])

    def breaks(feeds: Mapping[str, Array]) -> dict[str, Array]:
        if next(runs):
            raise SessionError("out of memory")
        return answer(feeds)

    with Detector(FakeSession(breaks, size=SIZE, embedding_size=3)) as one:
        with pytest.raises(SessionError, match="out of memory"):
            one.detect(image())
        with pytest.raises(DataError, match="uint8"):
            one.detect(np.zeros((4, 4, 3), np.float32))
        assert len(one.detect(image())) == 2
        assert len(one.detect(image())) == 2


def test_another_model_and_a_free_size_are_refused() -> None:
    session = FakeSession(answer, size=SIZE)
    session._outputs = session._outputs[:1]
    with pytest.raises(SessionError, match="scores"):
        Detector(session)
    with pytest.raises(SessionError, match="size"):
        Detector(FakeSession(answer, size=(-1, -1)))
    free = Detector(FakeSession(answer, size=(-1, -1)), size=SIZE)
    assert len(free.detect(image())) == 2
    assert free.embedding_dim is None


def test_closing_closes_the_session() -> None:
    with detector() as one:
        one.detect(image())
    one.close()
    with pytest.raises(SessionError, match="closed"):
        one.detect(image())
