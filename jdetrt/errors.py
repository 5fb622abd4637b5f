"""Errors of jdetrt, in one tree.

::

    JdetrtError
    |- ConfigError              which file, which key
    |- MissingDependencyError   what to install
    |- SourceError              the URI and what was tried
    |- OutputError              the output that could not be written
    |- DataError                file, line, what was expected
    |- CheckpointError
    |- TrainingError            the loss is no longer a number
    |- ExportError
    |  `- ParityError           torch and ONNX Runtime disagree
    |- CalibrationError
    `- EngineError
       |- BuildError            every parser error, node by node
       |- PlanMismatchError     made with X, here is Y, rebuild with ...
       `- SessionError          a model that cannot be loaded, fed or run

The message says what failed, with the value, and what to do next. The command line prints it and
exits with 1; a traceback of one of these is a defect only with ``-v`` absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class JdetrtError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(JdetrtError):
    """A setting is unknown, of the wrong type or out of range."""


class MissingDependencyError(JdetrtError):
    """An optional package is needed for this and is not installed."""

    def __init__(self, package: str, extra: str, purpose: str, note: str = "") -> None:
        super().__init__(
            f"{purpose} needs the Python package '{package}', which is not installed.\n"
            f"Install it with: pip install '{_requirement()}[{extra}]'{note and chr(10) + note}"
        )


@contextmanager
def requiring(extra: str, purpose: str) -> Iterator[None]:
    """Turn the import of a package that is not installed into MissingDependencyError.

    A missing module of jdetrt itself is a defect and stays what it is.
    """
    try:
        yield
    except ModuleNotFoundError as err:
        package = (err.name or "?").partition(".")[0]
        if package == "jdetrt":
            raise
        # A board that only runs plans lacks it; no other extra has to be drawn for it.
        extra = package if package == "onnxruntime" else extra
        raise MissingDependencyError(package, extra, purpose) from err


def _requirement() -> str:
    """This package as pip finds it without an index: the installed one, or else this checkout."""
    from importlib import metadata  # not at the top: `import jdetrt` is light
    from pathlib import Path

    try:
        return metadata.distribution("jdetrt").metadata["Name"]
    except metadata.PackageNotFoundError:
        return str(Path(__file__).absolute().parents[1])


class SourceError(JdetrtError):
    """A video, folder, camera or stream cannot be opened or read."""


class OutputError(JdetrtError):
    """An output file cannot be written."""


class DataError(JdetrtError):
    """A file or an array holds something other than what was expected."""


class CheckpointError(JdetrtError):
    """A weight file is truncated, of another architecture, or not a weight file."""


class TrainingError(JdetrtError):
    """Training cannot go on."""


class ExportError(JdetrtError):
    """The network cannot be exported as asked."""


class ParityError(ExportError):
    """The exported model gives other numbers than the torch model."""


class CalibrationError(JdetrtError):
    """INT8 calibration cannot go on."""


class EngineError(JdetrtError):
    """Base of errors between a model file and its outputs."""


class BuildError(EngineError):
    """TensorRT refuses to build the model."""


class PlanMismatchError(EngineError):
    """A plan was made for another TensorRT version, GPU or model."""


class SessionError(EngineError):
    """A model cannot be loaded, is fed the wrong thing, or fails to run."""
