"""Model repository for Triton Inference Server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from jdetrt.deploy.parts import copy_file, template
from jdetrt.deploy.pbtxt import Word, pbtxt
from jdetrt.engine.model import Model
from jdetrt.engine.tensorrt.plan import Sidecar, sidecar_path
from jdetrt.engine.triton import METADATA
from jdetrt.errors import ConfigError
from jdetrt.file_kind import FileKind
from jdetrt.files import write_text
from jdetrt.runtime.settings import label_in
from jdetrt.size import Size

__all__ = ["TritonOptions", "write_triton_repository"]

_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """Settings of a served model.

    Attributes:
        name: of the served model, in the client's address.
        version: folder of the model; a server takes the newest.
        runtime: ``"auto"``: TensorRT for plans, the ONNX Runtime backend for ONNX models;
            ``"python"``: ONNX Runtime in the Python backend, for servers without that backend.
        input: what clients send: ``"float32"`` tensors; ``"uint8"`` images, a quarter of the bytes;
            ``"jpeg"`` files of them, the least, which costs a little accuracy.
        max_batch: images in one run of the network, for a model with a free batch.
        queue_delay_us: microseconds that a request waits for others to fill a batch.
        preferred: sizes of batches for which none waits any longer; empty for powers of 2.
        instances: copies of the network on each GPU, or on the CPU.
        threads: CPU threads of one copy in ONNX Runtime; 0 for one a core.
        tag: of Triton's image in the compose file and the manifest.
    """

    name: str = "jde"
    version: int = 1
    runtime: str = "auto"
    input: str = "float32"
    max_batch: int = 8
    queue_delay_us: int = 2000
    preferred: tuple[int, ...] = ()
    instances: int = 1
    threads: int = 0
    tag: str = "24.10-py3"


@dataclass(frozen=True, slots=True)
class _Network:
    """The network, as Triton is told of it."""

    size: Size
    top_k: int
    embedding_dim: int | None
    max_batch: int  # 0 for a network that takes one image
    metadata: dict[str, str]

    def shape(self, *rest: int) -> list[int]:
        """Dimensions as Triton wants them: without the batch, where it makes batches."""
        return list(rest) if self.max_batch else [1, *rest]

    def outputs(self) -> list[dict[str, Any]]:
        """The outputs of the network in Triton's words."""
        shapes = {"boxes": (self.top_k, 4), "scores": (self.top_k,)}
        if self.embedding_dim is not None:
            shapes["embeddings"] = (self.top_k, self.embedding_dim)
        return [
            {"name": name, "data_type": Word("TYPE_FP32"), "dims": self.shape(*shape)}
            for name, shape in shapes.items()
        ]


def write_triton_repository(
    models: Sequence[str | Path], folder: Path, options: TritonOptions = TritonOptions()
) -> list[Path]:
    """Write a model repository that Triton serves as it is, with a compose file and a manifest.

    Args:
        models: one ONNX model; or plans of one network, each for another compute capability.
        folder: the repository; other models in it stay.
        options: how it is served.

    Returns:
        The files that were written.

    Raises:
        ConfigError: Triton cannot serve such a model; the message names the command that mends it.
        SessionError, PlanMismatchError: a model cannot be read.
        OutputError: the repository cannot be written.
    """
    _check_options(options)
    opened = [Model(model) for model in models]
    kinds = {model.kind for model in opened}
    if kinds == {FileKind.PLAN}:
        plans = [(model, model.plan.sidecar) for model in opened]
        network = _same([_plan_network(model, sidecar, options) for model, sidecar in plans])
        backend: dict[str, Any] = {"platform": "tensorrt_plan"}
        backend |= _capabilities(plans)
        names = list(backend.get("cc_model_filenames", {}).values()) or ["model.plan"]
        contents = dict(zip(names, (model.path for model in opened), strict=True))
        contents |= {
            sidecar_path(Path(name)).name: sidecar_path(path) for name, path in contents.items()
        }
    elif kinds == {FileKind.ONNX} and len(opened) == 1:
        network = _onnx_network(opened[0], options)
        python = options.runtime == "python"
        backend = {"backend": "python"} if python else {"platform": "onnxruntime_onnx"}
        weights = opened[0].files[1:]  # kept in files of their own; the model knows their names
        contents = {"model.onnx": opened[0].path, **{path.name: path for path in weights}}
    else:
        raise ConfigError(
            f"{', '.join(str(model.path) for model in opened)}: expected one ONNX model, or plans "
            "of one network; write each network into the repository by a command of its own"
        )
    if options.runtime == "python" and kinds == {FileKind.PLAN}:
        raise ConfigError("the Python backend serves ONNX models; leave --runtime out for plans")
    writer = _Writer(folder, options, network)
    writer.network(backend, contents, gpu=kinds == {FileKind.PLAN})
    if options.input != "float32":
        writer.images()
    writer.manifests(gpu=kinds == {FileKind.PLAN})
    return writer.written


