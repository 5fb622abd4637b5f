"""Options and arguments that commands share, each declared once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from jdetrt.cli.options.kinds import choice, file, flag, number, option, share, source
from jdetrt.cli.options.values import (
    STDOUT,
    complete_file,
    complete_model,
    names,
    parse_label,
    parse_size,
    to_stdout,
)
from jdetrt.config import PRESETS, TOP_K_LIMIT, ExportConfig
from jdetrt.shipped import resolve, resolve_checkpoint

__all__ = [
    "ADDRESS",
    "ANY_MODEL",
    "BACKEND",
    "CHECKPOINT",
    "CUDA_GRAPH",
    "DATA",
    "DEVICE",
    "JSON",
    "LABEL",
    "MIN_VISIBILITY",
    "MODEL",
    "ONNX_MODEL",
    "OPTIMIZATION_LEVEL",
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
    "THREADS",
    "TOP_K",
    "TRAINED_SIZE",
    "VIDEO",
    "WARM_UP",
    "WORKERS",
    "batch",
    "epochs",
    "max_frames",
    "seed",
]

JSON = option(
    "--json",
    "Write the result to FILE as JSON; `-` writes it to stdout and everything else to stderr.",
    to="json_path",
    metavar="FILE|-",
    is_flag=False,
    flag_value=str(STDOUT),
    callback=to_stdout,
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show no progress and no summary.")
SIZE = option(
    "--size",
    "Network input size, multiples of 32 (checkpoints only). Default: the size that the "
    "checkpoint records.",
    type=parse_size,
    metavar="WxH",
)
TRAINED_SIZE = option(
    "--trained-size",
    "Size that a checkpoint was trained at, if it does not record it and it is not that of "
    "the network input (checkpoints of the reference implementation).",
    type=parse_size,
    metavar="WxH",
)
THREADS = number("--threads", "Number of CPU threads. Default: one per physical core.", most=1024)


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


DEVICE = number(
    "--device",
    "Use this NVIDIA GPU, by its number in nvidia-smi. Default: the first.",
    least=0,
    expose_value=False,
    is_eager=True,
    callback=_choose_gpu,
)
PROVIDER = choice(
    "--provider",
    "ONNX Runtime execution provider.",
    ["auto", "cpu", "cuda", "tensorrt"],
    default="auto",
)
BACKEND = choice(
    "--backend",
    "Runtime for the network; auto uses TensorRT for plans and ONNX Runtime for ONNX models. "
    "With tensorrt, an ONNX model's plan is taken from the cache folder or built first.",
    ["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"],
    default="auto",
)
CUDA_GRAPH = option(
    "--cuda-graph/--no-cuda-graph",
    "Run a plan as a CUDA graph, to save CPU time. Default: wherever the driver allows it.",
    default=None,
)
PRESET = choice(
    "--preset", "Association preset. Default: the model's own, otherwise fused.", PRESETS
)
RULES = choice(
    "--rules",
    "Benchmark whose rules say which ground-truth classes to ignore; auto decides by the "
    "class column and the sequence name.",
    ["auto", "MOT15", "MOT16", "MOT17", "MOT20"],
    default="auto",
)
MODEL = option(
    "--model",
    "An ONNX model, a TensorRT plan, or the built-in nano or nano:WxH.",
    type=resolve,
    metavar="MODEL",
    required=True,
    shell_complete=complete_model,
)
ONNX_MODEL = click.argument(
    "model",
    type=resolve,
    shell_complete=complete_model,
    help="An ONNX model from `jdetrt export`, or the built-in nano or nano:WxH. For a file "
    "called nano, write ./nano.",
)
TOP_K = number(
    "--top-k",
    "Number of candidates that an exported model outputs per image.",
    most=TOP_K_LIMIT,
    default=ExportConfig().top_k,
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
LABEL = option(
    "--label",
    "Class to take instead of people, by its number in the labels and its name, such as 2:car.",
    type=parse_label,
    metavar="ID:NAME",
)
DATA = source(
    "--data",
    "Data set to train on: a MOT sequence, a folder of sequences, a folder with images and "
    "labels (JDE or YOLO), a list of images, or COCO annotations; may be repeated.",
    metavar="PATH",
    multiple=True,
)
SEQUENCES = option(
    "--sequences",
    "Use only these sequences; comma-separated names.",
    type=names,
    metavar="NAME,...",
)
ROOT = file("--root", "Base folder of the paths in image lists.", metavar="DIR")
MIN_VISIBILITY = share(
    "--min-visibility",
    "Ignore people of MOT sequences who are less visible than this.",
    default=0.0,
    metavar="SHARE",
)
VIDEO = flag("--video", "Also draw the tracks and encode a video (MOT text is always written).")
OPTIMIZATION_LEVEL = number(
    "--optimization-level",
    "How long to search for fast kernels. Default: TensorRT's own.",
    least=0,
    most=5,
    metavar="0-5",
)
REPEATS = number("--repeats", "Number of times to repeat the measurement.", default=3)
WARM_UP = number("--warm-up", "Number of frames to run before the timed ones.", default=20)
WORKERS = number(
    "--workers",
    "Number of processes that share the recordings of a manifest, by Ray. Default: 1, without "
    "Ray; with --address, as many as the cluster has room for.",
    most=4096,
)
ADDRESS = option(
    "--address",
    "Use the workers of a Ray cluster that is running (auto: of the one on this machine), which "
    "sees the same files under the same paths.",
    metavar="HOST:PORT",
)


def batch(help: str, default: int | None = 1) -> Callable[[Any], Any]:
    """``--batch``, a number of images in every command."""
    return number("--batch", help, default=default)


def epochs(help: str, default: int | None = None) -> Callable[[Any], Any]:
    """``--epochs``, a number of epochs in every command."""
    return number("--epochs", help, default=default)


def max_frames(help: str, default: int | None = None, least: int = 1) -> Callable[[Any], Any]:
    """``--max-frames``, a number of frames in every command."""
    return number("--max-frames", help, least=least, default=default)


def seed(subject: str) -> Callable[[Any], Any]:
    """``--seed``; ``subject`` is what the random numbers are for."""
    return number("--seed", f"Random seed for {subject}.", least=0, default=0)
