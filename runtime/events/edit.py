"""Regions drawn by hand, saved to a TOML file that keeps its comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from jdetrt.documents import convert, decode_json, read_toml
from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.files import write_text
from jdetrt.inputs import read_text
from jdetrt.runtime.events.regions import Regions

__all__ = ["drawn_regions", "save_regions"]

_TABLES = ("line", "zone", "include", "ignore")
_DIGITS = 4  # of a fraction: a tenth of a pixel of a large frame


def drawn_regions(former: Regions, drawing: bytes) -> Regions:
    """Regions with the lines, zones and masks of a drawing, and the other settings as they were.

    Args:
        former: the settings; points of the drawing are fractions of the frame, whatever they were.
        drawing: JSON with the keys ``line``, ``zone``, ``include``, ``ignore`` of `Regions`.

    Raises:
        DataError: it is no such JSON; the message names the key.
    """
    try:
        tables = decode_json(drawing, dict[str, Any])
        unknown = sorted(set(tables) - set(_TABLES))
        if unknown:
            raise DataError(f"regions: unknown key {unknown[0]!r}; expected {', '.join(_TABLES)}")
        others = {name: getattr(former, name) for name in ("anchor", "min_age", "margin")}
        return convert({**others, "lost_after": former.lost_after, **tables}, Regions)
    except ValueError as err:
        raise DataError(f"regions: {err}") from err


def save_regions(regions: Regions, path: Path) -> None:
    """Write regions to a TOML file; comments and other settings in it stay.

    Raises:
        OutputError: the file cannot be written.
        DataError: what stands there is not TOML.
        MissingDependencyError: tomlkit is not installed.
    """
    try:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    except ModuleNotFoundError as err:
        raise MissingDependencyError("tomlkit", "live", "Saving regions") from err
    try:
        if path.exists():
            read_toml(path, dict[str, Any], DataError)  # bounded in depth
        text = read_text(path, DataError) if path.exists() else ""
        document = tomlkit.parse(text)
    except (DataError, TOMLKitError) as err:
        raise DataError(f"{path}: cannot be read ({err}); nothing is saved") from err
    for name in ("size", *_TABLES):
        document.pop(name, None)
    for name in _TABLES:
        tables = tomlkit.aot()
        for region in msgspec.to_builtins(getattr(regions, name)):
            table = tomlkit.table()
            for key, value in region.items():
                if value is not None:
                    table.add(key, _rounded(value) if key == "points" else value)
            tables.append(table)
        if len(tables):
            document.append(name, tables)
    write_text(path, tomlkit.dumps(document))


def _rounded(points: Any) -> list[list[float]]:
    return [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in points]
