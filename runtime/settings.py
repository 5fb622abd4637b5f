"""Settings that travel with a model, in its metadata."""

from __future__ import annotations

import msgspec

from jdetrt.config import AnyTrackerConfig, default_config
from jdetrt.documents import decode_json
from jdetrt.errors import SessionError
from jdetrt.types import Session

__all__ = ["tracker_config", "tracker_note"]

_TRACKER = "tracker"  # key of a model's metadata: settings of the tracker, as JSON


def tracker_config(session: Session, preset: str | None = None) -> AnyTrackerConfig:
    """Settings of the tracker for a model, where the user gives none.

    Args:
        session: of the model.
        preset: asked for by name; its own settings are taken then.

    Returns:
        Those that travel with the model (`tracker_note`), where it has any; or
        else the preset ``"reference"`` for a model with embeddings, ``"iou"`` for one without.

    Raises:
        ConfigError: there is no such preset.
        SessionError: the settings in the model cannot be read.
    """
    if preset is not None:
        return default_config(preset)
    note = session.metadata.get(_TRACKER)
    if note is None:
        gives = {spec.name for spec in session.outputs}
        return default_config("reference" if "embeddings" in gives else "iou")
    try:
        config: AnyTrackerConfig = decode_json(note, AnyTrackerConfig)  # type: ignore[arg-type]
    except ValueError as err:
        raise SessionError(
            f"the tracker settings in the model's metadata are invalid ({err}); use "
            f"--config or --preset if the command has them, or export the model again"
        ) from err
    return config


def tracker_note(config: AnyTrackerConfig | None) -> dict[str, str]:
    """The entry of a model's metadata that `tracker_config` reads; nothing for None."""
    return {} if config is None else {_TRACKER: msgspec.json.encode(config).decode()}
