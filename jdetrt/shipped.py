"""The model that comes with the package, by name: ``nano``, and ``nano:864x480`` for a size.

A name is text; a path given as ``pathlib.Path`` is never taken for one, nor is ``./nano``.
"""

from __future__ import annotations

from pathlib import Path

from jdetrt.errors import ConfigError

__all__ = ["FOLDER", "NANO", "name_for", "name_of", "resolve", "resolve_checkpoint", "sizes"]

NANO = "nano"
FOLDER = Path(__file__).parent / "models"

_DEFAULT_SIZE = "576x320"
_NARROW = "640x480"
_WIDE = 1.5  # aspect ratio from which on the default size is filled better than the narrow one


def sizes() -> dict[str, Path]:
    """The ONNX models that are there: their files by network size, ``"576x320"``."""
    prefix = f"{NANO}-"
    return {path.stem.removeprefix(prefix): path for path in sorted(FOLDER.glob(f"{prefix}*.onnx"))}


def resolve(model: str | Path) -> Path:
    """The file of an ONNX model.

    Args:
        model: ``"nano"`` (576x320), ``"nano:WIDTHxHEIGHT"``, or a path, which is given back.

    Raises:
        ConfigError: the model does not ship in this size, or not with this installation.
    """
    if not isinstance(model, str) or model.partition(":")[0] != NANO:
        return Path(model)
    size = (model.partition(":")[2] or _DEFAULT_SIZE).lower()
    there = sizes()
    if not there:
        raise _absent(model, f"{NANO}-*.onnx")
    if size not in there:
        raise ConfigError(
            f"{model}: is not built in at the size {size}; built-in sizes: "
            f"{', '.join(there)}. Make another with: jdetrt export {NANO} -o {NANO}.onnx "
            f"--size WIDTHxHEIGHT"
        )
    return there[size]


def name_for(frame: tuple[int, int] | None) -> str:
    """Name of the built-in model whose shape suits a frame: narrow ones leave half of it empty.

    Args:
        frame: width and height in pixels; None where they are not known.

    >>> name_for((1920, 1080)), name_for((640, 480)), name_for(None)
    ('nano', 'nano:640x480', 'nano')
    """
    if frame is None or frame[0] >= _WIDE * frame[1] or _NARROW not in sizes():
        return NANO
    return f"{NANO}:{_NARROW}"


def name_of(path: Path) -> str:
    """Name of a file for people: ``"nano:576x320"`` for a built-in model, else the file name."""
    names = {file: f"{NANO}:{size}" for size, file in sizes().items()}
    return names.get(path.absolute(), path.name)


def resolve_checkpoint(model: str | Path) -> Path:
    """The file of a checkpoint, where ``nano`` alone is that; the rest is as `resolve` has it.

    Raises:
        ConfigError: the model does not ship with this installation.
    """
    if model != NANO:
        return resolve(model)
    path = FOLDER / f"{NANO}.safetensors"
    if not path.is_file():
        raise _absent(NANO, path.name)
    return path


def _absent(model: str, what: str) -> ConfigError:
    return ConfigError(
        f"{model}: does not come with this installation (no {FOLDER / what}); name a file "
        f"instead. "
        f"A file that has this very name is ./{model}"
    )
