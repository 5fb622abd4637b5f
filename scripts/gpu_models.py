"""The models that scripts/gpu.sh runs: made where torch and onnx are, carried where the GPU is.

    python scripts/gpu_models.py FOLDER SOURCE [NAME ...]

For each network and size a checkpoint and ONNX models in float32, float16 and INT8, calibrated on a
few frames of SOURCE, and the ranges as TensorRT 8.5 takes them beside a float32 model: nano at two
sizes and Darknet-53 at the paper's three. NAME picks some, as darknet53-576x320. Weights are random
where none ship: good for speed and for agreement between backends, not for accuracy.

What is in FOLDER already stays. Models are large and ranges take minutes: carry the NAME.int8-cache
files alone to where torch and a GPU are, and make the rest there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import onnx

from jdetrt.calibration.frames.choose import choose_frames
from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
from jdetrt.calibration.ranges.probe import activations
from jdetrt.calibration.ranges.ranges import measure_ranges
from jdetrt.config import ExportConfig
from jdetrt.engine.tensorrt.calibration_cache import read_cache, write_cache
from jdetrt.errors import ConfigError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.files import write_bytes
from jdetrt.shipped import NANO, resolve_checkpoint
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.model import random_network

NETWORKS = {
    "nano-576x320": (576, 320),
    "nano-864x480": (864, 480),
    "darknet53-576x320": (576, 320),
    "darknet53-864x480": (864, 480),
    "darknet53-1088x608": (1088, 608),
}
CALIBRATION_FRAMES = 32


def write_checkpoint(path: Path, body: str, size: tuple[int, int]) -> None:
    """Write the shipped checkpoint with its tracker's settings; else random weights."""
    if body == NANO:
        try:
            write_bytes(path, resolve_checkpoint(NANO).read_bytes())
        except ConfigError:
            checkpoint.save(path, random_network(0, body, 128), size=size)
    else:
        checkpoint.save(path, random_network(0, body), size=size)


def write_int8(folder: Path, name: str, source: str) -> None:
    """The quantised model and, where they are not there, its ranges."""
    model, cache = folder / f"{name}.fp32.onnx", folder / f"{name}.int8-cache"
    graph = onnx.load(model)
    if not cache.exists():
        frames = choose_frames([source], CALIBRATION_FRAMES, network_size=NETWORKS[name])
        tensors = list(dict.fromkeys((*tensors_to_quantise(graph), *activations(graph))))
        write_cache(cache, measure_ranges(model, frames, tensors).scales(), "8.5.3")
    ranges = SimpleNamespace(scale=read_cache(cache).scales.__getitem__)
    quantised = quantise(graph, ranges)
    write_bytes(folder / f"{name}.int8.onnx", quantised.SerializeToString())


def main(folder: Path, source: str, names: list[str]) -> None:
    """Write them all, or those named; what is there already stays."""
    if unknown := [name for name in names if name not in NETWORKS]:
        sys.exit(f"no such network: {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or list(NETWORKS):
        size = NETWORKS[name]
        weights = folder / f"{name}.safetensors"
        if not weights.exists():
            write_checkpoint(weights, name.rpartition("-")[0], size)
        for precision in ("fp32", "fp16"):
            model = folder / f"{name}.{precision}.onnx"
            if not model.exists():
                export_onnx(weights, model, ExportConfig(size=size, precision=precision))
        if not (folder / f"{name}.int8.onnx").exists():
            write_int8(folder, name, source)
        print(f"{name}: done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
