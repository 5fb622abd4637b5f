"""INT8 by NVIDIA ModelOpt, as an alternative to `jdetrt.calibration.quantize.qdq`.

ModelOpt pins other versions of onnx and ONNX Runtime than jdetrt: give it an environment of its own
(the extra ``autocast``). It keeps all frames in memory at a time. Its scales are FP32 and decoding
is kept from it: with FP16 scales a Jetson Orin fails to build (NVIDIA/TensorRT issue 4832).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jdetrt import files
from jdetrt.calibration.quantize.layers import Layers, match_layers, read_model
from jdetrt.calibration.ranges.measure import Frames
from jdetrt.errors import CalibrationError, MissingDependencyError

__all__ = ["quantise_with_modelopt"]

ModelOptMethod = Literal["entropy", "max"]


def quantise_with_modelopt(
    model_path: str | Path,
    output: str | Path,
    frames: Frames,
    *,
    method: ModelOptMethod = "entropy",
    leave_out: Sequence[str] = (),
) -> None:
    """Quantise a model with ModelOpt on the CPU; the file appears only if TensorRT will take it.

    Args:
        model_path: an ONNX model of ``jdetrt export`` in float32.
        output: the model to write, with the metadata of ``quantise``; ``int8_layout`` is
            ``modelopt``.
        frames: to calibrate on, all in memory at a time.
        method: ``"entropy"``, or ``"max"`` for min-max.
        leave_out: layers that stay in float, by name or pattern.

    Raises:
        CalibrationError: the model cannot be quantised, ModelOpt fails, or its model breaks the
            rules of TensorRT (`jdetrt.calibration.quantize.qdq`).
        MissingDependencyError: ModelOpt is not installed.
        OutputError: the output cannot be written.
    """
    source = read_model(model_path)
    left_out = match_layers(source, leave_out)
    layers = Layers(source).nodes.keys()
    decoding = [
        node.name
        for node in source.graph.node
        if node.op_type in ("Add", "Mul") and node.name not in layers
    ]
    quantise = _modelopt()
    images = np.concatenate(list(frames.batches()))
    with files.scratch_folder("modelopt") as folder:
        temporary = Path(folder, "int8.onnx")
        try:
            quantise(
                onnx_path=str(model_path),
                output_path=str(temporary),
                quantize_mode="int8",
                calibration_data={source.graph.input[0].name: images},
                calibration_method=method,
                calibration_eps=["cpu"],
                op_types_to_quantize=["Conv", "Add"],
                nodes_to_exclude=[re.escape(name) + "$" for name in (*left_out, *decoding)],
                high_precision_dtype="fp32",
            )
        except Exception as err:  # its errors are of many kinds
            raise CalibrationError(f"{model_path}: ModelOpt failed: {err}") from err
        quantised = read_model(temporary)
    _check(quantised)
    notes = {entry.key: entry.value for entry in source.metadata_props}
    helper.set_model_props(
        quantised,
        {
            **notes,
            "precision": "int8",
            "int8_layout": "modelopt",
            "int8_float_layers": "\n".join(left_out),
            "calibration": f"{method} of ModelOpt, {len(frames)} frames, sha256 {frames.sha256}",
        },
    )
    files.write_bytes(output, quantised.SerializeToString())


def _modelopt() -> Callable[..., Any]:
    try:
        from modelopt.onnx.quantization import quantize
    except ImportError as err:  # its own, where a package that it needs is missing
        raise MissingDependencyError(
            "nvidia-modelopt[onnx]", "autocast", "Quantising with ModelOpt"
        ) from err
    function: Callable[..., Any] = quantize
    return function


def _check(model: onnx.ModelProto) -> None:
    """Refuse what TensorRT would refuse only on the machine where the model is to run."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            values[node.output[0]] = node.attribute[0].t
    quantising = [n for n in model.graph.node if n.op_type.endswith("uantizeLinear")]
    if not quantising:
        raise CalibrationError("ModelOpt quantised nothing; leave out fewer layers")
    for node in quantising:
        scale = values.get(node.input[1])
        zero_point = values.get(node.input[2]) if len(node.input) > 2 else None
        if scale is None or scale.data_type != TensorProto.FLOAT:
            raise CalibrationError(f"{node.name}: ModelOpt gave it a scale that is not float32")
        if zero_point is not None and (
            zero_point.data_type != TensorProto.INT8 or numpy_helper.to_array(zero_point).any()
        ):
            raise CalibrationError(f"{node.name}: ModelOpt gave it a zero point other than int8 0")
