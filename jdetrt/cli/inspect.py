"""``jdetrt inspect``: describe a checkpoint, a model or a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.cli.results import shapes, write_json
from jdetrt.errors import requiring
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.describe import PlanContent
    from jdetrt.engine.tensorrt.layers import Layer
    from jdetrt.export.describe import CheckpointContent, OnnxContent
    from jdetrt.types import TensorSpec


@click.command(cls=opt.Command)
@click.argument(
    "file",
    type=resolve_checkpoint,
    shell_complete=opt.complete_model,
    help="A checkpoint, an ONNX model or a TensorRT plan, identified by its content, not its name. "
    "Built in: nano is the checkpoint, nano:WxH an ONNX model of that size.",
)
@opt.JSON
def command(file: Path, json_path: Path | None) -> None:
    """Describe a checkpoint, an ONNX model or a TensorRT plan.

    For a plan, every layer is listed with its data types and its tactic.
    """
    from jdetrt.engine.tensorrt.describe import describe_plan
    from jdetrt.file_check import check
    from jdetrt.file_kind import FileKind

    refuse_collisions({"FILE": model_files(file)}, {"--json": json_path})
    if check(file, "inspect") is FileKind.PLAN:
        plan = describe_plan(file)
        _show(_plan(plan), json_path)
        write_json(plan, json_path)
        return
    with requiring("export", "Inspecting a checkpoint"):
        from jdetrt.export.describe import CheckpointContent, describe

        content = describe(file)
        words = _checkpoint(content) if isinstance(content, CheckpointContent) else _onnx(content)
    _show(words, json_path)
    write_json(msgspec.to_builtins(asdict(content)), json_path)


def _show(words: str, json_path: Path | None) -> None:
    if json_path != opt.STDOUT:
        click.echo(words)


def _checkpoint(content: CheckpointContent) -> str:
    info = content.info
    size = "not recorded" if info.config.size is None else "{}x{}".format(*info.config.size)
    lines = [
        f"{content.path}: {info.kind} checkpoint, {content.bytes / 1e6:.1f} MB",
        f"  network     {info.config.body}, {info.config.embedding_dim}-dimensional embeddings, "
        f"{content.parameters / 1e6:.2f} M parameters",
        f"  tensors     {info.keys}",
        f"  trained at  {size}",
        f"  identities  {'not recorded' if info.identities is None else info.identities}",
    ]
    if info.config.tracker is not None:
        lines.append(f"  tracker     {msgspec.json.encode(info.config.tracker).decode()}")
    if info.epoch is not None:
        lines.append(f"  epoch       {info.epoch}")
    if not info.complete:
        lines.append("  note        the body alone (layers 0-74): for training, not for export")
    return "\n".join([*lines, f"  sha256      {content.sha256}"])


def _onnx(content: OnnxContent) -> str:
    lines = [
        f"{content.path}: ONNX model, {content.bytes / 1e6:.1f} MB",
        f"  inputs      {shapes(content.inputs)}",
        f"  outputs     {shapes(content.outputs)}",
    ]
    if content.parameters is not None:
        lines.append(f"  parameters  {content.parameters / 1e6:.2f} M")
    if content.opsets is not None:
        opsets = ", ".join(f"{domain} {version}" for domain, version in content.opsets.items())
        lines.append(f"  opset       {opsets} (by {content.producer or 'an unknown program'})")
    if content.operators is None:
        lines.append("  operators   not counted: the Python package 'onnx' is not installed")
    else:
        operators = ", ".join(f"{kind} {count}" for kind, count in content.operators.items())
        lines.append(f"  operators   {operators}")
    lines.append(f"  sha256      {content.sha256}")
    return "\n".join([*lines, *_metadata(content.metadata)])


def _metadata(metadata: Mapping[str, str]) -> Iterator[str]:
    if not metadata:
        return
    yield "  metadata"
    width = max(map(len, metadata))
    for key, value in metadata.items():
        yield f"    {key:<{width}}  {value}"


def _plan(content: PlanContent) -> str:
    lines = [f"{content.path}: TensorRT plan, {content.bytes / 1e6:.1f} MB"]
    made, compiled = content.sidecar, content.compiled
    if made is not None:
        lines += [
            f"  built by      {made.host}",
            f"  model         {made.model.name}, sha256 {made.model.sha256}",
            f"  precision     {made.precision}, {made.typing} typing",
            f"  inputs        {shapes(made.inputs)}",
            f"  outputs       {shapes(made.outputs)}",
        ]
    lines.append(f"  sha256        {content.sha256}")
    if compiled is not None:
        if compiled.activations is not None:
            lines.append(f"  activations   {compiled.activations / 1e6:.1f} MB of GPU memory")
        if compiled.weights is not None:
            lines.append(f"  weights       {compiled.weights / 1e6:.1f} MB")
        convolutions = sorted(compiled.convolutions.items(), key=lambda item: -item[1])
        counts = ", ".join(f"{count} in {kind}" for kind, count in convolutions)
        lines.append(f"  convolutions  {counts or 'not reported'}")
        if compiled.moved is not None:
            lines.append(f"  moved         {compiled.moved / 1e6:.1f} MB read and written in a run")
        lines.append(f"  layers        {len(compiled.layers)}, reported by the {compiled.source}")
    if content.note:
        lines.append(f"  note          {content.note}")
    if made is not None:
        lines += _metadata(made.metadata)
    if compiled is not None:
        lines += _layer_table(compiled.layers)
    return "\n".join(lines)


def _layer_table(layers: tuple[Layer, ...]) -> Iterator[str]:
    """One line per layer, however long: for search and for other programs."""
    rows: list[tuple[str, ...]] = [("", "in", "weights", "out", "kind", "layer", "tactic")]
    for number, layer in enumerate(layers, start=1):
        types = (_types(tensors) for tensors in (layer.inputs, layer.weights, layer.outputs))
        rows.append((str(number), *types, layer.kind, _layer_name(layer), layer.tactic))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(cells)}".rstrip()


def _layer_name(layer: Layer) -> str:
    """A graph node that the layer computes, which says more than TensorRT's own name."""
    if not layer.nodes:
        return layer.name
    convolutions = [node for node in layer.nodes if layer.convolution and "/Conv" in node]
    name = [*convolutions, *layer.nodes][0]
    others = len(layer.nodes) - 1
    return name + (f" and {others} more" if others else "")


def _types(tensors: tuple[TensorSpec, ...]) -> str:
    return ",".join(dict.fromkeys(tensor.dtype for tensor in tensors)) or "-"
