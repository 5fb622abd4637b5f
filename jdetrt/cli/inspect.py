"""``jdetrt inspect``: what a checkpoint or a model file holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from jdetrt.cli.models import missing, shapes
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    from jdetrt.export.describe import CheckpointContent, OnnxContent


@click.command()
@click.argument("file", type=resolve_checkpoint)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, as_json: bool) -> None:
    """Say what a checkpoint or an ONNX model holds.

    The kind of FILE is told by its content, not by its name. Of what ships, nano is the checkpoint
    and nano:WxH a model of that size (files of these names are ./nano and so on).
    """
    from jdetrt.export.describe import CheckpointContent, describe

    try:
        content = describe(file)
    except ModuleNotFoundError as err:
        raise missing(err, "Inspecting a checkpoint") from err
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(asdict(content)), indent=2))
    elif isinstance(content, CheckpointContent):
        click.echo(_checkpoint(content))
    else:
        click.echo(_onnx(content))


def _checkpoint(content: CheckpointContent) -> str:
    info = content.info
    size = "not recorded" if info.config.size is None else "{}x{}".format(*info.config.size)
    lines = [
        f"{content.path}: {info.kind} checkpoint, {content.bytes / 1e6:.1f} MB",
        f"  network     {info.config.body}, embeddings of {info.config.embedding_dim}, "
        f"{content.parameters / 1e6:.2f} M parameters",
        f"  tensors     {info.keys}",
        f"  trained at  {size}",
        f"  identities  {'not recorded' if info.identities is None else info.identities}",
    ]
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
        lines.append("  operators   not counted: that needs the Python package 'onnx'")
    else:
        operators = ", ".join(f"{kind} {count}" for kind, count in content.operators.items())
        lines.append(f"  operators   {operators}")
    lines.append(f"  sha256      {content.sha256}")
    if content.metadata:
        lines.append("  metadata")
        width = max(map(len, content.metadata))
        lines += [f"    {key:<{width}}  {value}" for key, value in content.metadata.items()]
    return "\n".join(lines)
