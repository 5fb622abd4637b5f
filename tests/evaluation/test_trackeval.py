"""The official numbers, checked by hand-made cases and by another implementation."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.evaluation import trackeval as accuracy
from jdetrt.evaluation.trackeval import score

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "public-detections"
Rows = Sequence[Sequence[float]]
Make = Callable[..., tuple[Path, Path]]


def text(rows: Rows) -> str:
    return "".join(",".join(f"{value:.17g}" for value in row) + "\n" for row in rows)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write one sequence: ground truth, results and seqinfo.ini."""

    def make(truth: Rows, found: Rows, name: str = "MOT17-77", length: int | None = 2) -> Any:
        gt, results = tmp_path / "gt", tmp_path / "results"
        (gt / name / "gt").mkdir(parents=True)
        results.mkdir(exist_ok=True)
        (gt / name / "gt" / "gt.txt").write_text(text(truth))
        if length is not None:
            ini = f"[Sequence]\nname=another\nseqLength={length}\nframeRate=30\n"
            (gt / name / "seqinfo.ini").write_text(ini)
        (results / f"{name}.txt").write_text(text(found))
        return gt, results

    return make


def person(frame: int, identity: int, x: float, kind: int = 1, mark: int = 1) -> list[float]:
    return [frame, identity, x, 100, 40, 100, mark, kind, 1]


def found(frame: int, identity: int, x: float) -> list[float]:
    return [frame, identity, x, 100, 40, 100, 0.9, -1, -1, -1]


TRUTH = [person(1, 1, 0), person(2, 1, 0), person(1, 2, 200), person(2, 2, 200)]


def test_the_truth_itself_scores_100(make: Make) -> None:
    scores = score(*make(TRUTH, [found(int(r[0]), int(r[1]), r[2]) for r in TRUTH]))
    assert scores.rules == {"MOT17-77": "MOT17"}
    expected = {
        "HOTA": 100,
        "MOTA": 100,
        "IDF1": 100,
        "IDSW": 0,
        "FP": 0,
        "FN": 0,
        "MT": 2,
        "ML": 0,
    }
    read = {name: {"taken": 4, "left_out": {}} for name in ("truth", "results")}
    assert scores.to_dict() == {
        "combined": expected,
        "sequences": {"MOT17-77": expected},
        "read": {"MOT17-77": read},
    }
    assert scores.warnings() == []


def test_counts_worked_out_by_hand(make: Make) -> None:
    # Person 1 is followed as 7 and then as 8: one switch. Person 2 is missed in frame 2: one
    # false negative. The box at 500 is of nobody: one false positive. 4 boxes of people in all.
    results = [found(1, 7, 0), found(2, 8, 0), found(1, 9, 200), found(2, 9, 500)]
    one = score(*make(TRUTH, results)).combined
    assert (one.idsw, one.fp, one.fn) == (1, 1, 1)
    assert one.mota == pytest.approx(100 * (1 - 3 / 4))
    # IDF1: the best pairing 1-7 (or 1-8) and 2-9 has 2 boxes right of 4 true and 4 found.
    assert one.idf1 == pytest.approx(100 * 2 * 2 / (4 + 4))
    # HOTA, all thresholds alike as the boxes coincide: DetA = 3 TP / (3 + 1 + 1); AssA is the mean
    # over the 3 TP of shared / union of the two tracks: 1-7 1/2, 1-8 1/2, 2-9 1/3.
    assert one.hota == pytest.approx(100 * np.sqrt(3 / 5 * (1 / 2 + 1 / 2 + 1 / 3) / 3))


def test_mostly_tracked_and_mostly_lost(make: Make) -> None:
    # Of 10 frames, person 1 is tracked in 9, person 2 in 5, person 3 in 1.
    truth = [person(frame, who, 200 * who) for who in (1, 2, 3) for frame in range(1, 11)]
    results = [found(frame, who, 200 * who) for who, last in ((1, 9), (2, 5), (3, 1))
               for frame in range(1, last + 1)]  # fmt: skip
    one = score(*make(truth, results, length=10)).combined
    assert (one.mt, one.ml) == (1, 1)


