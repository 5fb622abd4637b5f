"""INT8 models for a sweep: frames chosen, ranges measured, layers that it hurts left in float.

As ``jdetrt calibrate`` makes them with its default targets. Whoever has decided otherwise names
their INT8 model in the sweep beside the float one, and it is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jdetrt.errors import MissingDependencyError
from jdetrt.files import write_bytes

__all__ = ["CALIBRATION_FRAMES", "write_int8"]

CALIBRATION_FRAMES = 200


def write_int8(
    model: str | Path,
    tensorrt: Path,
    onnxruntime: Path,
    sources: Sequence[str],
    *,
    size: tuple[int, int],
    frames: int = CALIBRATION_FRAMES,
) -> None:
    """Quantise a model, and leave in float the fewest layers that keep what it sees.

    Args:
        model: an ONNX model of ``jdetrt export`` in float32.
        tensorrt: the quantised model in TensorRT's form.
        onnxruntime: the same in the form of ONNX Runtime's integer kernels on CPUs.
        sources: footage to calibrate on.
        size: network width and height.
        frames: to calibrate on.

    Raises:
        CalibrationError: there is nothing to quantise or to calibrate on.
        MissingDependencyError: onnx is not installed.
        OutputError: a file cannot be written.
    """
    try:
        from jdetrt.calibration.calibrate import calibrate
        from jdetrt.calibration.config import CalibrationConfig
        from jdetrt.calibration.frames.choose import choose_frames
    except ModuleNotFoundError as err:
        raise MissingDependencyError("onnx", "export", "Quantising a model") from err
    chosen = choose_frames(sources, frames, network_size=size)
    result = calibrate(CalibrationConfig(model=Path(model)), chosen)
    write_bytes(tensorrt, result.model.SerializeToString())
    write_bytes(onnxruntime, result.cpu_model.SerializeToString())
