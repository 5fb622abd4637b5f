"""``jdetrt export``: a checkpoint becomes an ONNX model."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from jdetrt.cli.models import missing, shapes
from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.cli.settings import read_tracker_settings
from jdetrt.config import TOP_K_LIMIT, ExportConfig
from jdetrt.errors import CheckpointError, ConfigError
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    from jdetrt.export.autocast import Autocast
    from jdetrt.export.onnx_writer import Exported

_FRAMES_OF_A_SOURCE = 4
_NOT_OF_A_MODEL = ("size", "trained_size", "top_k", "dynamic_batch", "half_weights", "tracker")


def parse_size(text: str) -> tuple[int, int]:
    """Turn ``"1088x608"`` into ``(1088, 608)``; raises click.BadParameter."""
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if found is None:
        raise click.BadParameter(f"'{text}' is not WIDTHxHEIGHT, for example 1088x608")
    return int(found[1]), int(found[2])


@click.command()
@click.argument("checkpoint", type=resolve_checkpoint)
@click.option("-o", "--output", required=True, metavar="FILE", help="The ONNX model to write.")
@click.option(
    "--size",
    type=parse_size,
    metavar="WxH",
    help="Network width and height, multiples of 32; default: what the checkpoint records.",
)
@click.option(
    "--trained-size",
    type=parse_size,
    metavar="WxH",
    help="Size whose anchors the network was trained with, where the checkpoint records none "
    "and it is not --size.",
)
@click.option(
    "--top-k",
    type=click.IntRange(1, TOP_K_LIMIT),
    default=ExportConfig().top_k,
    show_default=True,
    help="Candidates that the model gives.",
)
@click.option("--dynamic-batch", is_flag=True, help="Leave the number of pictures free.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default=ExportConfig().precision,
    show_default=True,
    help="What the network computes in; decoding, inputs and outputs stay float32.",
)
@click.option(
    "--half-weights",
    is_flag=True,
    help="Round the weights of convolutions to float16 and store them so, for a file of half the "
    "size; the model still computes in float32 (--precision fp16 is another thing).",
)
@click.option(
    "--tracker",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings of the tracker (TOML) that travel with the model, for every command that tracks "
    "with it; default: what the checkpoint records.",
)
@click.option(
    "--frames",
    multiple=True,
    metavar="SOURCE",
    help="Pictures or video to compare ONNX Runtime with torch on; default: synthetic pictures.",
)
@click.pass_context
def command(
    context: click.Context,
    checkpoint: Path,
    output: str,
    size: tuple[int, int] | None,
    trained_size: tuple[int, int] | None,
    top_k: int,
    dynamic_batch: bool,
    precision: Literal["fp32", "fp16"],
    half_weights: bool,
    tracker: Path | None,
    frames: tuple[str, ...],
) -> None:
    """Turn a torch checkpoint into an ONNX model with decoding in its graph.

    CHECKPOINT is a .safetensors file of jdetrt, a .pt file of the reference implementation or a
    Darknet .weights file; or nano, which ships (a file of that name is ./nano). The model is
    written only after ONNX Runtime gave the same numbers as torch.

    Where the checkpoint is not at hand, --precision fp16 also takes an ONNX model in float32, by
    NVIDIA ModelOpt AutoCast (the extra 'autocast').
    """
    try:
        from jdetrt.export.autocast import autocast
        from jdetrt.export.onnx_writer import export_onnx
        from jdetrt.file_kind import FileKind, kind_of
    except ModuleNotFoundError as err:
        raise missing(err, "Exporting a network") from err
    refuse_collisions(
        {
            "CHECKPOINT": [checkpoint],
            "--tracker": [tracker] if tracker else (),
            "--frames": itertools.chain.from_iterable(map(source_files, frames)),
        },
        {"--output": Path(output)},
    )
    if precision == "fp16" and kind_of(checkpoint, CheckpointError) is FileKind.ONNX:
        _refuse_options_of_checkpoints(context)
        click.echo(_autocast_summary(autocast(checkpoint, output, _pictures(frames))))
        return
    config = ExportConfig(
        size=size,
        top_k=top_k,
        dynamic_batch=dynamic_batch,
        precision=precision,
        half_weights=half_weights,
    )
    exported = export_onnx(
        checkpoint,
        output,
        config,
        trained_size=trained_size,
        tracker=read_tracker_settings(tracker) if tracker else None,
        frames=_pictures(frames),
    )
    click.echo(_summary(exported))


def _refuse_options_of_checkpoints(context: click.Context) -> None:
    for name in _NOT_OF_A_MODEL:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ConfigError(
                f"--{name.replace('_', '-')} is for checkpoints; an ONNX model keeps what it was "
                "exported with. Export the checkpoint, or leave the option out"
            )


def _pictures(sources: tuple[str, ...]) -> list[Any]:
    from jdetrt.runtime.sources.open import open_source

    pictures = []
    for uri in sources:
        with open_source(uri) as source:
            pictures += [frame.image for frame in itertools.islice(source, _FRAMES_OF_A_SOURCE)]
    return pictures


def _summary(exported: Exported) -> str:
    info, parity = exported.checkpoint, exported.parity
    pictures = f"{parity.frames} {'frames' if exported.real_frames else 'synthetic pictures'}"
    identities = f", {info.identities} identities" if info.identities else ""
    weights = (
        ("  weights  of convolutions rounded to float16, in torch too, and stored so",)
        if exported.half_weights
        else ()
    )
    if exported.precision == "fp16":
        weights = ("  network  in float16; decoding, inputs and outputs in float32",)
    return "\n".join(
        (
            f"{exported.path}: {exported.bytes / 1e6:.1f} MB, sha256 {exported.sha256}",
            f"  from     {info.kind} checkpoint, {info.config.body}, {info.keys} tensors"
            f"{identities}",
            *weights,
            f"  input    {shapes(exported.inputs)}",
            f"  outputs  {shapes(exported.outputs)}",
            f"  anchors  of {exported.anchor_size[0]}x{exported.anchor_size[1]}",
            f"  parity   ONNX Runtime against torch on {pictures}: boxes {parity.boxes_px:.1e} px, "
            f"scores {parity.scores:.1e}, embeddings {parity.embeddings:.1e} (1 - cosine)",
        )
    )


def _autocast_summary(made: Autocast) -> str:
    found = made.comparison
    pictures = f"{found.frames} {'frames' if made.real_frames else 'synthetic pictures'}"
    return "\n".join(
        (
            f"{made.path}: {made.bytes / 1e6:.1f} MB, sha256 {made.sha256}",
            f"  by       NVIDIA ModelOpt AutoCast, {made.in_float16} of {made.convolutions} "
            "convolutions in float16, decoding in float32",
            f"  parity   with the model that it was made from, on {pictures}: boxes "
            f"{found.boxes_px.max:.1e} px, scores {found.scores.max:.1e}",
        )
    )