def _check_options(options: TritonOptions) -> None:
    if not options.name or set(options.name) - set(_SAFE) or options.name[0] in ".-":
        raise ConfigError(
            f"name {options.name!r}: expected letters, digits, '-', '_' and '.', as it is part of "
            "the address and the name of a folder"
        )
    for name, low in (("version", 1), ("max_batch", 1), ("instances", 1), ("queue_delay_us", 0)):
        if getattr(options, name) < low:
            raise ConfigError(f"{name}: expected {low} or more, got {getattr(options, name)}")


def _onnx_network(model: Model, options: TritonOptions) -> _Network:
    batch = model.onnx.input_shape[0]
    if batch not in (1, -1):
        raise ConfigError(
            f"{model.path}: takes exactly {batch} images at a time, which no client sends; export "
            "it again with: jdetrt export CHECKPOINT -o MODEL.onnx --dynamic-batch"
        )
    return _network(model, options.max_batch if batch == -1 else 0)


def _plan_network(model: Model, sidecar: Sidecar, options: TritonOptions) -> _Network:
    batch = sidecar.inputs[0].shape[0]
    if batch not in (1, -1):
        raise ConfigError(
            f"{model.path}: takes exactly {batch} images at a time; build it again from a model "
            f"of `jdetrt export --dynamic-batch` with: jdetrt build MODEL.onnx -o {model.path} "
            f"--batch 1:{batch}:{batch}"
        )
    for spec in (*sidecar.inputs, *sidecar.outputs):
        if spec.dtype != "float32":
            raise ConfigError(f"{model.path}: '{spec.name}' is {spec.dtype}, expected float32")
    return _network(model, min(options.max_batch, sidecar.options.batch[2]) if batch == -1 else 0)


def _network(model: Model, max_batch: int) -> _Network:
    metadata, size = model.metadata, model.size
    missing = [name for name in ("top_k", "width", "height") if name not in metadata]
    if missing or size is None:
        raise ConfigError(
            f"{model.path}: its metadata do not say {', '.join(missing) or 'its size'}, and a "
            "client asks the server for them; export it again with: jdetrt export CHECKPOINT -o "
            "MODEL.onnx"
        )
    dim = metadata.get("embedding_dim")
    return _Network(size, int(metadata["top_k"]), int(dim) if dim else None, max_batch, metadata)


def _same(networks: Sequence[_Network]) -> _Network:
    first = networks[0]
    for other in networks[1:]:
        same = ("size", "top_k", "embedding_dim", "max_batch")
        if any(getattr(first, name) != getattr(other, name) for name in same) or (
            first.metadata.get("checkpoint_sha256") != other.metadata.get("checkpoint_sha256")
        ):
            raise ConfigError(
                "the plans are of different networks, sizes or batches; one served model is one "
                "network, built for several kinds of GPU"
            )
    return first


def _capabilities(plans: Sequence[tuple[Model, Sidecar]]) -> dict[str, Any]:
    """Which plan is for which compute capability; nothing for a single plan."""
    if len(plans) == 1:
        return {}
    names: dict[str, str] = {}
    for model, sidecar in plans:
        capability = sidecar.host.compute_capability
        if capability is None or capability in names:
            raise ConfigError(
                f"{model.path}: is "
                + ("built for no GPU in particular" if capability is None else "the second plan")
                + (f" for compute capability {capability}" if capability else "")
                + "; Triton tells plans of one model apart by compute capability"
            )
        names[capability] = f"model-{capability}.plan"
    return {"cc_model_filenames": names}


