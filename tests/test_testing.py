"""The shipped fake session keeps the contract that the real ones keep."""

from __future__ import annotations

import time

import numpy as np
import pytest

from jdetrt.errors import SessionError
from jdetrt.runtime.decode import detections as decode
from jdetrt.runtime.detector import check_model, has_embeddings, network_size
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.testing import FakeSession
from jdetrt.types import Detections, Session

FEEDS = {"images": np.zeros((1, 3, 32, 64), np.float32)}


def _people(rng: np.random.Generator, count: int) -> Detections:
    corners = rng.uniform(0, 300, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(20, 80, (count, 2))]).astype(np.float32)
    embeddings = rng.standard_normal((count, 8)).astype(np.float32)
    return Detections(boxes, rng.uniform(0.6, 1.0, count).astype(np.float32), embeddings)


def test_is_a_session() -> None:
    session = FakeSession([], size=(64, 32), embedding_size=8, metadata={"k": "3"})
    assert isinstance(session, Session)
    check_model(session)
    assert network_size(session) == (64, 32)
    assert has_embeddings(session)
    assert session.metadata == {"k": "3"}
    assert not has_embeddings(FakeSession([], size=(64, 32)))


def test_detections_come_back_through_the_decoder() -> None:
    """What goes in as source pixels comes out of the real decoder as the same source pixels."""
    rng = np.random.default_rng(3)
    frames = [_people(rng, n) for n in (4, 0, 7)]
    session = FakeSession.from_detections(frames, size=(64, 32), source_size=(400, 500))
    fit = Letterbox.fit((400, 500), (64, 32))
    for frame in frames:
        seen = decode(session.infer(FEEDS), fit, score_threshold=0.5, nms_iou=1.0)
        order = np.argsort(-frame.scores)
        np.testing.assert_allclose(seen.boxes, frame.boxes[order], atol=1e-2)
        np.testing.assert_array_equal(seen.scores, frame.scores[order])
        assert frame.embeddings is not None
        np.testing.assert_array_equal(seen.embeddings, frame.embeddings[order])
    with pytest.raises(SessionError, match="outputs for 3 runs"):
        session.infer(FEEDS)


def test_outputs_belong_to_the_caller() -> None:
    canned = {"boxes": np.ones((1, 2, 4), np.float32), "scores": np.ones((1, 2), np.float32)}
    session = FakeSession([canned, canned], size=(64, 32))
    session.infer(FEEDS)["boxes"][:] = 7
    assert session.infer(FEEDS)["boxes"].max() == 1


def test_is_as_strict_as_a_real_session() -> None:
    session = FakeSession(lambda feeds: {}, size=(64, 32))
    with pytest.raises(SessionError, match="no run is open"):
        session.wait()
    with pytest.raises(SessionError, match="expected float32"):
        session.submit({"images": np.zeros((1, 3, 32, 64))})
    session.submit(FEEDS)
    with pytest.raises(SessionError, match="open already"):
        session.submit(FEEDS)
    session.wait()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.submit(FEEDS)
    assert session.runs == 1


def test_seconds_count_from_submit() -> None:
    session = FakeSession(lambda feeds: {}, size=(64, 32), seconds=0.02)
    start = time.perf_counter()
    session.submit(FEEDS)
    session.wait()
    assert time.perf_counter() - start >= 0.02


def test_embeddings_of_two_lengths_are_refused() -> None:
    box, score = np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32)
    frames = [Detections(box, score, np.ones((1, d), np.float32)) for d in (4, 8)]
    with pytest.raises(SessionError, match=r"\[4, 8\]"):
        FakeSession.from_detections(frames, size=(64, 32))
