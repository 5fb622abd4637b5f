"""From a checkpoint to an ONNX model that says where it comes from and has been compared."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from jdetrt import __version__, files, inputs
from jdetrt.config import STRIDES, AnyTrackerConfig, ExportConfig
from jdetrt.errors import ConfigError, ExportError, JdetrtError
from jdetrt.export.deploy_graph import DeployGraph
from jdetrt.export.onnx_graph import tensor_specs
from jdetrt.export.parity import FLOAT16, FLOAT32, Parity, check_parity, synthetic_pictures
from jdetrt.export.precision import (
    record_peaks,
    refuse_overflow,
    round_weights,
    store_as_half,
    to_half,
)
from jdetrt.export.sizes import load_sized
from jdetrt.runtime.preprocess import letterbox
from jdetrt.runtime.settings import label_note, tracker_note
from jdetrt.training.checkpoints.state_dict import CheckpointInfo
from jdetrt.training.network.anchors import grids, network_anchors
from jdetrt.types import TensorSpec

__all__ = ["Exported", "export_onnx"]

_OUTPUTS = ("boxes", "scores", "embeddings")
_SYNTHETIC_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Exported:
    """Result of `export_onnx`.

    Attributes:
        path: the model.
        bytes: its size.
        sha256: of the file.
        inputs: what the model takes.
        outputs: what it gives.
        checkpoint: what it was made from.
        anchor_size: the network size that the anchors belong to.
        anchored: whether boxes are predicted by anchors.
        precision: what the network computes in, ``"fp32"`` or ``"fp16"``.
        half_weights: whether the weights were rounded to float16, in torch too.
        parity: torch against ONNX Runtime.
        real_frames: whether that was on frames that the caller gave.
    """

    path: Path
    bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    checkpoint: CheckpointInfo
    anchor_size: tuple[int, int]
    anchored: bool
    precision: str
    half_weights: bool
    parity: Parity
    real_frames: bool


def export_onnx(
    checkpoint: str | Path,
    output: str | Path,
    config: ExportConfig,
    *,
    trained_size: tuple[int, int] | None = None,
    tracker: AnyTrackerConfig | None = None,
    frames: Sequence[npt.NDArray[np.uint8]] = (),
) -> Exported:
    """Export a checkpoint; the file appears only after it has been compared with torch.

    Anchors belong to the size that a network was trained at: it predicts boxes relative to them
    (`jdetrt.export.sizes.settle_sizes`).

    Args:
        checkpoint: any weight file that ``jdetrt.training.checkpoints.checkpoint.load`` reads.
        output: the ``.onnx`` file to write.
        config: size, top-k, batch, precision, weights, opset. With half weights or half precision
            the network that is compared is the one with rounded weights, batch norms folded.
        trained_size: network width and height at training.
        tracker: settings that travel with the model, in place of the checkpoint's.
        frames: ``(H, W, 3)`` uint8 BGR images of any size to compare on; without them two
            synthetic ones.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: a width or height is not a multiple of 32, or half weights are asked for in
            half precision, which has them anyway.
        ExportError: the checkpoint is of a body alone, there is no size, not enough memory for it,
            or a weight or, in half precision, what a convolution gives is too large for float16.
        ParityError: the exported model gives other numbers than torch.
        OutputError: the output cannot be written.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    half = config.precision == "fp16"
    if half and config.half_weights:
        raise ConfigError(
            "half weights are for models that compute in float32; in precision fp16 the "
            "weights are float16 anyway: use only one of the two"
        )
    for given in (config.size, trained_size):
        if given is not None:
            grids(*given)  # a wrong size is refused before anything is read
    network, info, (size, anchor_size) = load_sized(checkpoint, config.size, trained_size)
    if output.exists() and output.samefile(checkpoint):
        raise ExportError(f"{output}: is the checkpoint itself; choose another output file")
    anchors = network_anchors(info.config, anchor_size)
    with _memory_for(size):
        graph = DeployGraph(network, size, anchors, config.top_k)
        if config.half_weights:
            network = graph.network
            round_weights(network)
        if half:
            network = to_half(graph)
        pictures = frames or synthetic_pictures(_SYNTHETIC_FRAMES, size)
        images = np.stack([letterbox(picture, size)[0] for picture in pictures])

    # The file first, so that a full disk shows at once.
    with files.atomic_path(output) as temporary, _memory_for(size):
        model = _to_onnx(graph, size, config, temporary)
        with record_peaks(network) as peaks:
            limits = FLOAT16 if half else FLOAT32
            parity = check_parity(network, graph.decode, model, images, limits)
        if half:
            refuse_overflow(peaks)
        note = {**asdict(parity), "real_frames": bool(frames)}
        metadata = {
            "jdetrt_version": __version__,
            "torch_version": torch.__version__,
            "body": info.config.body,
            "embedding_dim": str(network.embedding_dim),
            "width": str(size[0]),
            "height": str(size[1]),
            "strides": json.dumps(STRIDES),
            **(
                {
                    "anchors": json.dumps(anchors.astype(int).tolist()),
                    "anchor_size": json.dumps(anchor_size),
                }
                if network.body.boxes == "anchors"
                else {}
            ),
            "top_k": str(graph.decode.top_k.k),
            "precision": config.precision,
            "weights": "float16" if half or config.half_weights else "float32",
            "checkpoint": checkpoint.name,
            "checkpoint_kind": info.kind,
            "checkpoint_sha256": inputs.sha256(checkpoint),
            "parity": json.dumps(note),
            **tracker_note(tracker or info.config.tracker),
            **label_note(info.config.label),
        }
        onnx.helper.set_model_props(model, metadata)
        temporary.write_bytes(model.SerializeToString())
        digest = inputs.sha256(temporary)
    return Exported(
        path=output,
        bytes=output.stat().st_size,
        sha256=digest,
        inputs=tensor_specs(model.graph.input),
        outputs=tensor_specs(model.graph.output),
        checkpoint=info,
        anchor_size=anchor_size,
        anchored=network.body.boxes == "anchors",
        precision=config.precision,
        half_weights=config.half_weights,
        parity=parity,
        real_frames=bool(frames),
    )