class _Writer:
    """Writes the files of one served model."""

    def __init__(self, folder: Path, options: TritonOptions, network: _Network) -> None:
        self.written: list[Path] = []
        self._folder = folder
        self._options = options
        self._network = network

    def network(self, backend: dict[str, Any], contents: dict[str, Path], *, gpu: bool) -> None:
        """The network itself; behind an ensemble where clients send images."""
        options, network = self._options, self._network
        name = options.name if options.input == "float32" else f"{options.name}-network"
        for target, source in contents.items():
            self._copy(source, Path(name, str(options.version), target))
        python = backend.get("backend") == "python"
        if python:
            self._template("network.py.txt", Path(name, str(options.version), "model.py"))
        size = network.size
        images = network.shape(3, *size.shape)
        zeros = {"data_type": Word("TYPE_FP32"), "dims": images, "zero_data": True}
        warm_up = {"key": "images", "value": zeros}
        parameters = {METADATA: msgspec.json.encode(network.metadata).decode()}
        if python:
            parameters["threads"] = str(options.threads)
        elif not gpu and options.threads:
            parameters["intra_op_thread_count"] = str(options.threads)
        outputs = network.outputs()
        outputs[1]["label_filename"] = "labels.txt"
        self._config(
            name,
            {
                **{key: value for key, value in backend.items() if isinstance(value, str)},
                "input": [{"name": "images", "data_type": Word("TYPE_FP32"), "dims": images}],
                "output": outputs,
                "instance_group": [
                    {
                        "count": options.instances,
                        "kind": Word("KIND_GPU" if gpu else "KIND_CPU"),
                    }
                ],
                **self._batching(),
                "model_warmup": [
                    {
                        "name": "zeros",
                        "batch_size": 1,
                        "inputs": warm_up,
                    }
                ],
                "cc_model_filenames": [
                    {"key": capability, "value": file}
                    for capability, file in backend.get("cc_model_filenames", {}).items()
                ],
                "parameters": _parameters(parameters),
            },
        )
        label = label_in(network.metadata)
        self._text(Path(name, "labels.txt"), f"{label.name if label else 'person'}\n")

    def images(self) -> None:
        """The step from images to the network's input, and the ensemble that clients ask."""
        options, network = self._options, self._network
        names = [f"{options.name}-{part}" for part in ("image", "network")]
        version = str(options.version)
        height, width = network.size.shape
        if options.input == "uint8":
            image = {"data_type": Word("TYPE_UINT8"), "dims": network.shape(height, width, 3)}
        else:
            image = {"data_type": Word("TYPE_STRING"), "dims": network.shape(1)}
        image = {"name": "image", **image}
        self._template("image.py.txt", Path(names[0], version, "model.py"))
        self._config(
            names[0],
            {
                "backend": "python",
                "input": [image],
                "output": [
                    {
                        "name": "images",
                        "data_type": Word("TYPE_FP32"),
                        "dims": network.shape(3, height, width),
                    }
                ],
                "instance_group": [{"count": options.instances, "kind": Word("KIND_CPU")}],
                **self._batching(),
            },
        )
        outputs = network.outputs()
        steps = [
            {
                "model_name": names[0],
                "model_version": -1,
                "input_map": [{"key": "image", "value": "image"}],
                "output_map": [{"key": "images", "value": "images"}],
            },
            {
                "model_name": names[1],
                "model_version": -1,
                "input_map": [{"key": "images", "value": "images"}],
                "output_map": [{"key": x["name"], "value": x["name"]} for x in outputs],
            },
        ]
        self._config(
            options.name,
            {
                "platform": "ensemble",
                "input": [image],
                "output": outputs,
                "ensemble_scheduling": {"step": steps},
                "parameters": _parameters(
                    {METADATA: msgspec.json.encode(network.metadata).decode()}
                ),
            },
        )
        self._text(
            Path(options.name, version, "README.txt"), "An ensemble has no file of its own.\n"
        )

    def manifests(self, *, gpu: bool) -> None:
        """The compose file and the Kubernetes manifest, for the repository as a whole."""
        reserved = (
            "    deploy: {resources: {reservations: {devices: "
            "[{driver: nvidia, count: 1, capabilities: [gpu]}]}}}\n"
        )
        values = {
            "tag": self._options.tag,
            "name": self._options.name.lower().replace("_", "-").replace(".", "-"),
            "gpu": reserved if gpu else "",
            "resources": 'nvidia.com/gpu: "1"' if gpu else 'cpu: "4", memory: 4Gi',
            "queue_us": str(max(1000, 2 * self._options.queue_delay_us)),
        }
        for name in ("compose.yaml", "kubernetes.yaml"):
            self._text(Path(name), Template(template(name)).safe_substitute(values))

    def _batching(self) -> dict[str, Any]:
        most = self._network.max_batch
        if not most:
            return {}
        options = self._options
        powers = (*(size for size in (2, 4, 8, 16, 32, 64) if size < most), most)
        sizes = [size for size in options.preferred or powers if size <= most]
        return {
            "dynamic_batching": {
                **({"preferred_batch_size": sizes} if sizes else {}),
                "max_queue_delay_microseconds": options.queue_delay_us,
                # Of a camera's frames the newest matters: a long queue is refused, not worked off.
                "default_queue_policy": {"max_queue_size": 16 * most},
            }
        }

    def _config(self, name: str, fields: dict[str, Any]) -> None:
        head = {"name": name, "max_batch_size": self._network.max_batch}
        present = {key: value for key, value in fields.items() if value != []}
        self._text(Path(name, "config.pbtxt"), pbtxt({**head, **present}))

    def _template(self, name: str, path: Path) -> None:
        self._text(path, template(name))

    def _text(self, path: Path, text: str) -> None:
        write_text(self._folder / path, text)
        self.written.append(self._folder / path)

    def _copy(self, source: Path, path: Path) -> None:
        copy_file(source, self._folder / path)
        self.written.append(self._folder / path)


def _parameters(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]
