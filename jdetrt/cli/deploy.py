"""``jdetrt deploy``: hand a model over to an engine that serves many clients or streams."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.shipped import resolve

_MODELS = click.argument(
    "models",
    metavar="MODEL...",
    nargs=-1,
    required=True,
    type=resolve,
    shell_complete=opt.complete_model,
    help="An ONNX model from `jdetrt export`, or the built-in nano or nano:WxH; or plans from "
    "`jdetrt build` for several kinds of GPU.",
)


@click.group(cls=opt.Group)
def command() -> None:
    """Write what another inference engine needs to run a model."""


@command.command(cls=opt.Command)
@_MODELS
@opt.output("Model repository to write to; other models in it are kept.", metavar="DIR")
@opt.option("--name", "Name of the served model.", default="jde", metavar="NAME")
@opt.number(
    "--model-version",
    "Version of the served model; a server takes the newest.",
    to="version",
    default=1,
)
@opt.choice(
    "--runtime",
    "auto: TensorRT for plans, the ONNX Runtime backend for ONNX models. python: ONNX Runtime "
    "in the Python backend, for servers without that backend.",
    ["auto", "python"],
    default="auto",
)
@opt.choice(
    "--input",
    "Format that clients send: network inputs, letterboxed images (a quarter of the bytes, the "
    "same result) or JPEG files of these (the fewest bytes).",
    ["float32", "uint8", "jpeg"],
    default="float32",
)
@opt.number("--max-batch", "Largest batch of a model exported with --dynamic-batch.", default=8)
@opt.number(
    "--queue-delay",
    "Longest time in microseconds that a request waits for others to fill a batch. Default: 2000, "
    "or by --sweep.",
    to="queue_delay_us",
    least=0,
    metavar="US",
)
@opt.file(
    "--sweep",
    "Choose the queue delay and preferred batches by a result of `jdetrt bench streams`, or the "
    "queue delay by one of `jdetrt bench sweep` or `jdetrt bench latency`.",
)
@opt.number("--instances", "Copies of the network on each GPU, or on the CPU.", default=1)
@opt.number(
    "--threads", "CPU threads per copy in ONNX Runtime; 0 means one per core.", least=0, default=0
)
@opt.option(
    "--tag",
    "Tag of Triton's image in the compose file and the Kubernetes manifest; its TensorRT must be "
    "the version that built the plans.",
    default="24.10-py3",
    metavar="TAG",
)
@opt.QUIET
def triton(
    models: tuple[Path, ...],
    output: Path,
    name: str,
    version: int,
    runtime: str,
    input: str,
    max_batch: int,
    queue_delay_us: int | None,
    sweep: Path | None,
    instances: int,
    threads: int,
    tag: str,
    quiet: bool,
) -> None:
    """Write a model repository for NVIDIA Triton.

    It comes with a compose file and a Kubernetes manifest. Track through the server with
    `--model grpc://HOST:8001/NAME`.
    """
    from jdetrt.deploy.triton import TritonOptions, write_triton_repository

    delay, preferred = (2000, ()) if sweep is None else _batching(models[0], sweep, quiet=quiet)
    options = TritonOptions(
        name=name,
        version=version,
        runtime=runtime,
        input=input,
        max_batch=max_batch,
        queue_delay_us=delay if queue_delay_us is None else queue_delay_us,
        preferred=preferred,
        instances=instances,
        threads=threads,
        tag=tag,
    )
    written = write_triton_repository(models, output, options)
    if not quiet:
        for path in written:
            click.echo(path)
        click.echo(f"Serve it: tritonserver --model-repository={output}")
        click.echo(f"Then track: jdetrt track SOURCE --model grpc://HOST:8001/{name}")


def _batching(model: Path, sweep: Path, *, quiet: bool) -> tuple[int, tuple[int, ...]]:
    """Queue delay in microseconds and preferred batches by measured times."""
    from jdetrt.benchmarks.batch_times import read_batch_times
    from jdetrt.deploy.batching import preferred_sizes, queue_delay_us
    from jdetrt.engine.model import Model
    from jdetrt.file_kind import FileKind

    opened = Model(model)
    if opened.size is None:
        return 2000, ()  # such a model is refused, with its reason, where it is written
    is_plan = opened.kind is FileKind.PLAN
    times = read_batch_times(sweep, opened.size, plan=is_plan, name=opened.path.name)
    delay, preferred = queue_delay_us(times.milliseconds), preferred_sizes(times.milliseconds)
    if not quiet:
        batches = f"; batches of {', '.join(map(str, preferred))}" if preferred else ""
        click.echo(
            f"Queue delay: {delay} us, for runs of {times.milliseconds[1]:.1f} ms with one image"
            f"{batches} ({times.origin})"
        )
    return delay, preferred


@command.command(cls=opt.Command)
@click.argument(
    "model",
    type=resolve,
    shell_complete=opt.complete_model,
    help="A plan from `jdetrt build`, or an ONNX model from `jdetrt export`, from which DeepStream "
    "builds an FP16 plan itself.",
)
@opt.output("Folder for the files.", metavar="DIR")
@opt.number("--streams", "Number of streams, which the network sees as one batch.", default=1)
@opt.QUIET
def deepstream(model: Path, output: Path, streams: int, quiet: bool) -> None:
    """Write nvinfer settings, an output parser and a probe for NVIDIA DeepStream.

    The parser is C++ source with a Makefile; the probe feeds boxes and embeddings to the trackers
    of jdetrt.
    """
    from jdetrt.deploy.deepstream import write_deepstream_folder

    written = write_deepstream_folder(model, output, batch=streams)
    if not quiet:
        for path in written:
            click.echo(path)
        click.echo(f"On the board: make -C {output}")
