"""Options that commands share, each defined once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from jdetrt.cli.command import Command, Group
from jdetrt.config import PRESETS, LabelConfig
from jdetrt.engine.triton_url import is_triton_url
from jdetrt.errors import DataError
from jdetrt.shipped import NANO, resolve, resolve_checkpoint, sizes
from jdetrt.types import Size

__all__ = [
    "ANY_MODEL",
    "BACKEND",
    "CHECKPOINT",
    "CUDA_GRAPH",
    "DATA",
    "DEVICE",
    "FILE",
    "FRACTION",
    "JSON",
    "LABEL",
    "MIN_VISIBILITY",
    "MODEL",
    "PATHS",
    "PRESET",
    "PROVIDER",
    "QUIET",
    "REPEATS",
    "ROOT",
    "RULES",
    "SEQUENCES",
    "SIZE",
    "SOURCE",
    "STDOUT",
    "THREADS",
    "TRAINED_SIZE",
    "VIDEO",
    "WARM_UP",
    "WORSE",
    "Command",
    "Group",
    "batch",
    "complete_file",
    "complete_model",
    "epochs",
    "max_frames",
    "model_or_address",
    "names",
    "numbers",
    "parse_frame_rate",
    "parse_label",
    "parse_size",
    "parse_sizes",
    "refuse_both",
    "seed",
    "stdout",
    "to_stdout",
]

FILE = click.Path(path_type=Path)
FRACTION = click.FloatRange(0.0, 1.0)
STDOUT = Path("-")  # as the value of --json
WORSE = 3  # exit code of what was done, and is worse than asked for


def parse_size(text: str) -> Size:
    """Read ``1088x608`` and question ``608x1088``; raises click.BadParameter."""
    try:
        size = Size.parse(text)
    except DataError as err:
        raise click.BadParameter(str(err)) from None
    if question := size.question():
        click.echo(question, err=True)
    return size


def parse_frame_rate(text: str) -> float:
    """Read ``25``, ``29.97`` or ``30000/1001``; raises click.BadParameter."""
    from jdetrt.runtime.sources.rate import parse_rate

    try:
        return parse_rate(text)
    except DataError as err:
        raise click.BadParameter(str(err)) from None


def parse_sizes(text: str) -> list[Size]:
    """Read ``1088x608,576x320``; raises click.BadParameter."""
    return [parse_size(part) for part in names(text)]


def names(text: str) -> list[str]:
    """Split comma-separated names."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    """Read ``1,2,4``; raises click.BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected comma-separated numbers, got {text!r}") from None


def complete_file(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a file or folder in the shell."""
    return [CompletionItem(incomplete, type="file")]


def complete_model(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a file or of a built-in model in the shell."""
    built_in = [NANO, *(f"{NANO}:{size}" for size in sizes())]
    return [
        *(CompletionItem(name) for name in built_in if incomplete and name.startswith(incomplete)),
        *complete_file(ctx, param, incomplete),
    ]


def model_or_address(text: str) -> Path | str:
    """The file of a model, or the address of one on Triton as it is. Raises ConfigError."""
    return text if is_triton_url(text) else resolve(text)


def parse_label(text: str) -> LabelConfig:
    """Read ``2:car``; raises click.BadParameter."""
    from jdetrt.documents import convert

    number, _, name = text.partition(":")
    try:
        return convert({"id": int(number), "name": name}, LabelConfig)
    except ValueError:
        raise click.BadParameter(
            f"expected the number and the name of a class, such as 2:car, got {text!r}"
        ) from None


def refuse_both(**given: Any) -> None:
    """Raise click.UsageError where not exactly one of the options has a value.

    Args:
        given: the values by the name of the option.
    """
    if sum(map(bool, given.values())) != 1:
        options = " or ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"Give either {options}.")


def to_stdout(ctx: click.Context, _: click.Parameter, value: str | Path | None) -> Path | None:
    """The path of an output; where it is ``-``, everything else goes to stderr."""
    if value is None:
        return None
    if Path(value) == STDOUT and __name__ not in ctx.meta:
        ctx.meta[__name__] = sys.stdout
        ctx.with_resource(redirect_stdout(sys.stderr))
    return Path(value)


def stdout() -> Any:
    """The standard output, where everything else was sent to stderr by ``-``."""
    return click.get_current_context().meta.get(__name__, sys.stdout)


JSON = click.option(
    "--json",
    "json_path",
    metavar="FILE|-",
    is_flag=False,
    flag_value=str(STDOUT),
    callback=to_stdout,
    help="Write the result to FILE as JSON; `-` writes it to stdout and everything else to stderr.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show no progress and no summary.")
SIZE = click.option(
    "--size",
    type=parse_size,
    metavar="WxH",
    help="Network input size, multiples of 32 (checkpoints only). Default: the size that the "
    "checkpoint records.",
)
TRAINED_SIZE = click.option(
    "--trained-size",
    type=parse_size,
    metavar="WxH",
    help="Size that a checkpoint was trained at, if it does not record it and it is not that of "
    "the network input (checkpoints of the reference implementation).",
)
THREADS = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of CPU threads. Default: one per physical core.",
)


