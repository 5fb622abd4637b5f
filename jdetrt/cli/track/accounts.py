"""Accounts in a summary: what was left out, what was assumed, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from jdetrt.account import Account, counted
from jdetrt.cli import options as opt
from jdetrt.cli.results import tell_notes
from jdetrt.runtime.timing import RunReport

__all__ = ["tell_accounts"]

_UNSHAPED = "all boxes are too small or too flat; are they in pixels?"


def tell_accounts(
    reports: Mapping[str, RunReport],
    accounts: Mapping[str, Sequence[Account]],
    notes: Sequence[str],
    *,
    quiet: bool = False,
) -> tuple[dict[str, Any], int]:
    """Tell on stderr what the streams of a run left out and what was assumed.

    Frames that are missing are told where they are read, by a warning of the source.

    Args:
        reports: of the streams, by name.
        accounts: of what was read for each of them.
        notes: on what was assumed of the model and of the data.
        quiet: tell only what is worth a warning.

    Returns:
        The same as entries for JSON; and the exit code: 3 where frames of a source are missing,
        nothing was taken of what there was, or it is most likely wrong.
    """
    everything = [account for several in accounts.values() for account in several]
    notes = [*dict.fromkeys([*notes, *(note for one in everything for note in one.notes)])]
    warnings = [text for one in everything if one.lost and (text := one.warning()) is not None] + [
        f"{name}: nobody was tracked in {counted(report.frames, 'frame')} with "
        f"{counted(report.detections, 'detection')}; "
        + (_UNSHAPED if report.unshaped else "is the score threshold too high?")
        for name, report in reports.items()
        if report.frames and not report.tracks
    ]
    warnings += [doubt for one in everything for doubt in one.doubts]
    if not quiet:
        for one in everything:
            if one.noun == "detection":
                click.echo(f"Read: {one.summary()}")
        tell_notes(notes)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    entries = {
        "read": {
            name: {one.many: one.to_dict() for one in several} for name, several in accounts.items()
        },
        "notes": notes,
        "warnings": warnings,
    }
    unread = any(one.is_short for one in everything if one.noun in ("frame", "image"))
    unused = any(one.lost and not one.taken for one in everything) or any(
        report.unshaped and not report.tracks for report in reports.values()
    )
    doubtful = any(one.doubts for one in everything)
    return entries, opt.WORSE if unread or unused or doubtful else 0
