"""The settings of a tracker: from a file, changed by options, written down again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jdetrt.errors import ConfigError

if TYPE_CHECKING:
    from jdetrt.config import AnyTrackerConfig, TrackerConfig

__all__ = ["read_tracker_settings", "toml_text", "tracker_settings"]


def tracker_settings(
    file: Path | None,
    preset: str | None,
    default: Callable[[], TrackerConfig],
    changes: dict[str, float | None],
) -> TrackerConfig:
    """The settings to track with.

    Args:
        file: TOML; its key ``preset`` says which of the three it is.
        preset: asked for by name, or None.
        default: gives the settings where there is no file: those of the preset, if one was asked
            for, or of a site.
        changes: values by key, which override the file; None for those not given.

    Raises:
        ConfigError: the file cannot be used, or is of another preset than was asked for.
    """
    import msgspec

    from jdetrt.config import preset_of

    config = default() if file is None else read_tracker_settings(file)
    if preset not in (None, preset_of(config)):
        raise ConfigError(
            f"{file or 'the site'}: has settings of the preset '{preset_of(config)}', but "
            f"--preset is '{preset}'; leave one of them out"
        )
    given = {key: value for key, value in changes.items() if value is not None}
    return msgspec.structs.replace(config, **given)


def read_tracker_settings(file: Path) -> AnyTrackerConfig:
    """The settings of a TOML file. Raises ConfigError where it cannot be used."""
    from jdetrt.config import AnyTrackerConfig, load

    config: AnyTrackerConfig = load(file, cast(Any, AnyTrackerConfig))
    return config


def toml_text(config: TrackerConfig) -> str:
    """The settings as TOML, which ``jdetrt.config.load`` reads."""
    import msgspec

    values = msgspec.to_builtins(config)
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: str | float | tuple[float, ...] | list[float]) -> str:
    """A value; TOML has the numbers of Python (inf, 1e-07) and the strings of JSON."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)
