"""``jdetrt track``: the command, its streams, lists of detections, and what it tells at the end."""

from __future__ import annotations

from jdetrt.cli.track.command import command

__all__ = ["command"]
