"""Counter of the lines and zones in a file."""

from __future__ import annotations

from pathlib import Path

from jdetrt.errors import ConfigError
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.regions import Regions

__all__ = ["open_counter"]


def open_counter(
    path: str | Path,
    frame_rate: float,
    *,
    size: tuple[int, int] | None = None,
    to_draw: bool = False,
) -> EventCounter:
    """Open the counter of the lines and zones in a file.

    Args:
        path: TOML file of regions (`jdetrt.runtime.events.regions.Regions`).
        frame_rate: of the source in Hz, for frames without a timestamp.
        size: width and height of the frames in pixels, where they have no image.
        to_draw: whether regions may be drawn on the live page: then the file may be empty, or
            missing until they are saved.

    Raises:
        ConfigError: the file is missing, wrong or has no line, zone or mask.
    """
    path = Path(path)
    regions = Regions() if to_draw and not path.exists() else Regions.read(path)
    if regions.empty and not to_draw:
        raise ConfigError(f"{path}: has no line, zone or mask; add [[line]] or [[zone]]")
    return EventCounter(regions, frame_rate=frame_rate, size=size)
