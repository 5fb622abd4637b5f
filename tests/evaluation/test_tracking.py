from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from walkers import FRAMES, PEOPLE, samples_of, true_session, walkers

from jdetrt.config import ReferenceConfig
from jdetrt.errors import DataError
from jdetrt.evaluation.trackeval import score_files
from jdetrt.evaluation.tracking import evaluate_tracking
from jdetrt.types import Detections, Frame, Tracks

REAL = Path(__file__).parents[2] / "../shared/data/sequences"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return walkers(tmp_path / "walkers")


def test_all_but_the_first_frame_of_everybody(folder: Path, tmp_path: Path) -> None:
    """The reference reports a track from its second frame on; nothing else is missing."""
    other = walkers(tmp_path / "more" / "MOT20-77", frames=4)
    seen: list[int] = []

    def count(frame: Frame, tracks: Tracks) -> None:
        seen.append(frame.index)

    session = true_session([*samples_of(folder), *samples_of(other)])
    reference = ReferenceConfig()
    scores = evaluate_tracking(session, [folder, other], tracker=reference, on_frame=count)
    assert seen == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4]
    assert list(scores.sequences) == ["walkers", "MOT20-77"]
    assert scores.rules == {"walkers": "MOT17", "MOT20-77": "MOT20"}
    for name, frames in (("walkers", FRAMES), ("MOT20-77", 4)):
        one = scores.sequences[name]
        assert (one.fp, one.fn, one.idsw) == (0, PEOPLE, 0)
        assert one.mota == pytest.approx(100 * (1 - 1 / frames))
    assert scores.combined.fn == 2 * PEOPLE


def test_results_are_kept_where_asked_for(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "tracks"
    scores = evaluate_tracking(true_session(samples_of(folder)), [folder], results_dir=kept)
    assert [path.name for path in kept.iterdir()] == ["walkers.txt"]
    again = score_files({"walkers": (folder, kept / "walkers.txt")})
    assert again.combined == scores.combined


def test_settings_reach_the_tracker(folder: Path) -> None:
    def faint(index: int, seen: Detections) -> Detections:
        return Detections(seen.boxes, np.full(PEOPLE, 0.45, np.float32), seen.embeddings)

    def fn(**settings: object) -> int:
        session = true_session(samples_of(folder), change=faint)
        return evaluate_tracking(session, [folder], **settings).combined.fn  # type: ignore[arg-type]

    assert fn() == FRAMES * PEOPLE
    assert fn(tracker=ReferenceConfig(score_threshold=0.4)) == PEOPLE


def test_folders_of_sequences(folder: Path) -> None:
    walkers(folder.parent / "b", frames=3)
    session = true_session([*samples_of(folder.parent / "b"), *samples_of(folder)])
    assert list(evaluate_tracking(session, [folder.parent]).sequences) == ["b", "walkers"]


def test_refusals_before_the_network_runs(folder: Path, tmp_path: Path) -> None:
    session = true_session(samples_of(folder))
    with pytest.raises(DataError, match="no sequence given"):
        evaluate_tracking(session, [])
    with pytest.raises(DataError, match="a sequence 'walkers' is there already"):
        evaluate_tracking(session, [folder, walkers(tmp_path / "b" / "walkers")])
    for name in ("images", "labels_with_ids"):
        (tmp_path / "jde" / name).mkdir(parents=True)
    (tmp_path / "jde" / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="expected a MOT sequence"):
        evaluate_tracking(session, [tmp_path / "jde"])
    (folder / "gt" / "gt.txt").write_text("1,1,0,0,40,oops\n")
    with pytest.raises(DataError, match=r"gt\.txt:1: expected a number"):
        evaluate_tracking(session, [folder])
    assert session.runs == 0


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/sequences")
def test_real_ground_truth_is_tracked_without_an_error() -> None:
    """Everybody stays to the end: what is missing is the first frame, and nothing is wrong."""
    folder = REAL / "MOT17-11-mini"
    samples = samples_of(folder)
    # Real people overlap, and some are wide or small.
    config = ReferenceConfig(nms_iou=1.0, max_aspect=1e3, min_area=0.0)
    one = evaluate_tracking(true_session(samples, (960, 544)), [folder], tracker=config).combined
    assert (one.fp, one.idsw, one.fn) == (0, 0, len(samples[0].boxes))


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/sequences")
def test_the_people_of_real_ground_truth_score_100(tmp_path: Path) -> None:
    files = {}
    for folder in REAL.glob("MOT17-*-mini"):
        results = tmp_path / f"{folder.name}.txt"
        rows = (folder / "gt" / "gt.txt").read_text().splitlines(keepends=True)
        people = [row for row in rows if row.split(",")[6:8] == ["1", "1"]]
        assert 0 < len(people) < len(rows)
        results.write_text("".join(people))
        files[folder.name] = (folder, results)
    scores = score_files(files)
    assert len(scores.sequences) >= 6
    assert (scores.combined.mota, scores.combined.idf1) == (100, 100)
