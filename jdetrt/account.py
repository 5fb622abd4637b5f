"""Account of what a reader took and what it left out, with the reasons."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["Account", "counted", "listed"]

_SHARE = 0.01  # that may be missing where a count may be off


def counted(count: int, noun: str, many: str | None = None) -> str:
    """Count something.

    >>> counted(1, "track"), counted(2, "box", "boxes")
    ('1 track', '2 boxes')
    """
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def listed(reasons: dict[str, int]) -> str:
    """Reasons with their counts, the most frequent first.

    >>> listed({"damaged": 2, "empty": 40})
    '40 empty, 2 damaged'
    """
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {reason}" for reason, count in ordered)


class Account:
    """Count of things that are read: taken, and left out with the reason; notes on assumptions.

    Args:
        noun: of the things that are counted, such as ``"frame"``.
        many: its plural, where that is not the noun with an s.
        slack: things that may be missing, beside 1 % of them, before it counts as a fault: a
            container's number of frames may be off by one or two. By default none, nor 1 %.

    Attributes:
        taken: number of things.
        left_out: number of things by reason.
        by_design: number by reason of things that are never taken, such as the cars of a ground
            truth of people; they are told and do not warn.
        notes: sentences on what was assumed, or stated and not believed.
        doubts: sentences on what is most likely wrong with what was read, each worth a warning.

    >>> frames = Account("frame")
    >>> frames.take(961)
    >>> frames.leave_out("damaged", 433)
    >>> frames.summary(), frames.warning()
    ('961 of 1394 frames; left out: 433 damaged', None)
    """

    def __init__(self, noun: str, many: str | None = None, *, slack: int = 0) -> None:
        self.noun = noun
        self.many = many or noun + "s"
        self.taken = 0
        self.left_out: Counter[str] = Counter()
        self.by_design: Counter[str] = Counter()
        self.notes: list[str] = []
        self.doubts: list[str] = []
        self._slack = slack

    def take(self, count: int = 1) -> None:
        """Count things that were taken."""
        self.taken += count

    def leave_out(self, reason: str, count: int = 1, *, by_design: bool = False) -> None:
        """Count things that were left out; 0 of them leave no trace."""
        if count:
            (self.by_design if by_design else self.left_out)[reason] += count

    def note(self, sentence: str) -> None:
        """Note an assumption, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def doubt(self, sentence: str) -> None:
        """Doubt what was read, once."""
        if sentence not in self.doubts:
            self.doubts.append(sentence)

    def add(self, other: Account) -> None:
        """Add the counts and notes of another account of the same things."""
        self.taken += other.taken
        self.left_out += other.left_out
        self.by_design += other.by_design
        for sentence in other.notes:
            self.note(sentence)
        for sentence in other.doubts:
            self.doubt(sentence)

    @property
    def lost(self) -> int:
        """Number of things that were left out, but for those by design."""
        return self.left_out.total()

    @property
    def total(self) -> int:
        """Number of all things but those that are left out by design."""
        return self.taken + self.lost

    @property
    def is_short(self) -> bool:
        """More is missing than may be, `slack` and 1 % of all or nothing; or there are doubts."""
        allowed = max(self._slack, _SHARE * self.total) if self._slack else 0
        return bool(self.doubts) or self.lost > allowed

    def summary(self) -> str:
        """One line: taken, total, and what was left out and why."""
        if not self.lost and not self.by_design:
            return counted(self.taken, self.noun, self.many)
        total = self.total + self.by_design.total()
        reasons = listed(self.left_out + self.by_design)
        return f"{self.taken} of {counted(total, self.noun, self.many)}; left out: {reasons}"

    def warning(self) -> str | None:
        """A sentence where nothing was taken, or less than half; None otherwise."""
        if self.taken and 2 * self.taken >= self.total:
            return None
        reasons = listed(self.left_out + self.by_design)
        why = f" ({reasons})" if reasons else ""
        if not self.taken:
            total = self.total + self.by_design.total()
            return f"nothing was taken of {counted(total, self.noun, self.many)}{why}"
        return f"only {self.taken} of {counted(self.total, self.noun, self.many)} were taken{why}"

    def to_dict(self) -> dict[str, Any]:
        """Counts by name, for JSON."""
        return {
            "taken": self.taken,
            "left_out": dict(self.left_out),
            **({"by_design": dict(self.by_design)} if self.by_design else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"doubts": list(self.doubts)} if self.doubts else {}),
        }
