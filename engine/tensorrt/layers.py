"""Compiled content of a plan: its layers, the types they compute in, tactics, memory.

Two sources tell the same in different words. TensorRT's engine inspector tells it of a plan that is
loaded, in JSON whose keys differ from version to version. TensorRT-RTX, which builds where there is
no GPU to load a plan, says it in the log of the build; ``jdetrt build`` keeps that in a file beside
the plan, ``model.plan.layers.json``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jdetrt.config import Section
from jdetrt.documents import read_json
from jdetrt.errors import DataError
from jdetrt.types import TensorSpec

__all__ = ["Compiled", "Layer", "from_inspector", "from_log", "layers_path", "read_layers"]

# What TensorRT calls element types: in its logs and, up to 8.6, within the name of a format.
_DTYPES = {
    "float": "float32",
    "fp32": "float32",
    "half": "float16",
    "fp16": "float16",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "int8": "int8",
    "uint8": "uint8",
    "fp8": "float8",
    "int4": "int4",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
_CONVOLUTION = re.compile(r"Conv(_\d+)?")  # the end of a node's name
_UNKNOWN = "unknown"
_BYTES = {
    "float32": 4,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "int8": 1,
    "uint8": 1,
    "float8": 1,
    "bool": 1,
}

_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"Constants: \[(?P<weights>.*?)\], Outputs: \[(?P<outputs>.*?)\], "
    r"TacticName: (?P<tactic>.*?), StreamId: .*?Metadata: (?P<nodes>.*)$",
    re.MULTILINE,
)
_TENSOR = re.compile(
    r"Name: (?P<name>.*?), Dimensions: \[(?P<shape>[^\]]*)\].*?Datatype: (?P<dtype>\w+)"
)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_ACTIVATIONS = re.compile(r"^Total Activation Memory: (\d+) bytes", re.MULTILINE)
_WEIGHTS = re.compile(r"^Total Weights Memory: (\d+) bytes", re.MULTILINE)


class Layer(Section, frozen=True):
    """One step of a plan, often several nodes of the graph in one.

    Attributes:
        name: TensorRT's.
        kind: TensorRT's, such as ``"CaskConvolution"`` or ``"correlation"``; "" where a plan was
            built without details.
        inputs: what it reads; a type may be ``"unknown"``, a size -1.
        weights: what it has of its own: weights, biases and scales.
        outputs: what it gives.
        tactic: the kernel that was chosen; "" where it is not told.
        nodes: the nodes of the ONNX graph that went into it, where that is told.
    """

    name: str
    kind: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    weights: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    tactic: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def convolution(self) -> bool:
        """True if it is a convolution, which TensorRT's compiler calls a correlation.

        A fusion may compute one as a matrix product; that it is one, its nodes tell.
        """
        kind = self.kind.lower()
        fused = kind == "runtime_fusion" and self.convolution_nodes > 0
        return "convolution" in kind or kind == "correlation" or fused

    @property
    def convolution_nodes(self) -> int:
        """Number of nodes of the graph in it that are convolutions; names of others hold theirs."""
        return sum(
            _CONVOLUTION.fullmatch(node.rpartition("/")[2]) is not None for node in self.nodes
        )

    @property
    def computes_in(self) -> str:
        """The type of its weights or, without any, of its first input."""
        first = (*self.weights, *self.inputs, *self.outputs)
        return first[0].dtype if first else _UNKNOWN


class Compiled(Section, frozen=True):
    """All layers of a plan.

    Attributes:
        layers: in order.
        activations: bytes of GPU memory of one execution context; None where it is not told.
        weights: bytes of weights; None where it is not told.
        source: ``"build log"`` or ``"engine inspector"``.
        plan_sha256: of the plan that they are of.
    """

    layers: tuple[Layer, ...]
    activations: int | None
    weights: int | None
    source: str
    plan_sha256: str

    @property
    def convolutions(self) -> dict[str, int]:
        """Number of convolutions by the type that they compute in; nodes fused into one count."""
        counts: Counter[str] = Counter()
        for layer in self.layers:
            if layer.convolution:
                counts[layer.computes_in] += max(1, layer.convolution_nodes)
        return dict(counts)

    @property
    def moved(self) -> int | None:
        """Bytes that the layers read and write in one run; None where a size is not told.

        What a layer reads in two places it reads once.
        """
        tensors = [
            tensor
            for layer in self.layers
            for tensor in (*dict.fromkeys(layer.inputs), *layer.weights, *layer.outputs)
        ]
        if any(tensor.dtype not in _BYTES or -1 in tensor.shape for tensor in tensors):
            return None
        return sum(_BYTES[tensor.dtype] * math.prod(tensor.shape) for tensor in tensors)


def layers_path(plan: Path) -> Path:
    """Where the layers of a plan are kept.

    >>> layers_path(Path("out/model.plan")).as_posix()
    'out/model.plan.layers.json'
    """
    return plan.with_name(f"{plan.name}.layers.json")


def read_layers(plan: Path, plan_sha256: str) -> Compiled | None:
    """Read the layers that the build of a plan kept; None if there are none of this plan.

    Raises:
        DataError: the file is damaged.
    """
    path = layers_path(plan)
    if not path.exists():
        return None
    remedy = "delete it, and build the plan again to have it"
    found = read_json(path, Compiled, DataError, "the list of layers of a plan", remedy)
    return found if found.plan_sha256 == plan_sha256 else None


def from_log(messages: Iterable[str], plan_sha256: str) -> Compiled | None:
    """Read the log of a build by TensorRT-RTX, with detailed profiling verbosity.

    Args:
        messages: of the logger, among them verbose ones.
        plan_sha256: of the plan that was built.

    Returns:
        None where no message lists layers. Steps that only wait for other streams are left out.
    """
    text = "\n".join(messages)
    layers = tuple(_logged(text))
    if not layers:
        return None
    return Compiled(
        layers=layers,
        activations=_number(_ACTIVATIONS, text),
        weights=_number(_WEIGHTS, text),
        source="build log",
        plan_sha256=plan_sha256,
    )


def _logged(text: str) -> Iterator[Layer]:
    for match in _LAYER.finditer(text):
        tensors = {
            name: tuple(_tensor(one) for one in _TENSOR.finditer(match[name]))
            for name in ("inputs", "weights", "outputs")
        }
        if any(tensors.values()):
            yield Layer(
                name=match["name"],
                kind=match["kind"],
                tactic=match["tactic"],
                nodes=tuple(_NODE.findall(match["nodes"])),
                **tensors,
            )


def _tensor(match: re.Match[str]) -> TensorSpec:
    sizes = match["shape"].split(",") if match["shape"] else []
    shape = tuple(int(size) if size.strip().isdigit() else -1 for size in sizes)
    return TensorSpec(match["name"], _dtype(match["dtype"]), shape)


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.findall(text)
    return int(found[-1]) if found else None


def from_inspector(information: Mapping[str, Any], activations: int, plan_sha256: str) -> Compiled:
    """Read the JSON of TensorRT's engine inspector, of any version from 8.5.

    Args:
        information: of ``jdetrt.engine.tensorrt.compat.engine_information``.
        activations: bytes that the engine says it needs.
        plan_sha256: of the plan.
    """
    return Compiled(
        layers=tuple(map(_inspected, information["Layers"])),
        activations=activations,
        weights=None,
        source="engine inspector",
        plan_sha256=plan_sha256,
    )


def _inspected(layer: str | Mapping[str, Any]) -> Layer:
    if isinstance(layer, str):  # the plan was built without details
        return Layer(name=layer)
    weights = [_from_json(constant) for constant in layer.get("Constants", ())]
    for name in ("Weights", "Bias"):
        told = layer.get(name)
        if isinstance(told, Mapping) and told.get("Count"):
            weights.append(TensorSpec(name, _dtype(told.get("Type", "")), (int(told["Count"]),)))
    return Layer(
        name=layer["Name"],
        kind=layer.get("LayerType", ""),
        inputs=tuple(map(_from_json, layer.get("Inputs", ()))),
        weights=tuple(weights),
        outputs=tuple(map(_from_json, layer.get("Outputs", ()))),
        tactic=layer.get("TacticName", ""),
        nodes=tuple(_NODE.findall(layer.get("Metadata", ""))),
    )


def _from_json(tensor: Mapping[str, Any]) -> TensorSpec:
    # "Format/Datatype" up to TensorRT 10, from 11 two keys of which one is the type alone.
    told = tensor.get("Datatype") or tensor.get("DataType") or tensor.get("Format/Datatype", "")
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.get("Dimensions", ()))
    return TensorSpec(tensor["Name"], _dtype(told), shape)


def _dtype(told: str) -> str:
    """NumPy's name of a type, which is one word of what TensorRT says.

    >>> _dtype("Thirty-two wide channel vectorized row major Int8 format")
    'int8'
    """
    words = re.findall(r"\w+", told.lower())
    return next((_DTYPES[word] for word in words if word in _DTYPES), _UNKNOWN)
