"""Tracking accuracy with the official metric code: HOTA, MOTA, IDF1, ID switches, FP, FN, MT, ML.

TrackEval (PyPI: ``trackeval``) is the code that the MOT Challenge server runs. Its reader and its
preprocessing are used as they are; this module checks the files first, so that a bad row is named
with its line, and hands them over in the folder layout that TrackEval wants.

What counts depends on the benchmark (the *rules*):

========= =======================================================================================
MOT15     every ground-truth row whose mark (column 7) is not 0; there are no classes
MOT16/17  pedestrians (class 1) with a mark other than 0. First, results that match a person on a
          vehicle (2), a static person (7), a distractor (8) or a reflection (12) at an IoU of 0.5
          or more are removed: following them is neither right nor wrong
MOT20     the same, and non-motorised vehicles (6) are ignored too
========= =======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.evaluation.scores import CLASS_HINT, Score, Scores
from jdetrt.evaluation.truth import compare_ends, counted_rows, ends_early, truth_account
from jdetrt.files import scratch_folder
from jdetrt.runtime.mot.classes import CLASSES
from jdetrt.runtime.mot.files import MotRows, read_mot, suspect_corners
from jdetrt.runtime.sources.seqinfo import read_seqinfo

__all__ = [
    "RULES",
    "Score",
    "Scores",
    "SequenceScore",
    "check_truth",
    "combine",
    "score",
    "score_files",
    "score_sequence",
]

RULES = ("MOT15", "MOT16", "MOT17", "MOT20")


def score(
    gt_root: str | Path,
    results_dir: str | Path,
    *,
    rules: str = "auto",
    sequences: Iterable[str] | None = None,
    only_present: bool = False,
    strict: bool = False,
) -> Scores:
    """Score MOT Challenge text files.

    Args:
        gt_root: folder of sequences, each with ``gt/gt.txt`` and, if there is one,
            ``seqinfo.ini`` (its seqLength is used; without one the last frame of the ground truth).
            A sequence goes by the name of its folder, whatever seqinfo.ini calls it.
        results_dir: folder with ``<sequence>.txt``, rows ``frame,id,x,y,w,h[,score,...]`` with
            frames from 1. An empty file is a tracker that found nobody.
        rules: one of ``RULES``, or "auto": MOT15 where the ground truth has no classes (10 columns,
            or column 8 missing or -1), else MOT20 or MOT17 by the name of the sequence.
        sequences: score these only. Default: all of ``gt_root``.
        only_present: leave out sequences that have no results file, instead of refusing.
        strict: refuse boxes without area, instead of leaving them out.

    Raises:
        DataError: a folder, a file or a row is missing or wrong, and the message has path and line;
            or no row of any ground truth counts.
        MissingDependencyError: TrackEval is not installed.
    """
    gt_root, results_dir = Path(gt_root), Path(results_dir)
    found = {path.parent.parent.name for path in gt_root.glob("*/gt/gt.txt")}
    results = {path.stem for path in results_dir.glob("*.txt")}
    names = _choose(gt_root, results_dir, found, results, sequences, only_present)
    files = {name: (gt_root / name, results_dir / f"{name}.txt") for name in names}
    scores = score_files(files, rules=rules, strict=strict)
    return replace(scores, unscored=tuple(sorted(results - found)))


def score_files(
    files: Mapping[str, tuple[Path, Path]], *, rules: str = "auto", strict: bool = False
) -> Scores:
    """Score sequences wherever they are.

    Args:
        files: by name, the folder of a sequence and its results file, both as in ``score``.
        rules: as in ``score``.
        strict: as in ``score``.

    Raises:
        DataError: as in ``score``.
        MissingDependencyError: TrackEval is not installed.
    """
    pairs = {name: _Pair.read(*paths, rules, strict) for name, paths in files.items()}
    _refuse_nobody({name: _truth_account(pair) for name, pair in pairs.items()})
    return combine({name: _measure(pair) for name, pair in pairs.items()})


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """Score of one sequence, from which `combine` makes that of several.

    Attributes:
        raw: TrackEval's numbers by metric: ``"hota"``, ``"clear"``, ``"identity"``.
        rules: that were applied.
        truth: the boxes of the ground truth.
        results: the boxes of the results.
    """

    raw: dict[str, Any]
    rules: str
    truth: Account
    results: Account


def score_sequence(
    sequence: Path, results: Path, *, rules: str = "auto", strict: bool = False
) -> SequenceScore:
    """Score one sequence of several; arguments and errors as of `score_files`."""
    return _measure(_Pair.read(sequence, results, rules, strict))


def combine(sequences: Mapping[str, SequenceScore]) -> Scores:
    """Combine the scores of sequences, by name, as TrackEval does: over all of their boxes.

    Raises:
        DataError: no row of any ground truth counts.
        MissingDependencyError: TrackEval is not installed.
    """
    truth = {name: one.truth for name, one in sequences.items()}
    _refuse_nobody(truth)
    together = {
        key: metric.combine_sequences({name: one.raw[key] for name, one in sequences.items()})
        for key, metric in _metrics(_trackeval()).items()
    }
    return Scores(
        combined=_numbers(**together),
        sequences={name: _numbers(**one.raw) for name, one in sequences.items()},
        rules={name: one.rules for name, one in sequences.items()},
        truth=truth,
        results={name: one.results for name, one in sequences.items()},
    )


def _measure(pair: _Pair) -> SequenceScore:
    trackeval = _trackeval()
    data = pair.prepare(trackeval)
    raw = {key: metric.eval_sequence(data) for key, metric in _metrics(trackeval).items()}
    results = _results_account(pair, raw["clear"]["CLR_TP"])
    return SequenceScore(raw, pair.rules, _truth_account(pair), results)


def _metrics(trackeval: Any) -> dict[str, Any]:
    return {
        "hota": trackeval.metrics.HOTA(),
        "clear": trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
        "identity": trackeval.metrics.Identity({"PRINT_CONFIG": False}),
    }


def _choose(
    gt_root: Path,
    results_dir: Path,
    found: set[str],
    results: set[str],
    sequences: Iterable[str] | None,
    only_present: bool,
) -> list[str]:
    for folder in (gt_root, results_dir):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    if not found:
        raise DataError(f"{gt_root}: no sequences; expected <sequence>/gt/gt.txt")
    names = sorted(found if sequences is None else set(sequences))
    if not names:
        raise DataError(f"no sequence given; {gt_root} has {', '.join(sorted(found))}")
    if unknown := [name for name in names if name not in found]:
        raise DataError(
            f"{gt_root}: no ground truth for {', '.join(unknown)}; "
            f"it has {', '.join(sorted(found))}"
        )
    missing = [name for name in names if name not in results]
    if only_present:
        names = [name for name in names if name in results]
        if not names:
            raise DataError(
                f"{results_dir}: no results file for any sequence of {gt_root}; "
                f"expected {missing[0]}.txt and the like"
            )
    elif missing:
        raise DataError(
            f"{results_dir}: no results for {', '.join(missing)}; "
            f"expected {missing[0]}.txt. If nothing was detected, write an empty file; to "
            f"leave sequences out, use --only-present or --sequences"
        )
    return names


def _trackeval() -> Any:
    try:
        import trackeval
    except ImportError as err:
        raise MissingDependencyError("trackeval", "bench", "Scoring") from err
    return trackeval


def _numbers(*, hota: Any, clear: Any, identity: Any) -> Score:
    return Score(
        hota=100 * float(np.mean(hota["HOTA"])),
        mota=100 * float(clear["MOTA"]),
        idf1=100 * float(identity["IDF1"]),
        idsw=int(clear["IDSW"]),
        fp=int(clear["CLR_FP"]),
        fn=int(clear["CLR_FN"]),
        mt=int(clear["MT"]),
        ml=int(clear["ML"]),
    )


_FEW = 10  # times as many boxes could match as do


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Ground truth and results of one sequence, checked."""

    path: Path  # of the results
    truth: MotRows
    results: MotRows
    length: int
    size: tuple[int, int] | None  # of the images
    rules: str

    @classmethod
    def read(cls, sequence: Path, results_path: Path, rules: str, strict: bool) -> _Pair:
        if rules != "auto" and rules not in RULES:
            raise DataError(f"rules '{rules}': expected auto, {', '.join(RULES)}")
        truth, length, size, applied = _read_truth(sequence, rules, strict=strict)
        results = read_mot(results_path, allow_empty=True, strict=strict)
        _check(results_path, results, length)
        return cls(results_path, truth, results, length, size, applied)

    def prepare(self, trackeval: Any) -> Any:
        """Have TrackEval read and preprocess them."""
        with scratch_folder("score") as temporary:
            root = Path(temporary)
            # TrackEval cuts marks to whole numbers: 0.6 would be none.
            marks = (self.truth.scores != 0).astype(np.float64)
            truth = replace(self.truth, scores=marks)
            _write(root / "truth" / "sequence" / "gt" / "gt.txt", truth)
            results = replace(self.results, classes=None)
            _write(root / "trackers" / "results" / "sequence.txt", results)
            try:
                dataset = trackeval.datasets.MotChallenge2DBox(
                    {
                        "BENCHMARK": self.rules,
                        "GT_FOLDER": str(root / "truth"),
                        "TRACKERS_FOLDER": str(root / "trackers"),
                        "TRACKERS_TO_EVAL": ["results"],
                        "TRACKER_SUB_FOLDER": "",
                        "SKIP_SPLIT_FOL": True,
                        "SEQ_INFO": {"sequence": self.length},
                        "PRINT_CONFIG": False,
                    }
                )
                raw = dataset.get_raw_seq_data("results", "sequence")
                return dataset.get_preprocessed_seq_data(raw, "pedestrian")
            except trackeval.utils.TrackEvalException as err:
                raise DataError(f"{self.path}: TrackEval cannot read it: {err}") from err