def _choose_gpu(_ctx: click.Context, _param: click.Parameter, number: int | None) -> None:
    """Show this process one GPU alone, before any library looks for them."""
    if number is None:
        return
    shown = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if shown and number >= len(shown):
        raise click.BadParameter(
            f"CUDA_VISIBLE_DEVICES shows {len(shown)} of this machine's GPUs, from 0 on"
        )
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi counts
    os.environ["CUDA_VISIBLE_DEVICES"] = shown[number] if shown else str(number)


DEVICE = click.option(
    "--device",
    type=click.IntRange(0),
    metavar="N",
    expose_value=False,
    is_eager=True,
    callback=_choose_gpu,
    help="Use this NVIDIA GPU, by its number in nvidia-smi. Default: the first.",
)
PROVIDER = click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="ONNX Runtime execution provider.",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="Runtime for the network; auto uses TensorRT for plans and ONNX Runtime for ONNX models. "
    "With tensorrt, an ONNX model's plan is taken from the cache folder or built first.",
)
CUDA_GRAPH = click.option(
    "--cuda-graph",
    is_flag=True,
    help="Replay the plan as a CUDA graph, to save CPU time.",
)
PRESET = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="Association preset. Default: the model's own, otherwise fused.",
)
RULES = click.option(
    "--rules",
    type=click.Choice(["auto", "MOT15", "MOT16", "MOT17", "MOT20"]),
    default="auto",
    show_default=True,
    help="Benchmark whose rules say which ground-truth classes to ignore; auto decides by the "
    "class column and the sequence name.",
)
MODEL = click.option(
    "--model",
    type=resolve,
    metavar="MODEL",
    required=True,
    shell_complete=complete_model,
    help="An ONNX model, a TensorRT plan, or the built-in nano or nano:WxH.",
)
SOURCE = click.argument(
    "source",
    shell_complete=complete_file,
    help="A video, a folder or pattern of images, a MOT sequence, or a camera (camera:0, csi://0, "
    "rtsp://host/stream).",
)
ANY_MODEL = click.argument(
    "model",
    type=resolve_checkpoint,
    shell_complete=complete_model,
    help="A checkpoint (.safetensors, .pt, .weights), an ONNX model or a TensorRT plan. Built in: "
    "nano is a checkpoint, nano:WxH an ONNX model of that size. For a file called nano, write "
    "./nano.",
)
CHECKPOINT = click.argument(
    "checkpoint",
    type=resolve_checkpoint,
    shell_complete=complete_model,
    help="A checkpoint: of jdetrt (.safetensors), of the reference implementation (.pt), a Darknet "
    "weight file (.weights), or the built-in nano. For a file called nano, write ./nano.",
)
PATHS = click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    shell_complete=complete_file,
    help="Data sets: a list of images (one per line, relative to --root), a folder with images/ "
    "and labels_with_ids/, a MOT sequence, a folder of these, or a pattern such as "
    "'train/MOT17-*'.",
)
LABEL = click.option(
    "--label",
    type=parse_label,
    metavar="ID:NAME",
    help="Class to take instead of people, by its number in the labels and its name, such as "
    "2:car.",
)
DATA = click.option(
    "--data",
    metavar="PATH",
    multiple=True,
    shell_complete=complete_file,
    help="Data set to train on: a MOT sequence, a folder of sequences, a folder with images and "
    "labels (JDE or YOLO), a list of images, or COCO annotations; may be repeated.",
)
SEQUENCES = click.option(
    "--sequences",
    type=names,
    metavar="NAME,...",
    help="Use only these sequences; comma-separated names.",
)
ROOT = click.option(
    "--root", type=FILE, metavar="DIR", help="Base folder of the paths in image lists."
)
MIN_VISIBILITY = click.option(
    "--min-visibility",
    type=FRACTION,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Ignore people of MOT sequences who are less visible than this.",
)
VIDEO = click.option(
    "--video",
    is_flag=True,
    help="Also draw the tracks and encode a video (MOT text is always written).",
)
REPEATS = click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of times to repeat the measurement.",
)
WARM_UP = click.option(
    "--warm-up",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="Number of frames to run before the timed ones.",
)


def batch(help: str, default: int | None = 1) -> Callable[[Any], Any]:
    """``--batch``, a number of images in every command."""
    return click.option(
        "--batch",
        type=click.IntRange(1),
        default=default,
        show_default=default is not None,
        metavar="N",
        help=help,
    )


def epochs(help: str, default: int | None = None) -> Callable[[Any], Any]:
    """``--epochs``, a number of epochs in every command."""
    return click.option(
        "--epochs",
        type=click.IntRange(1),
        default=default,
        show_default=default is not None,
        metavar="N",
        help=help,
    )


def max_frames(help: str, default: int | None = None, least: int = 1) -> Callable[[Any], Any]:
    """``--max-frames``, a number of frames in every command."""
    return click.option(
        "--max-frames",
        type=click.IntRange(least),
        default=default,
        show_default=default is not None,
        metavar="N",
        help=help,
    )


def seed(subject: str) -> Callable[[Any], Any]:
    """``--seed``; ``subject`` is what the random numbers are for."""
    return click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="N",
        help=f"Random seed for {subject}.",
    )
