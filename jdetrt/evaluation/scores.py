"""Scores of tracking, of one sequence and of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jdetrt.account import Account

__all__ = ["CLASS_HINT", "Score", "Scores"]

CLASS_HINT = "with the rules MOT15 all rows with a mark (column 7) count, whatever their class"


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one sequence, or of all together.

    Attributes:
        hota: percent, mean over the localisation thresholds 0.05, 0.10, ... 0.95.
        mota: percent, at an IoU of 0.5; negative when there are more errors than people.
        idf1: percent, at an IoU of 0.5.
        idsw: ID switches.
        fp: false positives (boxes).
        fn: false negatives (boxes).
        mt: people who are mostly tracked: in more than 80 % of their frames.
        ml: people who are mostly lost: tracked in less than 20 % of their frames.
    """

    hota: float
    mota: float
    idf1: float
    idsw: int
    fp: int
    fn: int
    mt: int
    ml: int

    def to_dict(self) -> dict[str, float | int]:
        """Numbers under their usual names, for JSON."""
        return {
            "HOTA": self.hota,
            "MOTA": self.mota,
            "IDF1": self.idf1,
            "IDSW": self.idsw,
            "FP": self.fp,
            "FN": self.fn,
            "MT": self.mt,
            "ML": self.ml,
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """Result of ``score``.

    Attributes:
        combined: over the boxes of all sequences (TrackEval's COMBINED), not a mean of rows.
        sequences: by sequence, in the order of their names.
        rules: by sequence, the rules it was scored with.
        unscored: results files for which there is no ground truth.
        truth: by sequence, the boxes of the ground truth that counted, and those that did not.
        results: by sequence, the boxes of the results.
        frames: by sequence, the frames that were tracked; empty where tracks were read.
    """

    combined: Score
    sequences: dict[str, Score]
    rules: dict[str, str]
    unscored: tuple[str, ...] = ()
    truth: dict[str, Account] = field(default_factory=dict)
    results: dict[str, Account] = field(default_factory=dict)
    frames: dict[str, Account] = field(default_factory=dict)

    def accounts(self) -> dict[str, dict[str, Account]]:
        """Everything that was read, by sequence."""
        return {
            name: {
                "truth": truth,
                "results": self.results[name],
                **({"frames": self.frames[name]} if name in self.frames else {}),
            }
            for name, truth in self.truth.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """``{"combined": {...}, "sequences": {name: {...}}, "read": {name: {...}}}``."""
        return {
            "combined": self.combined.to_dict(),
            "sequences": {name: one.to_dict() for name, one in self.sequences.items()},
            "read": {
                name: {kind: one.to_dict() for kind, one in accounts.items()}
                for name, accounts in self.accounts().items()
            },
        }

    def warnings(self) -> list[str]:
        """Sentences on what makes the scores doubtful: few boxes counted, or none matched."""
        sentences = []
        for name, truth in self.truth.items():
            results = self.results[name]
            if warning := truth.warning():
                sentences.append(f"{name}: {warning}; {CLASS_HINT}")
            if results.lost and (warning := results.warning()):
                sentences.append(f"{name}: {warning}")
            told = (*truth.notes, *truth.doubts, *results.notes, *results.doubts)
            sentences += [f"{name}: {text}" for text in told]
            sentences += self.frames[name].doubts if name in self.frames else ()
        return sentences
