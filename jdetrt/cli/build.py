"""``jdetrt build``: an ONNX model to a TensorRT plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import shapes
from jdetrt.errors import BuildError
from jdetrt.file_kind import check
from jdetrt.shipped import resolve

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.plan import Sidecar


@click.command(cls=opt.Command)
@click.argument(
    "model",
    type=resolve,
    shell_complete=opt.complete_model,
    help="An ONNX model from `jdetrt export`, or the built-in nano or nano:WxH.",
)
@click.option(
    "-o", "--output", type=opt.FILE, required=True, metavar="FILE", help="The plan to write."
)
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="tensorrt builds on the GPU that the plan is for; tensorrt-rtx builds on any x86 machine, "
    "for RTX GPUs.",
)
@click.option(
    "--batch",
    default="1",
    show_default=True,
    metavar="N|N:N:N",
    help="Batch size, for a model exported with --dynamic-batch; or smallest, typical and largest.",
)
@click.option(
    "--precision",
    type=click.Choice(["graph", "fp16", "int8"]),
    default="graph",
    show_default=True,
    help="graph keeps the types of the model; fp16 and int8 let TensorRT choose (up to TensorRT "
    "10, where it is deprecated).",
)
@click.option(
    "--calibration-cache",
    type=opt.FILE,
    metavar="FILE",
    help="Ranges for --precision int8, in TensorRT's own format.",
)
@click.option(
    "--workspace",
    type=click.IntRange(1, 1 << 20),
    metavar="MiB",
    help="Memory that a kernel may use. Default: half of the free memory.",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    metavar="0-5",
    help="How long to search for fast kernels. Default: TensorRT's own.",
)
@click.option(
    "--version-compatible", is_flag=True, help="Let later versions of TensorRT load the plan."
)
@click.option(
    "--hardware",
    type=click.Choice(["this", "same-compute-capability", "ampere+"]),
    default="this",
    show_default=True,
    help="GPUs the plan must run on.",
)
@click.option(
    "--dla-core",
    type=click.IntRange(0),
    metavar="N",
    help="Run the network body on this core of the deep learning accelerator (experimental).",
)
@click.option(
    "--allow-float",
    is_flag=True,
    help="Write the plan even if convolutions that the model has in INT8 run in float.",
)
@click.option(
    "--compute-capability",
    multiple=True,
    metavar="X.Y",
    help="GPU generation to build for, with tensorrt-rtx; may be repeated.",
)
@click.option(
    "--timing-cache",
    type=opt.FILE,
    metavar="FILE",
    help="File of kernel timings that makes later builds faster. Default: a file in the cache "
    "folder.",
)
@opt.DEVICE
@opt.QUIET
def command(model: Path, output: Path, quiet: bool, **given: Any) -> None:
    """Build a TensorRT plan from an ONNX model.

    The sidecar OUTPUT.json records how the plan was built. Ctrl-C ends the build and leaves no
    files behind.
    """
    from jdetrt.engine.tensorrt.build_options import BuildOptions, parse_batch
    from jdetrt.engine.tensorrt.builder.build import build_plan
    from jdetrt.engine.tensorrt.calibration_cache import cache_calibrator
    from jdetrt.engine.tensorrt.compat import load
    from jdetrt.engine.tensorrt.layers import layers_path
    from jdetrt.engine.tensorrt.plan import sidecar_path

    ranges, timings = given["calibration_cache"], given["timing_cache"]
    refuse_collisions(
        {"MODEL": model_files(model), "--calibration-cache": [ranges] if ranges else ()},
        {
            "--output": output,
            "its sidecar": sidecar_path(output),
            "its layers": layers_path(output),
            "--timing-cache": timings,
        },
    )
    check(model, "build", BuildError)
    options = BuildOptions(
        precision=given["precision"],
        calibration_cache=ranges.name if ranges else None,
        batch=parse_batch(given["batch"]),
        workspace_mib=given["workspace"],
        optimization_level=given["optimization_level"],
        version_compatible=given["version_compatible"],
        hardware=given["hardware"],
        dla_core=given["dla_core"],
        allow_float=given["allow_float"],
        compute_capabilities=tuple(dict.fromkeys(given["compute_capability"])),
    )
    with ProgressBars(quiet=quiet) as bars:
        sidecar = build_plan(
            load(given["backend"]),
            model,
            output,
            options,
            timings=timings,
            calibrator=cache_calibrator(ranges) if ranges else None,
            progress=bars,
        )
    if not quiet:
        click.echo(_summary(output, sidecar))


def _summary(path: Path, sidecar: Sidecar) -> str:
    targets = ", ".join(sidecar.options.compute_capabilities)
    lines = [
        f"{path}: {sidecar.plan.bytes / 1e6:.1f} MB, built in {sidecar.build_seconds:.1f} s",
        f"  model      {sidecar.model.name}, sha256 {sidecar.model.sha256}",
        f"  built by   {sidecar.host}",
        f"  for        compute capability {targets}" if targets else "",
        f"  precision  {sidecar.precision}, {sidecar.typing} typing",
        _convolutions(sidecar),
        f"  input      {shapes(sidecar.inputs)}",
        f"  outputs    {shapes(sidecar.outputs)}",
    ]
    if sidecar.options.dla_core is not None:
        lines.append(f"  on the GPU {', '.join(sidecar.fallback) or 'nothing of the network body'}")
    return "\n".join(line for line in lines if line)


def _convolutions(sidecar: Sidecar) -> str:
    """Where the convolutions of a quantised model run; nothing for another."""
    if not sidecar.quantised:
        return ""
    if sidecar.convolutions is None:
        return f"  INT8       {sidecar.quantised} convolutions in the model; the plan's not counted"
    counts = ", ".join(f"{count} in {kind}" for kind, count in sidecar.convolutions.items())
    return f"  INT8       {sidecar.quantised} convolutions in the model; in the plan {counts}"