@pytest.mark.parametrize("mark", [0.6, 2, -1])
def test_every_mark_but_0_counts(make: Make, mark: float) -> None:
    truth = [[*row[:6], mark, *row[7:]] for row in TRUTH]
    scores = score(*make(truth, [found(int(r[0]), int(r[1]), r[2]) for r in TRUTH]))
    assert scores.combined.mota == 100
    (warning,) = scores.warnings()
    assert f"4 of 4 marks (column 7) are neither 0 nor 1, such as {mark:g}" in warning


@pytest.mark.parametrize(
    ("kind", "mark", "name"),
    [(2, 1, "4 of class 2 (person on a vehicle)"), (1, 0, "4 of class 1 (pedestrian) with mark 0"),
     (3, 0, "4 of class 3 (car) with mark 0")],
)  # fmt: skip
def test_ground_truth_of_nobody_is_refused(make: Make, kind: int, mark: int, name: str) -> None:
    truth = [person(int(r[0]), int(r[1]), r[2], kind, mark) for r in TRUTH]
    folders = make(truth, [found(int(r[0]), int(r[1]), r[2]) for r in TRUTH])
    with pytest.raises(DataError) as refused:
        score(*folders)
    assert str(refused.value).startswith("nothing to measure: MOT17-77: nothing was taken of 4")
    assert name in str(refused.value)
    assert "With the rules MOT15" in str(refused.value)
    assert score(*folders, rules="MOT15").combined.mota == 100 if mark else True


def test_a_sequence_of_nobody_beside_another_is_told(make: Make) -> None:
    make(TRUTH, [found(int(r[0]), int(r[1]), r[2]) for r in TRUTH], name="a")
    truth = [person(int(r[0]), int(r[1]), r[2], kind=2) for r in TRUTH]
    scores = score(*make(truth, [], name="b"))
    assert scores.combined.mota == 100
    assert "b: nothing was taken of 4 ground-truth boxes (4 of class 2" in scores.warnings()[0]
    assert scores.to_dict()["read"]["b"]["truth"]["taken"] == 0


def test_cars_and_occluders_are_left_out_by_design(make: Make) -> None:
    cars = [person(1, 100 + i, 50 * i, kind=3, mark=0) for i in range(20)]
    scores = score(*make([*TRUTH, *cars], [found(1, 1, 0)]))
    assert scores.warnings() == []
    assert scores.truth["MOT17-77"].summary() == (
        "4 of 24 ground-truth boxes; left out: 20 of class 3 (car) with mark 0"
    )


def test_most_people_of_another_class_is_told(make: Make) -> None:
    others = [person(frame, 100 + i, 50 * i, kind=7) for i in range(5) for frame in (1, 2)]
    (warning,) = score(*make([*TRUTH, *others], [found(1, 1, 0)])).warnings()
    assert "only 4 of 14 ground-truth boxes were taken (10 of class 7 (static person))" in warning


def test_boxes_without_area_are_left_out_and_counted(make: Make) -> None:
    folders = make(TRUTH, [found(1, 1, 0), [1, 2, 200, 100, 0, 100, 1, -1, -1, -1]])
    scores = score(*folders)
    assert scores.combined.fp == 0
    assert scores.results["MOT17-77"].summary() == "1 of 2 result boxes; left out: 1 without area"
    with pytest.raises(DataError, match=r"MOT17-77.txt:2: expected a size above 0"):
        score(*folders, strict=True)


def test_results_that_match_nobody_or_end_early_are_told(make: Make) -> None:
    (warning,) = score(*make(TRUTH, [found(2, 1, 900)])).warnings()
    assert "none of 1 boxes overlaps a person" in warning
    truth = [person(frame, 1, 0) for frame in range(1, 101)]
    short = [found(frame, 1, 0) for frame in range(1, 60)]
    (warning,) = score(*make(truth, short, name="long", length=100), sequences=["long"]).warnings()
    assert "the results end with frame 59, the ground truth with frame 100 of 100" in warning
    (warning,) = score(*make(truth, [], name="none", length=100), sequences=["none"]).warnings()
    assert "there is no box in it" in warning


