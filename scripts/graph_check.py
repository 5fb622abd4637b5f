"""Compare the graphs of two versions of the exporter: network time, outputs, compiled layers.

    PYTHONPATH=. python scripts/graph_check.py models FOLDER        # in each of two checkouts
    PYTHONPATH=. python scripts/graph_check.py measure BEFORE AFTER -o FILE

`models` writes nano and Darknet-53 (random weights) in float32, float16 and INT8, with the rest in
float32 and in float16 for TensorRT-RTX. INT8 has made-up scales, on which neither layers nor bytes
depend. `measure` times both float32 models in turn in ONNX Runtime on one thread, compares the
entries that both give, and has TensorRT-RTX compile all others ahead of time for 8.6.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from jdetrt.calibration.quantize.fp16_rest import to_half
from jdetrt.calibration.quantize.qdq import quantise
from jdetrt.config import ExportConfig
from jdetrt.engine.tensorrt import compat
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.describe import describe_plan
from jdetrt.engine.tensorrt.summary import summarise
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures
from jdetrt.files import write_json
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.preprocess import letterbox
from jdetrt.shipped import resolve_checkpoint
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.model import random_network

SIZES = {"nano": (576, 320), "darknet53": (1088, 608)}
KINDS = ("fp16", "int8", "int8-fp16")
_ROUNDS = {"nano": 40, "darknet53": 7}


class _Scales:
    def scale(self, tensor: str) -> float:
        return 0.05


def write_models(folder: Path, names: Sequence[str]) -> None:
    """Write models of this checkout as NAME.KIND.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        size, source = SIZES[name], Path(resolve_checkpoint("nano"))
        if name == "darknet53":
            source = folder / "darknet53.safetensors"
            checkpoint.save(source, random_network(0), size=size)
        plain = folder / f"{name}.fp32.onnx"
        export_onnx(source, plain, ExportConfig(size=size))
        export_onnx(source, folder / f"{name}.fp16.onnx", ExportConfig(size=size, precision="fp16"))
        quantised = quantise(onnx.load(plain), _Scales())
        onnx.save(quantised, folder / f"{name}.int8.onnx")
        onnx.save(to_half(quantised, "rtx"), folder / f"{name}.int8-fp16.onnx")


def compare(name: str, before: Path, after: Path) -> dict[str, Any]:
    """Time two float32 models in turn, and compare the entries that both give."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in (before, after)
    ]
    size = SIZES[name]
    feed = {"images": letterbox(synthetic_pictures(1, size)[0], size)[0][None]}
    old, new = (session.run(None, feed) for session in sessions)
    both = min(old[1].shape[1], new[1].shape[1])
    times: tuple[list[float], list[float]] = ([], [])
    load = os.getloadavg()[0]
    for turn in range(_ROUNDS[name]):
        for which in (0, 1) if turn % 2 else (1, 0):
            begin = time.perf_counter()
            sessions[which].run(None, feed)
            times[which].append(1e3 * (time.perf_counter() - begin))
    ratios = [b / a for a, b in zip(*times, strict=True)]
    return {
        "candidates": [old[1].shape[1], new[1].shape[1]],
        "largest_difference": {
            output: float(np.abs(a[:, :both] - b[:, :both]).max())
            for output, a, b in zip(("boxes", "scores", "embeddings"), old, new, strict=True)
        },
        "median_ms": [statistics.median(one) for one in times],
        "least_ms": [min(one) for one in times],
        "median_ratio": statistics.median(ratios),
        "turns": len(ratios),
        "load": [load, os.getloadavg()[0]],
    }


def compiled(path: Path) -> dict[str, Any]:
    """Numbers of the plan of TensorRT-RTX for compute capability 8.6."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "model.plan"
        options = BuildOptions(compute_capabilities=("8.6",), allow_float=True)
        sidecar = build_plan(compat.load("tensorrt-rtx"), path, plan, options)
        layers = describe_plan(plan).compiled
    assert layers is not None
    numbers = summarise(layers)
    written: dict[str, int] = {}
    for layer in layers.layers:
        if layer.convolution:
            for tensor in layer.outputs:
                written[tensor.dtype] = written.get(tensor.dtype, 0) + 1
    return {
        "launches": numbers.launches,
        "unfused_activations": numbers.unfused,
        "convolutions": numbers.convolutions,
        "convolution_outputs": written,
        "moved_bytes": numbers.moved,
        "plan_bytes": sidecar.plan.bytes,
    }


def measure(before: Path, after: Path) -> dict[str, Any]:
    """Compare all models of two folders."""
    names = [name for name in SIZES if (before / f"{name}.fp32.onnx").exists()]
    return {
        "benchmark": "graphs before and after",
        "machine": manifest(),
        "rtx": "TensorRT-RTX ahead of time, compute capability 8.6",
        "models": {
            name: {
                "size": "{}x{}".format(*SIZES[name]),
                "onnxruntime": compare(
                    name, before / f"{name}.fp32.onnx", after / f"{name}.fp32.onnx"
                ),
                "tensorrt-rtx": {
                    kind: {
                        when: compiled(folder / f"{name}.{kind}.onnx")
                        for when, folder in (("before", before), ("after", after))
                    }
                    for kind in KINDS
                },
            }
            for name in names
        },
    }


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("models")
    models.add_argument("folder", type=Path)
    models.add_argument("names", nargs="*", choices=list(SIZES), default=list(SIZES))
    pair = commands.add_parser("measure")
    pair.add_argument("before", type=Path)
    pair.add_argument("after", type=Path)
    pair.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "models":
        write_models(given.folder, given.names)
    else:
        write_json(given.output, measure(given.before, given.after), indent=1)


if __name__ == "__main__":
    main()
