"""Make the files of the built-in nano from a checkpoint of `jdetrt train nano`.

usage: ship_nano.py CHECKPOINT FOLDER. FOLDER gets nano.safetensors, its weights stored as float16,
and nano-WIDTHxHEIGHT.onnx. To keep the package small, the large weights of 640x480 are references
into the checkpoint (external data of ONNX), where the bytes are the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import onnx

from jdetrt.config import ExportConfig
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.training.checkpoints import checkpoint

SIZES = ((576, 320), (640, 480), (864, 480))
SHARED = ((640, 480),)
# Up to 363 candidates of a frame of MOT17-04 at 864x480 have a score that is tracked.
TOP_K = 512
LEAST = 1024  # bytes; smaller tensors stay in the model


def places(stored: Path) -> dict[bytes, int]:
    """Offset in the file of each tensor of a safetensors file, by its bytes."""
    data = stored.read_bytes()
    first = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:first])
    spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    return {data[first + begin : first + end]: first + begin for begin, end in spans}


def share(path: Path, stored: Path) -> None:
    """Let a model refer to the weights of a checkpoint beside it, in place."""
    model = onnx.load(path)
    offsets = places(stored)
    for tensor in model.graph.initializer:
        values = tensor.raw_data
        if len(values) < LEAST or values not in offsets:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", stored.name),
            ("offset", str(offsets[values])),
            ("length", str(len(values))),
        ):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    onnx.save(model, path)


def main(trained: Path, folder: Path) -> None:
    """Store, export, share, say how large the files are."""
    network, info = checkpoint.load(trained)
    config = info.config
    stored = folder / "nano.safetensors"
    checkpoint.save(
        stored,
        network,
        size=config.size,
        tracker=config.tracker,
        scores=config.scores,
        identities=info.identities,
        half=True,
    )
    for width, height in SIZES:
        path = folder / f"nano-{width}x{height}.onnx"
        settings = ExportConfig(size=(width, height), top_k=TOP_K, half_weights=True)
        export_onnx(stored, path, settings)
        if (width, height) in SHARED:
            share(path, stored)
        click.echo(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