def check_truth(sequences: Mapping[str, Path], rules: str = "auto") -> None:
    """Check the ground truth of sequences, without results.

    Args:
        sequences: their folders by name.
        rules: as in ``score``.

    Raises:
        DataError: a file or a row is missing or wrong, or no row of any of them counts.
    """
    accounts = {}
    for name, folder in sequences.items():
        rows, _, _, applied = _read_truth(folder, rules, strict=False)
        accounts[name] = truth_account(rows, applied)
    _refuse_nobody(accounts)


def _refuse_nobody(truth: Mapping[str, Account]) -> None:
    if not any(account.taken for account in truth.values()):
        reasons = "; ".join(f"{name}: {account.warning()}" for name, account in truth.items())
        raise DataError(f"nothing to measure: {reasons}. {CLASS_HINT[0].upper()}{CLASS_HINT[1:]}")


def _read_truth(
    sequence: Path, rules: str, *, strict: bool
) -> tuple[MotRows, int, tuple[int, int] | None, str]:
    """Ground truth of a sequence, checked; its frames; their size; the rules that apply."""
    path, stated = sequence / "gt" / "gt.txt", sequence / "seqinfo.ini"
    truth = read_mot(path, strict=strict)
    info = read_seqinfo(stated) if stated.is_file() else None
    length = info.length if info else int(truth.frames.max())
    _check(path, truth, length)
    applied = _rules(truth, sequence.resolve().name) if rules == "auto" else rules
    if applied != "MOT15":
        _check_classes(path, truth)
    return truth, length, info.size if info else None, applied


