"""``jdetrt export``: a checkpoint to an ONNX model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars, phase
from jdetrt.cli.results import plural, shapes
from jdetrt.config import ExportConfig
from jdetrt.errors import CheckpointError, ConfigError, requiring

if TYPE_CHECKING:
    from jdetrt.export.autocast import Autocast
    from jdetrt.export.onnx_writer import Exported
    from jdetrt.size import Size

_CHECKPOINT_OPTIONS = (
    *("size", "trained_size", "top_k", "dynamic_batch", "half_weights", "tracker"),
)


@click.command(cls=opt.Command, renamed={"--frames": "--source"})
@opt.CHECKPOINT
@opt.output("The ONNX model to write.")
@opt.SIZE
@opt.TRAINED_SIZE
@opt.TOP_K
@opt.flag("--dynamic-batch", "Let the model take any number of images.")
@opt.choice(
    "--precision",
    "Precision that the network computes in; decoding, inputs and outputs stay float32.",
    ["fp32", "fp16"],
    default=ExportConfig().precision,
)
@opt.flag(
    "--half-weights",
    "Store convolution weights rounded to float16, which halves the file; the model still "
    "computes in float32 (unlike --precision fp16).",
)
@opt.file(
    "--tracker",
    "Tracker settings (TOML) to store in the model, for every command that tracks with it. "
    "Default: those that the checkpoint records.",
)
@opt.source(
    "--source",
    "Video or images to compare ONNX Runtime with torch on (the first 4 frames of each). "
    "Default: synthetic images.",
    to="sources",
    multiple=True,
)
@click.pass_context
def command(
    context: click.Context,
    checkpoint: Path,
    output: Path,
    size: Size | None,
    trained_size: Size | None,
    top_k: int,
    dynamic_batch: bool,
    precision: Literal["fp32", "fp16"],
    half_weights: bool,
    tracker: Path | None,
    sources: tuple[str, ...],
) -> None:
    """Export a checkpoint as an ONNX model that includes decoding.

    The model is written only if ONNX Runtime gives the same numbers as torch.

    With --precision fp16, CHECKPOINT may also be a float32 ONNX model, which NVIDIA ModelOpt
    AutoCast converts (extra: autocast).
    """
    with requiring("export", "Exporting a network"):
        from jdetrt.export.autocast import autocast
        from jdetrt.file_kind import FileKind, kind_of
        from jdetrt.functions.tasks import export_onnx, first_images
    refuse_collisions(
        {
            "CHECKPOINT": [checkpoint],
            "--tracker": [tracker] if tracker else (),
            "--source": itertools.chain.from_iterable(map(source_files, sources)),
        },
        {"--output": output},
    )
    if precision == "fp16" and kind_of(checkpoint, CheckpointError) is FileKind.ONNX:
        _refuse_checkpoint_options(context)
        with ProgressBars() as bars, phase(bars, "Converting and comparing"):
            converted = autocast(checkpoint, output, first_images(sources))
        click.echo(_autocast_summary(converted))
        return
    with ProgressBars() as bars, phase(bars, "Exporting and comparing"):
        exported = export_onnx(
            checkpoint,
            output,
            size=size,
            trained_size=trained_size,
            top_k=top_k,
            dynamic_batch=dynamic_batch,
            precision=precision,
            half_weights=half_weights,
            tracker=tracker,
            sources=sources,
        )
    click.echo(_summary(exported))


def _refuse_checkpoint_options(context: click.Context) -> None:
    for name in _CHECKPOINT_OPTIONS:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ConfigError(
                f"--{name.replace('_', '-')} needs a checkpoint: it cannot be changed in an ONNX "
                "model. Export the checkpoint, or leave the option out"
            )


def _count(frames: int, *, real: bool) -> str:
    return plural(frames, "frame" if real else "synthetic image")


def _summary(exported: Exported) -> str:
    info, parity = exported.checkpoint, exported.parity
    identities = f", {plural(info.identities, 'identity', 'identities')}" if info.identities else ""
    weights = (
        ("  weights  convolution weights rounded to float16, in torch as well",)
        if exported.half_weights
        else ()
    )
    if exported.precision == "fp16":
        weights = ("  network  float16; decoding, inputs and outputs float32",)
    anchors: tuple[str, ...] = ()
    if exported.anchored:
        anchors = ("  anchors  for {}x{}".format(*exported.anchor_size),)
    return "\n".join(
        (
            f"{exported.path}: {exported.bytes / 1e6:.1f} MB, sha256 {exported.sha256}",
            f"  from     {info.kind} checkpoint, {info.config.body}, {info.keys} tensors"
            f"{identities}",
            *weights,
            f"  input    {shapes(exported.inputs)}",
            f"  outputs  {shapes(exported.outputs)}",
            *anchors,
            "  parity   ONNX Runtime against torch on "
            f"{_count(parity.frames, real=exported.real_frames)}: boxes {parity.boxes_px:.1e} px, "
            f"scores {parity.scores:.1e}, embeddings {parity.embeddings:.1e} (1 - cosine)",
        )
    )


def _autocast_summary(made: Autocast) -> str:
    comparison = made.comparison
    images = _count(comparison.frames, real=made.real_frames)
    return "\n".join(
        (
            f"{made.path}: {made.bytes / 1e6:.1f} MB, sha256 {made.sha256}",
            f"  tool     NVIDIA ModelOpt AutoCast, {made.in_float16} of {made.convolutions} "
            "convolutions in float16, decoding in float32",
            f"  parity   with the float32 model on {images}: boxes "
            f"{comparison.boxes_px.max:.1e} px, scores {comparison.scores.max:.1e}",
        )
    )
