"""Models that ``selftest gpu`` measures: made where torch and onnx are, carried where the GPU is.

For each network and size a checkpoint and ONNX models in float32, float16 and INT8, and beside the
float32 model its ranges as TensorRT's own INT8 takes them. Weights of Darknet-53 are random: good
for speed and for agreement between backends, not for accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

from jdetrt.config import ExportConfig
from jdetrt.errors import ConfigError
from jdetrt.files import write_bytes
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.shipped import FOLDER, NANO, resolve_checkpoint, sizes
from jdetrt.types import Size

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "BUILT_IN",
    "CACHE",
    "NETWORKS",
    "PRECISIONS",
    "find_checkpoint",
    "find_model",
    "make_models",
    "size_of",
]

# By worth: what is measured first.
NETWORKS = ("nano-576x320", "darknet53-1088x608", "nano-1088x608", "darknet53-576x320")
BUILT_IN = ("nano-576x320", "nano-864x480")  # where no folder of models is named
PRECISIONS = ("fp16", "int8", "fp32")
SHIPPED = FOLDER / f"{NANO}.safetensors"
CACHE = "int8-cache"  # a calibration cache beside the float32 model, for TensorRT's own INT8
_FRAMES = 32  # to calibrate on


def size_of(network: str) -> Size:
    """Size of the network's input, which its name ends in.

    Raises:
        ConfigError: the name is another.

    >>> size_of("nano-576x320")
    Size(width=576, height=320)
    """
    body, _, size = network.rpartition("-")
    if body not in (NANO, "darknet53"):
        raise ConfigError(
            f"network '{network}': expected nano or darknet53 and a size, such as {NETWORKS[0]}"
        )
    return Size.parse(size)


def find_model(folder: Path | None, network: str, precision: str) -> Path | None:
    """The ONNX file of a network, in the folder or in this installation; None where it is not.

    Args:
        folder: of `make_models`; None for none.
        network: a name as in `NETWORKS`.
        precision: one of `PRECISIONS`; or `CACHE`, for the calibration cache.
    """
    suffix = "" if precision == CACHE else ".onnx"
    if folder is not None and (path := folder / f"{network}.{precision}{suffix}").is_file():
        return path
    body, _, size = network.rpartition("-")
    return sizes().get(size) if (body, precision) == (NANO, "fp32") else None


def find_checkpoint(folder: Path | None, network: str) -> Path | None:
    """The checkpoint of a network, in the folder or in this installation; None where it is not."""
    if folder is not None and (path := folder / f"{network}.safetensors").is_file():
        return path
    body = network.rpartition("-")[0]
    return SHIPPED if body == NANO and SHIPPED.is_file() else None


def make_models(
    folder: Path,
    source: str,
    networks: Sequence[str] = NETWORKS,
    *,
    progress: Progress = NO_PROGRESS,
) -> list[Path]:
    """Make the models that are missing in a folder. Ranges take minutes.

    Args:
        folder: is made; what is in it already stays.
        source: a video, folder or sequence to calibrate INT8 on.
        networks: names as in `NETWORKS`.
        progress: gets a message for each network.

    Returns:
        All files of these networks.

    Raises:
        ConfigError: a name is unknown.
        SourceError, ExportError, OutputError: calibrating or exporting fails.
    """
    for network in networks:
        size_of(network)
    folder.mkdir(parents=True, exist_ok=True)
    for network in networks:
        progress.message(f"models of {network}")
        _make(folder, network, source)
    return [path for network in networks for path in sorted(folder.glob(f"{network}.*"))]


def _make(folder: Path, network: str, source: str) -> None:
    import onnx

    from jdetrt.export.onnx_writer import export_onnx

    size = size_of(network)
    checkpoint = folder / f"{network}.safetensors"
    if not checkpoint.exists():
        _write_checkpoint(checkpoint, network.rpartition("-")[0], size)
    floats: tuple[Literal["fp32", "fp16"], ...] = ("fp32", "fp16")
    for precision in floats:
        path = folder / f"{network}.{precision}.onnx"
        if not path.exists():
            export_onnx(checkpoint, path, ExportConfig(size=size, precision=precision))
    if not (folder / f"{network}.int8.onnx").exists():
        graph = onnx.load(folder / f"{network}.fp32.onnx")
        _write_int8(folder, network, graph, source)


def _write_checkpoint(path: Path, body: str, size: Size) -> None:
    """The shipped checkpoint with its tracker's settings, or random weights."""
    from jdetrt.training.checkpoints import checkpoint
    from jdetrt.training.network.model import random_network

    if body == NANO:
        write_bytes(path, resolve_checkpoint(NANO).read_bytes())
    else:
        checkpoint.save(path, random_network(0, body), size=size)


def _write_int8(folder: Path, network: str, graph: ModelProto, source: str) -> None:
    """The quantised model and, where they are not there, its ranges."""
    from jdetrt.calibration.frames.choose import choose_frames
    from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
    from jdetrt.calibration.ranges.probe import activations
    from jdetrt.calibration.ranges.ranges import measure_ranges
    from jdetrt.engine.tensorrt.calibration_cache import read_cache, write_cache

    cache = folder / f"{network}.{CACHE}"
    if not cache.exists():
        frames = choose_frames([source], _FRAMES, network_size=size_of(network))
        tensors = list(dict.fromkeys((*tensors_to_quantise(graph), *activations(graph))))
        scales = measure_ranges(folder / f"{network}.fp32.onnx", frames, tensors).scales()
        write_cache(cache, scales, "8.5.3")
    ranges = SimpleNamespace(scale=read_cache(cache).scales.__getitem__)
    quantised = quantise(graph, ranges)
    write_bytes(folder / f"{network}.int8.onnx", quantised.SerializeToString())
