"""Settings that travel with a model, in its metadata."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from jdetrt.config import (
    ANY_ASPECT,
    DEFAULT_PRESET,
    AnyTrackerConfig,
    LabelConfig,
    default_config,
    preset_of,
)
from jdetrt.documents import decode_json
from jdetrt.errors import SessionError
from jdetrt.types import Session, Size

__all__ = [
    "assumptions",
    "label_in",
    "label_note",
    "label_of",
    "settings_in",
    "tracker_config",
    "tracker_note",
]

# Keys of a model's metadata, for JSON.
_TRACKER = "tracker"
_LABEL = "label"


def tracker_config(session: Session, preset: str | None = None) -> AnyTrackerConfig:
    """Settings of the tracker for a model, where the user gives none.

    Args:
        session: of the model.
        preset: asked for by name; its own settings are taken then.

    Returns:
        Those that travel with the model (`tracker_note`), where it has any; or
        else the preset ``"fused"``. The settings of a preset leave out boxes that are too wide for
        people; for a model of another class they leave out none.

    Raises:
        ConfigError: there is no such preset.
        SessionError: the settings in the model cannot be read.
    """
    return settings_in(session.metadata, preset)


def settings_in(metadata: Mapping[str, str], preset: str | None = None) -> AnyTrackerConfig:
    """Settings of the tracker in the metadata of a model file; otherwise as `tracker_config`."""
    note = metadata.get(_TRACKER)
    if preset is not None or note is None:
        chosen = default_config(preset or DEFAULT_PRESET)
        if label_in(metadata) is not None:
            chosen = msgspec.structs.replace(chosen, max_aspect=ANY_ASPECT)
        return chosen
    try:
        config: AnyTrackerConfig = decode_json(note, AnyTrackerConfig)  # type: ignore[arg-type]
    except ValueError as err:
        raise SessionError(
            f"the tracker settings in the model's metadata are invalid ({err}); use "
            f"--config or --preset if the command has them, or export the model again"
        ) from err
    return config


def label_of(session: Session) -> LabelConfig | None:
    """Class that a model detects; None for people. Raises SessionError where it cannot be read."""
    return label_in(session.metadata)


def label_in(metadata: Mapping[str, str]) -> LabelConfig | None:
    """Class in the metadata of a model file; as `label_of`."""
    note = metadata.get(_LABEL)
    try:
        return None if note is None else decode_json(note, LabelConfig)
    except ValueError as err:
        raise SessionError(
            f"the label in the model's metadata is invalid ({err}); export the model again"
        ) from err


def label_note(label: LabelConfig | None) -> dict[str, str]:
    """The entry of a model's metadata that `label_of` reads; nothing for None."""
    return {} if label is None else {_LABEL: msgspec.json.encode(label).decode()}


def assumptions(session: Session, *, tracker_given: bool = False) -> list[str]:
    """List what is assumed of a model because it does not say, or says something else than it is.

    Args:
        session: of the model.
        tracker_given: the user names the settings of the tracker or a preset.

    Returns:
        A sentence each; nothing for a model of ``jdetrt export`` as it was written.
    """
    metadata, notes = session.metadata, []
    if not tracker_given and _TRACKER not in metadata:
        config = tracker_config(session)
        lost = "" if metadata else " (it has no metadata at all; a tool may have dropped them)"
        notes.append(
            f"the model records no tracker settings{lost}: those of the preset "
            f"{preset_of(config)} are used, with a score threshold of {config.score_threshold:g}; "
            "--preset or --config names others"
        )
    height, width = session.inputs[0].shape[-2:]
    stated = "x".join(metadata.get(key, "?") for key in ("width", "height"))
    if min(height, width) > 0 and "?" not in stated and stated != str(Size(width, height)):
        notes.append(
            f"the model's metadata state a size of {stated}, its input is {Size(width, height)}; "
            "the input counts"
        )
    return notes


def tracker_note(config: AnyTrackerConfig | None) -> dict[str, str]:
    """The entry of a model's metadata that `tracker_config` reads; nothing for None."""
    return {} if config is None else {_TRACKER: msgspec.json.encode(config).decode()}