def _truth_account(pair: _Pair) -> Account:
    account = truth_account(pair.truth, pair.rules)
    if (doubt := suspect_corners(pair.truth.boxes, pair.size)) is not None:
        account.doubt(f"ground truth: {doubt}")
    if (fault := ends_early(pair.truth.frames, pair.length)) is not None:
        account.note(fault)
    return account


def _results_account(pair: _Pair, matched: int) -> Account:
    account = Account("result box", "result boxes")
    account.take(len(pair.results))
    account.left_out.update(pair.results.account.left_out)
    if not len(pair.results):
        account.note(f"{pair.path}: there is no box in it")
    if (doubt := suspect_corners(pair.results.boxes, pair.size)) is not None:
        account.doubt(f"{pair.path}: {doubt}")
    people = pair.truth.frames[counted_rows(pair.truth, pair.rules)]
    if len(pair.results) and _FEW * matched < min(len(pair.results), len(people)):
        overlap = f"only {matched}" if matched else "none"
        account.doubt(
            f"{pair.path}: {overlap} of {len(pair.results)} boxes overlap{'s' * (matched < 2)} a "
            "person of the ground truth by half; are they in pixels of the same images, and of the "
            "same sequence?"
        )
    if (fault := compare_ends(pair.results.frames, people, pair.length)) is not None:
        account.note(f"{pair.path}: {fault}")
    return account


def _check(path: Path, rows: MotRows, length: int) -> None:
    late = rows.frames > length
    _refuse(path, rows, late, f"the sequence ends with frame {length}")
    _, first = np.unique(np.stack([rows.frames, rows.ids]), axis=1, return_index=True)
    repeated = np.ones(len(rows), dtype=bool)
    repeated[first] = False
    _refuse(path, rows, repeated, "the same frame already has this id")


def _check_classes(path: Path, rows: MotRows) -> None:
    if rows.classes is None:
        raise DataError(f"{path}: expected 8 or 9 columns, the eighth a class; {CLASS_HINT}")
    wrong = ~np.isin(rows.classes, list(CLASSES))
    last = max(CLASSES)
    _refuse(path, rows, wrong, f"the class (column 8) is not one of 1 to {last}; {CLASS_HINT}")


def _refuse(path: Path, rows: MotRows, wrong: npt.NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        where = f"frame {rows.frames[row]}, id {rows.ids[row]}"
        raise DataError(f"{path}:{rows.lines[row]}: {where}: {why}")


def _rules(truth: MotRows, name: str) -> str:
    if truth.classes is None or (truth.classes == -1).all():
        return "MOT15"
    return "MOT20" if name.upper().startswith("MOT20") else "MOT17"


def _write(path: Path, rows: MotRows) -> None:
    """Write rows for TrackEval: exact decimals, ids numbered from 1, no class as -1.

    TrackEval makes arrays as long as the largest id, so a large id would not fit in memory.
    """
    path.parent.mkdir(parents=True)
    ids = np.unique(rows.ids, return_inverse=True)[1].reshape(-1) + 1
    classes = np.full(len(rows), -1) if rows.classes is None else rows.classes
    columns = (rows.frames, ids, rows.boxes, rows.scores, classes)
    with path.open("w", encoding="ascii") as file:
        for frame, identity, box, mark, kind in zip(*(c.tolist() for c in columns), strict=True):
            left, top, width, height = box
            file.write(f"{frame},{identity},{left},{top},{width},{height},{mark},{kind}\n")