def test_ground_truth_that_ends_early_is_told(make: Make) -> None:
    results = [found(frame, 1, 0) for frame in range(1, 101)]
    truth = [person(frame, 1, 0) for frame in range(1, 60)]
    (warning,) = score(*make(truth, results, length=100)).warnings()
    assert "the ground truth ends with frame 59 of 100" in warning


def test_half_overlap_counts_and_less_does_not(make: Make) -> None:
    # A box of width 40 moved by d overlaps by (40 - d) / (40 + d): 0.5 at 13.33.
    near = score(*make(TRUTH[:2], [found(1, 1, 13), found(2, 1, 14)])).combined
    assert (near.fp, near.fn) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "rules", "false_positives"),
    [
        (2, "MOT17", 0),
        (7, "MOT17", 0),
        (8, "MOT16", 0),
        (12, "MOT16", 0),
        (3, "MOT17", 1),
        (6, "MOT17", 1),
        (6, "MOT20", 0),
        (2, "MOT15", 0),
    ],
)
def test_distractors_are_neither_right_nor_wrong(
    make: Make, kind: int, rules: str, false_positives: int
) -> None:
    truth = [*TRUTH, person(1, 3, 400, kind, mark=0)]
    results = [found(int(r[0]), int(r[1]), r[2]) for r in truth]
    one = score(*make(truth, results), rules=rules).combined
    # By the MOT15 rules there are no classes: a row with mark 0 is simply nobody.
    assert one.fp == (1 if rules == "MOT15" else false_positives)
    assert one.fn == 0


def test_a_result_on_a_distractor_must_overlap_by_half(make: Make) -> None:
    truth = [*TRUTH, person(1, 3, 400, kind=8, mark=0)]
    results = [found(int(r[0]), int(r[1]), r[2]) for r in TRUTH]
    assert score(*make(truth, [*results, found(1, 5, 414)])).combined.fp == 1


def test_pedestrians_with_mark_0_do_not_count(make: Make) -> None:
    truth = [*TRUTH, person(1, 3, 400, mark=0)]
    assert score(*make(truth, [])).combined.fn == 4


@pytest.mark.parametrize(
    ("name", "columns", "rules"),
    [
        ("MOT20-01", [1, 1, 1], "MOT20"),
        ("venice", [1, 1, 1], "MOT17"),
        ("TUD-Campus", [1, -1, -1, -1], "MOT15"),
        ("TUD-Stadtmitte", [1, 4.4852, 5.5016, 0], "MOT15"),
        ("short", [1], "MOT15"),
    ],
)
def test_the_rules_follow_from_the_class_column(
    make: Make, name: str, columns: list[float], rules: str
) -> None:
    truth = [[frame, 1, 10, 10, 40, 100, *columns] for frame in (1, 2)]
    scores = score(*make(truth, [found(1, 1, 10)], name=name))
    assert scores.rules == {name: rules}
    assert scores.combined.fn + scores.combined.fp > 0


def test_an_empty_results_file_is_a_tracker_that_found_nobody(make: Make) -> None:
    one = score(*make(TRUTH, [])).combined
    numbers = {"HOTA": 0, "MOTA": 0, "IDF1": 0, "IDSW": 0, "FP": 0, "FN": 4, "MT": 0, "ML": 2}
    assert one.to_dict() == numbers


def test_combined_is_over_boxes_and_not_a_mean(make: Make) -> None:
    make(TRUTH, [], name="a")  # 4 boxes, none found
    gt, results = make(TRUTH[:1], [found(1, 1, 0)], name="b")  # 1 box, found
    scores = score(gt, results)
    assert [one.mota for one in scores.sequences.values()] == [0, 100]
    assert scores.combined.mota == pytest.approx(20)


def test_length_from_the_truth_when_there_is_no_seqinfo(make: Make) -> None:
    gt, results = make(TRUTH, [found(3, 1, 0)], length=None)
    with pytest.raises(DataError, match=r"MOT17-77\.txt:1: .* ends with frame 2"):
        score(gt, results)


