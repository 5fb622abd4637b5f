"""INT8 models for a sweep: frames chosen, ranges measured, quantised, with nothing to decide.

Which layers stay in float is a decision of its own: whoever has made it names their INT8 model in
the sweep beside the float one, and it is taken as it is.
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
    output: str | Path,
    sources: Sequence[str],
    *,
    size: tuple[int, int],
    for_cpu: bool,
    frames: int = CALIBRATION_FRAMES,
) -> None:
    """Quantise every layer of a model that can be, by the entropy of its activations.

    Args:
        model: an ONNX model of ``jdetrt export`` in float32.
        output: the quantised model.
        sources: footage to calibrate on.
        size: network width and height.
        for_cpu: in the form of ONNX Runtime's integer kernels; else in TensorRT's.
        frames: to calibrate on.

    Raises:
        CalibrationError: there is nothing to quantise or to calibrate on.
        MissingDependencyError: onnx is not installed.
        SinkError: a file cannot be written.
    """
    try:
        import onnx

        from jdetrt.calibration.frames import choose_frames
        from jdetrt.calibration.qdq import quantise, tensors_to_quantise
        from jdetrt.calibration.ranges import measure_ranges
    except ModuleNotFoundError as err:
        raise MissingDependencyError("onnx", "export", "Quantising a model") from err
    output = Path(output)
    float_model = onnx.load(str(model))
    chosen = choose_frames(sources, frames, network_size=size)
    state = output.with_suffix(".calibration")
    state.parent.mkdir(parents=True, exist_ok=True)
    ranges = measure_ranges(model, chosen, tensors_to_quantise(float_model), state=state)
    made = quantise(float_model, ranges, layout="onnxruntime" if for_cpu else "tensorrt")
    write_bytes(output, made.SerializeToString())
    state.unlink(missing_ok=True)