@contextmanager
def _memory_for(size: tuple[int, int]) -> Iterator[None]:
    """Say in words what NumPy, torch and ONNX Runtime raise where memory runs out."""
    try:
        yield
    except (JdetrtError, OSError):  # whose words may be the name of a file
        raise
    except Exception as err:  # torch's is a plain RuntimeError, ONNX Runtime's a class of its own
        if isinstance(err, MemoryError) or re.search("allocat|bad_alloc|out of memory", str(err)):
            raise ExportError(
                f"not enough memory for a network of {size[0]}x{size[1]}; ask for a smaller "
                "--size, or export on a machine with more memory"
            ) from err
        raise


def _to_onnx(
    graph: DeployGraph, size: tuple[int, int], config: ExportConfig, scratch: Path
) -> onnx.ModelProto:
    width, height = size
    free = {0: "batch"}
    with warnings.catch_warnings():
        # This exporter names nodes by module ("/decode/..."), which precision and calibration
        # tools go by; the newer one, which torch would rather see used, does not. What else it
        # has to say (a TracerWarning, say) is shown.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            graph.eval(),
            (torch.zeros(1, 3, height, width),),
            scratch,
            dynamo=False,
            opset_version=config.opset,
            input_names=["images"],
            output_names=list(_OUTPUTS),
            dynamic_axes=dict.fromkeys(("images", *_OUTPUTS), free)
            if config.dynamic_batch
            else None,
        )
    model = onnx.load(scratch)
    model.graph.name = "jde"
    _unshare_weights(model)
    _name_constants(model)
    batch = "batch" if config.dynamic_batch else 1
    _set_shapes(model, batch, graph.decode.top_k.k, graph.decode.embedding_dim)
    if config.half_weights:
        store_as_half(model)
    return model


def _unshare_weights(model: onnx.ModelProto) -> None:
    """Give every weight its own values again.

    Where two are equal, as the biases of an untrained network, the exporter keeps one and reaches
    the other through an Identity, which tools that look for a convolution's weights stumble over.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    shared = [n for n in model.graph.node if n.op_type == "Identity" and n.input[0] in weights]
    for node in shared:
        own = model.graph.initializer.add()
        own.CopyFrom(weights[node.input[0]])
        own.name = node.output[0]
        model.graph.node.remove(node)


def _name_constants(model: onnx.ModelProto) -> None:
    """Put the few constants that the exporter named itself under the module that uses them."""
    users = {name: node.name for node in model.graph.node for name in node.input}
    for node in model.graph.node:
        if not node.name.startswith("/"):
            node.name = f"{users[node.output[0]]}/{node.name}"


def _set_shapes(model: onnx.ModelProto, batch: str | int, top_k: int, dim: int) -> None:
    """Write down the shapes of the outputs; with a free batch the exporter knows none of them."""
    shapes = {
        "boxes": [batch, top_k, 4],
        "scores": [batch, top_k],
        "embeddings": [batch, top_k, dim],
    }
    for output in model.graph.output:
        output.CopyFrom(
            onnx.helper.make_tensor_value_info(
                output.name, onnx.TensorProto.FLOAT, shapes[output.name]
            )
        )