def test_ids_may_be_as_large_as_they_like(make: Make) -> None:
    results = [found(int(r[0]), 10**14 + int(r[1]), r[2]) for r in TRUTH]
    assert score(*make(TRUTH, results)).combined.idf1 == 100


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1,1,a,100,40,100,1,-1,-1,-1", "expected a number in column 3"),
        ("1,1,0,100,40", "expected 10 columns as above, got 5"),
        ("1,1,nan,100,40,100,1,-1,-1,-1", "expected a finite number"),
        ("1.5,1,0,100,40,100,1,-1,-1,-1", "expected a whole number"),
        ("0,1,0,100,40,100,1,-1,-1,-1", "expected a frame number from 1"),
        ("1,1.5,0,100,40,100,1,-1,-1,-1", "expected a whole number"),
        ("1,1,0,100,-1,100,1,-1,-1,-1", "expected a size above 0"),
        ("3,1,0,100,40,100,1,-1,-1,-1", "frame 3, id 1: the sequence ends with frame 2"),
        ("2,4,0,100,40,100,1,-1,-1,-1", "frame 2, id 4: the same frame already has this id"),
    ],
)
def test_a_bad_row_is_named_with_its_line(make: Make, line: str, why: str) -> None:
    gt, results = make(TRUTH, [])
    path = results / "MOT17-77.txt"
    path.write_text(f"2,4,9,100,40,100,1,-1,-1,-1\n\n{line}\n")
    with pytest.raises(DataError, match=rf"MOT17-77\.txt:3: {why}"):
        score(gt, results)


def test_a_class_column_in_the_results_is_not_looked_at(make: Make) -> None:
    results = [[*found(int(r[0]), int(r[1]), r[2])[:7], 3] for r in TRUTH]
    assert score(*make(TRUTH, results)).combined.mota == 100


def test_bad_ground_truth_is_named_with_its_line(make: Make) -> None:
    gt, results = make([*TRUTH, person(1, 2, 5)], [])
    path = gt / "MOT17-77" / "gt" / "gt.txt"
    with pytest.raises(DataError, match=r"gt\.txt:5: .*the same frame already has this id"):
        score(gt, results)
    path.write_text("1,1,0,100,40,100,1,1,1\n1,2,0,100,40,100,1,14,1\n")
    with pytest.raises(DataError, match=r"gt\.txt:2: .*not one of 1 to 13; with the rules MOT15"):
        score(gt, results)
    path.write_text("1,1,0,100,40,100,1,-1,-1,-1\n")
    with pytest.raises(DataError, match=r"gt\.txt: expected 8 or 9 columns"):
        score(gt, results, rules="MOT17")
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        score(gt, results)
    path.write_text("")
    with pytest.raises(DataError, match="is empty"):
        score(gt, results)


@pytest.mark.parametrize("content", ["[Sequence]\nseqLength=many\n", "[S]\n", "x", "\x00"])
def test_a_bad_seqinfo_is_named(make: Make, content: str) -> None:
    gt, results = make(TRUTH, [])
    (gt / "MOT17-77" / "seqinfo.ini").write_text(content)
    with pytest.raises(DataError, match=r"seqinfo\.ini: (expected|has no section)"):
        score(gt, results)
    for length in ("0", "9999999"):
        (gt / "MOT17-77" / "seqinfo.ini").write_text(
            f"[Sequence]\nseqLength={length}\nframeRate=30\n"
        )
        with pytest.raises(DataError, match=rf"for seqLength, got {length}"):
            score(gt, results)


def test_missing_sequences_are_refused_or_left_out(make: Make) -> None:
    make(TRUTH, [], name="a")
    gt, results = make(TRUTH, [], name="b")
    (results / "b.txt").rename(results / "c.txt")
    with pytest.raises(DataError, match=r"no results for b; expected b\.txt"):
        score(gt, results)
    assert list(score(gt, results, sequences=["a"]).sequences) == ["a"]
    scores = score(gt, results, only_present=True)
    assert list(scores.sequences) == ["a"]
    assert scores.unscored == ("c",)
    with pytest.raises(DataError, match="no ground truth for z; it has a, b"):
        score(gt, results, sequences=["z"])
    with pytest.raises(DataError, match=r"; .* has a, b"):
        score(gt, results, sequences=[])
    with pytest.raises(DataError, match="no results file for any"):
        score(gt, gt, only_present=True)


