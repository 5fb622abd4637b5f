"""Export nano in its built-in sizes.

usage: ship_nano.py FOLDER. FOLDER holds nano.safetensors; beside it come nano-WIDTHxHEIGHT.onnx. To
keep the package small, the large weights of 640x480 are references into the checkpoint (external
data of ONNX), where the bytes are the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import onnx

from jdetrt.config import ExportConfig
from jdetrt.export.onnx_writer import export_onnx

SIZES = ((576, 320), (640, 480), (864, 480))
SHARED = ((640, 480),)
LEAST = 1024  # bytes; smaller tensors stay in the model


def places(checkpoint: Path) -> dict[bytes, int]:
    """Offset in the file of each tensor of a safetensors file, by its bytes."""
    data = checkpoint.read_bytes()
    first = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:first])
    spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    return {data[first + begin : first + end]: first + begin for begin, end in spans}


def share(path: Path, checkpoint: Path) -> None:
    """Let a model refer to the weights of a checkpoint beside it, in place."""
    model = onnx.load(path)
    offsets = places(checkpoint)
    for tensor in model.graph.initializer:
        values = tensor.raw_data
        if len(values) < LEAST or values not in offsets:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", checkpoint.name),
            ("offset", str(offsets[values])),
            ("length", str(len(values))),
        ):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    onnx.save(model, path)


def main(folder: Path) -> None:
    """Export, share, say how large the files are."""
    checkpoint = folder / "nano.safetensors"
    for width, height in SIZES:
        path = folder / f"nano-{width}x{height}.onnx"
        export_onnx(checkpoint, path, ExportConfig(size=(width, height), half_weights=True))
        if (width, height) in SHARED:
            share(path, checkpoint)
        click.echo(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
