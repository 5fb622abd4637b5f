"""``jdetrt inspect``: describe a checkpoint, a model or a plan."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from jdetrt.cli import options as opt
from jdetrt.cli.inspect.plan import beside_words, metadata_lines, plan_words
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.cli.results import shapes, write_json
from jdetrt.errors import ConfigError, requiring
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    from jdetrt.export.describe import CheckpointContent, OnnxContent


@click.command(cls=opt.Command)
@click.argument(
    "file",
    type=resolve_checkpoint,
    shell_complete=opt.complete_model,
    help="A checkpoint, an ONNX model or a TensorRT plan, identified by its content, not its name. "
    "Built in: nano is the checkpoint, nano:WxH an ONNX model of that size.",
)
@opt.file(
    "--beside",
    "Another plan to compare a plan with, such as the FP16 plan of the same model.",
    metavar="PLAN",
)
@opt.JSON
@opt.DEVICE
def command(file: Path, beside: Path | None, json_path: Path | None) -> None:
    """Describe a checkpoint, an ONNX model or a TensorRT plan.

    For a plan, every layer is listed with its data types and its tactic and, on a machine with its
    GPU, its time.
    """
    from jdetrt.engine.tensorrt.describe import describe_plan
    from jdetrt.file_check import check
    from jdetrt.file_kind import FileKind

    others = {"--beside": model_files(beside)} if beside else {}
    refuse_collisions({"FILE": model_files(file), **others}, {"--json": json_path})
    kinds = [check(path, "inspect") for path in (file, beside) if path is not None]
    if beside is not None and set(kinds) != {FileKind.PLAN}:
        raise ConfigError(f"--beside {beside}: compares two plans; FILE and PLAN must be plans")
    if kinds[0] is FileKind.PLAN:
        plan = describe_plan(file, timed=True)
        _show(plan_words(plan), json_path)
        if beside is None:
            write_json(plan, json_path)
            return
        other = describe_plan(beside, timed=True)
        _show(beside_words(plan, other), json_path)
        write_json({**asdict(plan), "beside": asdict(other)}, json_path)
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
    return "\n".join([*lines, *metadata_lines(content.metadata)])
