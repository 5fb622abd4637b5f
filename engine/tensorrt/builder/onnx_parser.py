"""From an ONNX file to a TensorRT network, and what the network says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdetrt.engine import onnx_file
from jdetrt.engine.tensorrt.compat import Log, TensorRt, dtype_name
from jdetrt.errors import BuildError, SessionError
from jdetrt.runtime.opencv import native_name
from jdetrt.types import TensorSpec

__all__ = ["BODY", "DECODE", "Network", "parse"]

# Names of nodes that `jdetrt export` writes begin with the module that they come from.
BODY = "/network/body/"
DECODE = "/decode/"

_TYPE_CHANGES = ("CAST", "IDENTITY")  # kinds of layers; up to 8.5 a cast is an identity


@dataclass(frozen=True)
class Network:
    """A network that is parsed.

    Attributes:
        path: the ONNX file.
        definition: the ``INetworkDefinition``.
        parser: the ``OnnxParser``, which owns the weights.
        inputs: what the network takes.
        outputs: what it gives.
        precision: the lowest in the graph: ``"fp32"``, ``"fp16"``, ``"int8"``, ``"int8+fp16"``.
        convolutions: number of them.
        quantised: number of those whose input is dequantised for them: TensorRT can run them in
            INT8.
    """

    path: Path
    definition: Any
    parser: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str
    convolutions: int
    quantised: int

    def layers(self) -> Iterator[Any]:
        """Its layers, in order."""
        for index in range(self.definition.num_layers):
            yield self.definition.get_layer(index)


def parse(
    trt: TensorRt, builder: Any, log: Log, path: Path, *, strong: bool, for_dla: bool = False
) -> Network:
    """Read an ONNX model.

    Args:
        trt: the module.
        builder: its ``Builder``.
        log: where TensorRT's words go.
        path: the ``.onnx`` file; weights kept outside of it are looked for beside it.
        strong: give every tensor the type that it has in the graph.
        for_dla: let the parser choose layers that the DLA runs, where it can.

    Raises:
        BuildError: TensorRT does not take the model; every node that it refuses is named. Or an
            input or output has a type that NumPy does not know.
    """
    definition = builder.create_network(trt.network_flags(strong=strong))
    parser = trt.module.OnnxParser(definition, log.logger)
    if for_dla and trt.has("OnnxParserFlag", "ADJUST_FOR_DLA"):
        parser.set_flag(trt.module.OnnxParserFlag.ADJUST_FOR_DLA)
    if not parser.parse_from_file(native_name(path, SessionError)):
        refused = [_words(parser.get_error(index)) for index in range(parser.num_errors)]
        beside = ", ".join(str(file) for file in list(onnx_file.model_files(path))[1:])
        raise BuildError(
            f"{path}: TensorRT {trt.version} cannot read this model:\n  "
            + "\n  ".join(refused or [log.reason()])
            + (f"\nIts weights are in {beside}: is that file complete?" if beside else "")
        )
    try:
        inputs = tuple(_specs(definition.num_inputs, definition.get_input))
        outputs = tuple(_specs(definition.num_outputs, definition.get_output))
    except SessionError as err:
        raise BuildError(f"{path}: {err}; export it with inputs and outputs in float32") from err
    counts = _convolutions(trt, definition)
    return Network(path, definition, parser, inputs, outputs, _precision(trt, definition), *counts)


def _words(error: Any) -> str:
    """One error of the parser: which node, of which kind, and why."""
    where = f"node {error.node()}" if error.node() >= 0 else "the model"
    if hasattr(error, "node_name") and error.node_name():
        where += f" '{error.node_name()}' ({error.node_operator()})"
    return f"{where}: {error.desc().strip()}"


def _specs(count: int, get: Any) -> Iterator[TensorSpec]:
    for tensor in map(get, range(count)):
        shape = tuple(int(d) for d in tensor.shape)
        yield TensorSpec(tensor.name, dtype_name(tensor.dtype, tensor.name), shape)


def _convolutions(trt: TensorRt, definition: Any) -> tuple[int, int]:
    """Number of convolutions, and of those that read what is dequantised."""
    kinds = trt.module.LayerType
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    producers = {
        layer.get_output(index).name: layer
        for layer in layers
        for index in range(layer.num_outputs)
    }
    convolutions = [layer for layer in layers if layer.type == kinds.CONVOLUTION]
    quantised = 0
    for layer in convolutions:
        source = producers.get(layer.get_input(0).name)
        if source is not None and source.type.name in _TYPE_CHANGES:
            source = producers.get(source.get_input(0).name)
        quantised += source is not None and source.type == kinds.DEQUANTIZE
    return len(convolutions), quantised


def _precision(trt: TensorRt, definition: Any) -> str:
    quantised = half = False
    for index in range(definition.num_layers):
        layer = definition.get_layer(index)
        if layer.type == trt.module.LayerType.CONSTANT:  # weights may be stored in half
            continue
        quantised |= layer.type == trt.module.LayerType.QUANTIZE
        half |= any(
            layer.get_output(output).dtype == trt.module.DataType.HALF
            for output in range(layer.num_outputs)
        )
    return "+".join(["int8"] * quantised + ["fp16"] * half) or "fp32"