def test_missing_folders_and_unknown_rules(make: Make, tmp_path: Path) -> None:
    gt, results = make(TRUTH, [])
    with pytest.raises(DataError, match="no such folder"):
        score(tmp_path / "nowhere", results)
    with pytest.raises(DataError, match="no such folder"):
        score(gt, tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected <sequence>"):
        score(results, results)
    with pytest.raises(DataError, match="expected auto, MOT15"):
        score(gt, results, rules="MOT99")


def test_without_trackeval_the_error_says_what_to_install(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def blocked(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "trackeval":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jdetrt\[bench\]'"):
        score(*make(TRUTH, []))


def test_nothing_is_printed(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    score(*make(TRUTH, []))
    assert capsys.readouterr() == ("", "")


def test_another_implementation_agrees_on_noisy_results(make: Make, tmp_path: Path) -> None:
    """``trackers.eval`` knows no classes, so the truth has pedestrians alone."""
    from trackers.eval import evaluate_mot_sequences

    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        length, people = 60, 12
        start, speed = rng.uniform(0, 900, people), rng.uniform(-4, 4, people)
        truth, results = [], []
        for frame in range(1, length + 1):
            label = rng.permutation(people) if frame % 20 == 0 else np.arange(people)
            for i in range(people):
                x = start[i] + speed[i] * frame
                truth.append([frame, i + 1, x, 100 + 10 * i, 40, 100, 1, 1, 1])
                if rng.random() < 0.85:
                    box = np.array([x, 100 + 10 * i, 40, 100]) + rng.normal(0, 4, 4)
                    results.append([frame, int(label[i]) + 1, *box, 1, -1, -1, -1])
                if rng.random() < 0.1:
                    box = np.array([rng.uniform(0, 900), 100, 40, 100])
                    results.append([frame, 100 + i, *box, 1, -1, -1, -1])
        make(truth, results, name=f"s{seed}", length=length)
    gt, found_dir = tmp_path / "gt", tmp_path / "results"
    ours = score(gt, found_dir)
    theirs = evaluate_mot_sequences(gt, found_dir, metrics=["CLEAR", "HOTA", "Identity"])
    pairs = [(ours.sequences[name], theirs.sequences[name]) for name in ("s1", "s2")]
    for mine, other in [*pairs, (ours.combined, theirs.aggregate)]:
        assert other.HOTA is not None
        assert other.CLEAR is not None
        assert other.Identity is not None
        assert 20 < mine.hota < 90
        assert mine.idsw > 5
        assert mine.hota == pytest.approx(100 * other.HOTA.HOTA, abs=1e-6)
        assert mine.mota == pytest.approx(100 * other.CLEAR.MOTA, abs=1e-6)
        assert mine.idf1 == pytest.approx(100 * other.Identity.IDF1, abs=1e-6)
        counts = (other.CLEAR.IDSW, other.CLEAR.CLR_FP, other.CLEAR.CLR_FN)
        assert (mine.idsw, mine.fp, mine.fn) == counts


@pytest.mark.skipif(not DATA.is_dir(), reason="the public detections are not beside the checkout")
def test_real_ground_truth_as_results_scores_100(tmp_path: Path) -> None:
    names = ["MOT17-09-FRCNN", "TUD-Campus", "TUD-Stadtmitte"]
    for name in names:
        (tmp_path / f"{name}.txt").write_bytes((DATA / name / "gt" / "gt.txt").read_bytes())
    scores = score(DATA, tmp_path, sequences=names)
    assert scores.rules == dict(zip(names, ["MOT17", "MOT15", "MOT15"], strict=True))
    for name in names[1:]:
        assert scores.sequences[name].to_dict()["HOTA"] == pytest.approx(100)
        assert scores.sequences[name].mota == 100
    # MOT17-09 holds occluders (class 9) besides the pedestrians and the distractors: following
    # those 1050 boxes is wrong, following the distractors is not.
    mot17 = scores.sequences["MOT17-09-FRCNN"]
    assert (mot17.fn, mot17.idsw, mot17.fp) == (0, 0, 1050)


def test_the_module_says_what_it_scores() -> None:
    assert accuracy.RULES == ("MOT15", "MOT16", "MOT17", "MOT20")
