"""One pass gives what the separate evaluations give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, save_tiny
from walkers import FRAMES, PEOPLE, samples_of, true_session, walkers

from jdetrt.config import ReferenceConfig
from jdetrt.errors import DataError, SessionError
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.evaluation.embedding import evaluate_embedding
from jdetrt.evaluation.summary import quick_score
from jdetrt.evaluation.tracking import evaluate_tracking
from jdetrt.export.torch_session import TorchSession, load_network
from jdetrt.testing import FakeSession
from jdetrt.types import Detections


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return walkers(tmp_path / "walkers")


def test_the_truth_is_perfect_but_for_the_first_frame(folder: Path) -> None:
    session = true_session(samples_of(folder))
    found = quick_score(session, folder)
    assert session.runs == FRAMES
    assert (found.ap50, found.tpr, found.coverage) == (1.0, 1.0, 1.0)
    assert (found.fp, found.fn, found.idsw) == (0, PEOPLE, 0)
    assert found.mota == pytest.approx(100 * (1 - 1 / FRAMES))
    assert set(found.to_dict()) == {
        *("ap50", "tpr", "coverage"),
        *("mota", "idf1", "hota", "idsw", "fp", "fn"),
    }


def test_it_agrees_with_the_separate_evaluations(folder: Path) -> None:
    def change(index: int, seen: Detections) -> Detections:
        """Person 1 is missed in frame 3, and two swap their embeddings from frame 4 on."""
        assert seen.embeddings is not None
        kept = [0, 2] if index == 2 else [0, 1, 2]
        order = [0, 2, 1] if index > 2 else [0, 1, 2]
        embeddings = seen.embeddings[order][kept]
        return Detections(seen.boxes[kept], seen.scores[kept], embeddings)

    samples = samples_of(folder)
    found = quick_score(true_session(samples, change=change), folder)
    detected = evaluate_detection(true_session(samples, change=change), samples)
    told_apart = evaluate_embedding(true_session(samples, change=change), samples)
    tracked = evaluate_tracking(true_session(samples, change=change), [folder]).combined
    assert found.ap50 == detected.ap50 < 1
    assert found.tpr == told_apart.tpr[0.1] < 1
    assert found.coverage == told_apart.coverage < 1
    assert (found.mota, found.idf1, found.hota) == (tracked.mota, tracked.idf1, tracked.hota)
    assert (found.idsw, found.fp, found.fn) == (tracked.idsw, tracked.fp, tracked.fn)
    assert found.fn > PEOPLE


def test_a_network_in_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, size, anchors = load_network(save_tiny(tmp_path / "t.safetensors", monkeypatch))
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with TorchSession(network, size, anchors) as session:
        found = quick_score(session, folder)
    assert size == SIZE
    assert 0 <= found.ap50 < 1
    assert 0 < found.coverage <= 1
    assert network.training
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_settings_reach_the_tracker(folder: Path) -> None:
    strict = ReferenceConfig(score_threshold=0.99)
    found = quick_score(true_session(samples_of(folder)), folder, tracker=strict)
    assert (found.fn, found.mota, found.ap50) == (FRAMES * PEOPLE, 0, 1)


def test_refusals(folder: Path) -> None:
    with pytest.raises(SessionError, match="embeddings"):
        quick_score(FakeSession([], size=(64, 32)), folder)
    (folder / "img1" / "000003.png").unlink()
    with pytest.raises(DataError, match="frame 3 has no "):
        quick_score(true_session(samples_of(walkers(folder.parent / "b"))), folder)
    rows = (folder / "gt" / "gt.txt").read_text().splitlines(keepends=True)
    (folder / "gt" / "gt.txt").write_text("".join(r for r in rows if not r.startswith("3,")))
    with pytest.raises(DataError, match=r"seqinfo\.ini .* 6 images, .* 5"):
        quick_score(true_session(samples_of(folder)), folder)
