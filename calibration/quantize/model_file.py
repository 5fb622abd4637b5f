"""The ONNX model that is calibrated, from its file."""

from __future__ import annotations

from pathlib import Path

import onnx

from jdetrt.errors import CalibrationError

__all__ = ["read_model"]


def read_model(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX model, weights kept beside it included.

    Raises:
        CalibrationError: it cannot be read, or is no ONNX model.
    """
    try:
        return onnx.load(path)
    except OSError as err:
        raise CalibrationError(f"{path}: cannot be read ({err.strerror or err})") from err
    except Exception as err:  # protobuf's DecodeError: protobuf is onnx's dependency, not ours
        raise CalibrationError(
            f"{path}: is cut short or not an ONNX model; copy or export it again"
        ) from err
