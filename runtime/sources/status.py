"""State of a live source: how often it was away, for how long, and what changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Outage", "Say", "SourceStatus", "silent"]

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0  # seconds between two tries, twice as long each time
_SETTLED = 10.0  # seconds with frames after which the next outage begins with the first wait

Say = Callable[[str], None]  # gets one line for the user; called from any thread


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """State of a live source.

    Attributes:
        connected: whether frames come now.
        captured: frames that came, taken or not.
        outages: times it was away: it ended, failed or stalled.
        stalls: those of them in which it fell silent without an error.
        away_seconds: how long it was away in all, an outage that lasts included.
        size_changes: times its frames changed their size.
        reason: why it is away, or was away last; "" if it never was.
    """

    connected: bool
    captured: int = 0
    outages: int = 0
    stalls: int = 0
    away_seconds: float = 0.0
    size_changes: int = 0
    reason: str = ""


class Outage:
    """Account of the times that a source was away.

    Args:
        since: when it went away (``time.monotonic()``), or None where it is there.

    Attributes:
        tries: in vain, in this outage.
        reason: why it is away, or was last.
        size_changes: times that the frames changed their size.
    """

    def __init__(self, since: float | None) -> None:
        self.since = since
        self.tries = 0
        self.reason = ""
        self.size_changes = 0
        self._count = self._stalls = 0
        self._seconds = 0.0
        self._back_since = time.monotonic()
        self._next_wait = 0.0 if since is not None else _FIRST_WAIT

    def begin(self, reason: str, stalled: bool) -> None:
        """Note that it has gone away, by falling silent or otherwise."""
        now = time.monotonic()
        if now - self._back_since > _SETTLED:
            self._next_wait = _FIRST_WAIT
        self.since, self.reason, self.tries = now, reason, 0
        self._count += 1
        self._stalls += stalled

    def wait(self) -> float:
        """Seconds to wait before the next try."""
        wait = self._next_wait
        self._next_wait = min(max(2 * wait, _FIRST_WAIT), _LONGEST_WAIT)
        return wait

    def failed(self, reason: str) -> bool:
        """Note a try in vain; True if its reason is another one than before."""
        self.tries += 1
        another, self.reason = reason != self.reason, reason
        return another

    def end(self, now: float) -> float | None:
        """Note a frame; return how long the source was away, None where it was not."""
        if self.since is None:
            return None
        away = now - self.since
        self._seconds += away
        self.since, self._back_since = None, now
        return away

    def seconds_now(self) -> float:
        """Seconds that it has been away by now; 0 where it is there."""
        return 0.0 if self.since is None else time.monotonic() - self.since

    def status(self, captured: int) -> SourceStatus:
        """The state now, of a source that gave so many frames."""
        return SourceStatus(
            connected=self.since is None,
            captured=captured,
            outages=self._count,
            stalls=self._stalls,
            away_seconds=self._seconds + self.seconds_now(),
            size_changes=self.size_changes,
            reason=self.reason,
        )
