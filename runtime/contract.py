"""What a JDE model takes, gives and says of itself, whatever loads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from jdetrt.config import AnyTrackerConfig, default_config
from jdetrt.errors import SessionError
from jdetrt.types import Array, Session, TensorSpec

__all__ = [
    "check_feeds",
    "check_model",
    "has_embeddings",
    "network_size",
    "tracker_config",
    "tracker_note",
]

_TRACKER = "tracker"  # key of a model's metadata: settings of the tracker, as JSON

_EXPORT = "make one with: jdetrt export CHECKPOINT -o model.onnx --size 1088x608"


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Check the arrays of one run against the inputs of a model.

    Raises:
        SessionError: a name is missing or unknown, or a dtype or shape is another one.

    >>> import numpy as np
    >>> spec = TensorSpec("images", "float32", (-1, 3, 32, 64))
    >>> check_feeds([spec], {"images": np.zeros((1, 3, 32, 64), np.float32)})
    >>> check_feeds([spec], {"images": np.zeros((1, 3, 32, 64))})
    Traceback (most recent call last):
    jdetrt.errors.SessionError: input 'images': expected float32 (n, 3, 32, 64), \
got float64 (1, 3, 32, 64)
    """
    expected = [spec.name for spec in inputs]
    if set(expected) != set(feeds):
        raise SessionError(f"the model takes {_names(expected)}, got {_names(list(feeds))}")
    for spec in inputs:
        array = feeds[spec.name]
        fits = len(spec.shape) == array.ndim and all(
            want in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise SessionError(
                f"input '{spec.name}': expected {spec.dtype} {_shape(spec.shape)}, "
                f"got {array.dtype} {array.shape}"
            )


def check_model(session: Session) -> None:
    """Check that a session holds a JDE model of this package.

    That is: one float32 input ``[N, 3, H, W]`` that takes one picture at a time, and outputs
    ``boxes [N, k, 4]``, ``scores [N, k]`` and perhaps ``embeddings [N, k, D]``.

    Raises:
        SessionError: it is another model; the message says what it takes and gives.
    """
    takes = ", ".join(f"{s.name} {s.dtype} {_shape(s.shape)}" for s in session.inputs)
    gives = {spec.name: spec for spec in session.outputs}
    for name, rank in (("boxes", 3), ("scores", 2)):
        if name not in gives or len(gives[name].shape) != rank:
            raise SessionError(
                f"not a JDE model with decoding in its graph: it has no output '{name}' of "
                f"{rank} dimensions (inputs: {takes}; outputs: {_names(list(gives))}); {_EXPORT}"
            )
    if len(session.inputs) != 1 or len(session.inputs[0].shape) != 4:
        raise SessionError(f"expected one input [N, 3, H, W], the model takes {takes}; {_EXPORT}")
    spec = session.inputs[0]
    batch, channels = spec.shape[:2]
    if spec.dtype != "float32" or channels not in (3, -1):
        raise SessionError(f"expected a float32 input [N, 3, H, W], the model takes {takes}")
    if batch not in (1, -1):
        raise SessionError(
            f"the model takes exactly {batch} pictures at a time, tracking feeds one; "
            "export it with a dynamic batch or a batch of 1"
        )


def network_size(session: Session) -> tuple[int, int]:
    """Width and height of the pictures that a model takes, in pixels.

    Raises:
        SessionError: the model leaves its size free.
    """
    height, width = session.inputs[0].shape[2:]
    if height < 1 or width < 1:
        raise SessionError("the model leaves its input size free; say which network size to use")
    return width, height


def has_embeddings(session: Session) -> bool:
    """Whether the model gives appearance vectors beside its boxes."""
    return any(spec.name == "embeddings" for spec in session.outputs)


def tracker_config(session: Session, preset: str | None = None) -> AnyTrackerConfig:
    """How to track what a model sees, where nobody gives all settings.

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
        return default_config("reference" if has_embeddings(session) else "iou")
    try:
        config: AnyTrackerConfig = msgspec.json.decode(note, type=AnyTrackerConfig)
    except msgspec.MsgspecError as err:
        raise SessionError(
            f"the settings of the tracker in the model's metadata cannot be used ({err}); "
            "give others with --config or --preset where there is such an option, or export the "
            "model again"
        ) from err
    return config


def tracker_note(config: AnyTrackerConfig | None) -> dict[str, str]:
    """The entry of a model's metadata that `tracker_config` reads; nothing for None."""
    return {} if config is None else {_TRACKER: msgspec.json.encode(config).decode()}


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join("n" if d == -1 else str(d) for d in shape) + ")"
