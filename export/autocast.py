"""An FP16 model made of an ONNX model whose torch network is not at hand, by NVIDIA ModelOpt.

With the network, export it in half (`jdetrt.export.precision`): that is the same on every machine.
AutoCast decides node by node, by the values that it sees on pictures, what stays in float32. Here
it is told to leave decoding alone, it sees images of the caller instead of noise, and what it
gives is compared with the model that it was made from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jdetrt import files, inputs
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.errors import ExportError, MissingDependencyError, ParityError
from jdetrt.evaluation.agreement import Agreement, Comparison
from jdetrt.evaluation.tolerance import LIMITS
from jdetrt.export import onnx_graph
from jdetrt.export.parity import synthetic_pictures
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Array, Session

__all__ = ["Autocast", "autocast"]

_DECODE = "/decode/"
# These move numbers without computing with them.
_MOVES = (
    *("Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "Reshape", "Tile"),
    "Transpose",
)
_LOGGER = "modelopt.onnx.autocast"
_SYNTHETIC_FRAMES = 2

Convert = Callable[..., onnx.ModelProto]


@dataclass(frozen=True, slots=True)
class Autocast:
    """Result of `autocast`.

    Attributes:
        path: the model.
        bytes: its size.
        sha256: of the file.
        convolutions: how many there are.
        in_float16: how many of them compute in float16.
        comparison: with the model that it was made from, all candidates of all frames.
        real_frames: whether that was on frames that the caller gave.
    """

    path: Path
    bytes: int
    sha256: str
    convolutions: int
    in_float16: int
    comparison: Comparison
    real_frames: bool


def autocast(
    model: str | Path, output: str | Path, frames: Sequence[npt.NDArray[np.uint8]] = ()
) -> Autocast:
    """Convert a float32 model of ``jdetrt export``; the file appears only if the two agree.

    Args:
        model: the ``.onnx`` file.
        output: the one to write.
        frames: ``(H, W, 3)`` uint8 BGR images of any size, from where the model is to be used:
            ModelOpt decides on the first, all are compared. Without them two synthetic ones.

    Raises:
        DataError: the model is cut short or none.
        ExportError: it is not in float32, has no decoding that could be left out, is the output
            itself, or ModelOpt fails or touches what it is told to leave.
        ParityError: the two models give other numbers.
        MissingDependencyError: ModelOpt is not installed.
        OutputError: the output cannot be written.
    """
    model, output = Path(model), Path(output)
    source = onnx_graph.read(model)
    notes = {entry.key: entry.value for entry in source.metadata_props}
    if notes.get("precision", "fp32") != "fp32":
        raise ExportError(
            f"{model}: already has the precision {notes['precision']}; name a float32 model"
        )
    if not any(node.name.startswith(_DECODE) for node in source.graph.node):
        raise ExportError(
            f"{model}: has no nodes {_DECODE}..., so it is not from jdetrt export, and its "
            "decoding cannot be kept in float32"
        )
    if output.exists() and output.samefile(model):
        raise ExportError(f"{output}: is the model itself; choose another output file")
    convert = _modelopt()
    with OrtSession(model, provider="cpu") as session:
        size = network_size(session)
        pictures = frames or synthetic_pictures(_SYNTHETIC_FRAMES, size)
        images = np.stack([letterbox(picture, size)[0] for picture in pictures])
        halved = _convert(convert, model, session, images)
        _check_graph(source, halved)
        with files.atomic_path(output) as temporary:
            found = _compare(halved, session, images, temporary)
            note = {**asdict(found), "real_frames": bool(frames)}
            onnx.helper.set_model_props(
                halved,
                {
                    **notes,
                    "precision": "fp16",
                    "weights": "float16",
                    "autocast_of": f"{model.name} {inputs.sha256(model)}",
                    "parity": json.dumps(note),
                },
            )
            temporary.write_bytes(halved.SerializeToString())
            digest = inputs.sha256(temporary)
    total, in_half = _convolutions(halved)
    return Autocast(
        path=output,
        bytes=output.stat().st_size,
        sha256=digest,
        convolutions=total,
        in_float16=in_half,
        comparison=found,
        real_frames=bool(frames),
    )


def _modelopt() -> Convert:
    try:
        from modelopt.onnx.autocast import convert_to_mixed_precision
    except ImportError as err:  # its own, where a package that it needs is missing
        raise MissingDependencyError(
            "nvidia-modelopt[onnx]",
            "autocast",
            "Making an FP16 model without its torch network",
            "It is large and needs other versions of onnx and ONNX Runtime: install it in "
            "an environment of its own. If you have the checkpoint, export that instead.",
        ) from err
    logging.getLogger(_LOGGER).setLevel(logging.WARNING)  # else a line for each node
    convert: Convert = convert_to_mixed_precision
    return convert


def _convert(convert: Convert, model: Path, session: Session, images: Array) -> onnx.ModelProto:
    batch = max(session.inputs[0].shape[0], 1)
    with files.scratch_folder("autocast") as folder:
        seen = Path(folder) / "pictures.npz"
        feeds: dict[str, Any] = {session.inputs[0].name: np.repeat(images[:1], batch, axis=0)}
        np.savez(seen, **feeds)
        try:
            return convert(
                str(model),
                low_precision_type="fp16",
                nodes_to_exclude=[f"{_DECODE}.*"],
                keep_io_types=True,
                calibration_data=str(seen),
            )
        except Exception as err:  # what a library raises that takes graphs apart
            raise ExportError(
                f"{model}: NVIDIA ModelOpt AutoCast failed ({type(err).__name__}: {err}); export "
                "the checkpoint with --precision fp16 instead"
            ) from err


def _check_graph(source: onnx.ModelProto, halved: onnx.ModelProto) -> None:
    """See to it that inputs, outputs and decoding are as they were."""
    for name in ("input", "output"):
        before, after = (
            onnx_graph.tensor_specs(getattr(graph, name)) for graph in (source.graph, halved.graph)
        )
        if before != after:
            raise ExportError(f"AutoCast changed the {name}s of the model: {after}, not {before}")
    types = _types(halved)
    touched = [
        node.name
        for node in halved.graph.node
        if node.name.startswith(_DECODE)
        and node.op_type not in _MOVES
        and any(types.get(name) == onnx.TensorProto.FLOAT16 for name in node.output)
    ]
    if touched:
        raise ExportError(f"AutoCast put decoding into float16: {', '.join(touched)}")


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _convolutions(model: onnx.ModelProto) -> tuple[int, int]:
    types = _types(model)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    return len(nodes), sum(types.get(n.output[0]) == onnx.TensorProto.FLOAT16 for n in nodes)


def _compare(halved: onnx.ModelProto, session: Session, images: Array, scratch: Path) -> Comparison:
    scratch.write_bytes(halved.SerializeToString())
    limits = LIMITS["fp16"]
    agreement = Agreement(0.0, limits.score)
    name = session.inputs[0].name
    batch = max(session.inputs[0].shape[0], 1)
    with OrtSession(scratch, provider="cpu") as other:
        for image in images:
            feeds: dict[str, Any] = {name: np.repeat(image[None], batch, axis=0)}
            agreement.add(other.infer(feeds), session.infer(feeds))
    found = agreement.result()
    if faults := found.faults(limits):
        raise ParityError(
            f"the FP16 model's outputs differ from those of the original model: "
            f"{'; '.join(faults)}. No model was written. Use --source with frames that are "
            f"typical of its use"
        )
    return found
