"""``jdetrt build``: an ONNX model to a TensorRT plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import shapes

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.plan import Sidecar


@click.command(cls=opt.Command)
@opt.ONNX_MODEL
@opt.output("The plan to write.")
@opt.choice(
    "--backend",
    "tensorrt builds on the GPU that the plan is for; tensorrt-rtx builds on any x86 machine, "
    "for RTX GPUs.",
    ["tensorrt", "tensorrt-rtx"],
    default="tensorrt",
)
@opt.option(
    "--batch",
    "Batch size, for a model exported with --dynamic-batch; or smallest, typical and largest.",
    default="1",
    metavar="N|N:N:N",
)
@opt.choice(
    "--precision",
    "graph keeps the types of the model; fp16 and int8 let TensorRT choose (up to TensorRT "
    "10, where it is deprecated).",
    ["graph", "fp16", "int8"],
    default="graph",
)
@opt.file("--calibration-cache", "Ranges for --precision int8, in TensorRT's own format.")
@opt.number(
    "--workspace",
    "Memory limit of a kernel. Default: half of the free memory.",
    most=1 << 20,
    metavar="MiB",
)
@opt.OPTIMIZATION_LEVEL
@opt.flag("--version-compatible", "Let later versions of TensorRT load the plan.")
@opt.choice(
    "--hardware",
    "GPUs the plan must run on.",
    ["this", "same-compute-capability", "ampere+"],
    default="this",
)
@opt.number(
    "--dla-core",
    "Run the network body on this core of the deep learning accelerator (experimental).",
    least=0,
)
@opt.flag(
    "--allow-float", "Write the plan even if convolutions that the model has in INT8 run in float."
)
@opt.option(
    "--compare",
    "Build a plan in each of these precisions, such as fp16,int8, time them on this GPU, and keep "
    "the fastest that is accurate enough. Models beside MODEL are named NAME.fp16.onnx.",
    type=opt.names,
    metavar="P,P",
)
@opt.file(
    "--calibration-report",
    "JSON of `jdetrt calibrate`, which tells --compare what INT8 does to tracking.",
)
@opt.flag(
    "--strip", "Leave the weights out; `jdetrt refit` puts them in on the machine (TensorRT 10 on)."
)
@opt.option(
    "--compute-capability",
    "GPU generation to build for, with tensorrt-rtx; may be repeated.",
    multiple=True,
    metavar="X.Y",
)
@opt.file(
    "--timing-cache",
    "File of kernel timings that makes later builds faster. Default: a file in the cache folder.",
)
@opt.DEVICE
@opt.QUIET
def command(model: Path, output: Path, quiet: bool, **given: Any) -> None:
    """Build a TensorRT plan from an ONNX model.

    The sidecar OUTPUT.json records how the plan was built. Ctrl-C ends the build and leaves no
    files behind.
    """
    from jdetrt.engine.tensorrt.build_options import BuildOptions, parse_batch
    from jdetrt.engine.tensorrt.layers import layers_path
    from jdetrt.engine.tensorrt.plan import sidecar_path
    from jdetrt.functions.tasks import build_plan

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
    options = BuildOptions(
        precision=given["precision"],
        batch=parse_batch(given["batch"]),
        workspace_mib=given["workspace"],
        optimization_level=given["optimization_level"],
        version_compatible=given["version_compatible"],
        hardware=given["hardware"],
        dla_core=given["dla_core"],
        allow_float=given["allow_float"],
        strip=given["strip"],
        compute_capabilities=tuple(dict.fromkeys(given["compute_capability"])),
    )
    report = given["calibration_report"]
    if given["compare"]:
        if given["backend"] != "tensorrt" or given["strip"] or given["precision"] != "graph":
            raise click.UsageError("--compare needs plans that run here, in their own precisions.")
        from jdetrt.functions.plan_choice import choose_plan

        with ProgressBars(quiet=quiet) as bars:
            choice = choose_plan(
                model,
                output,
                given["compare"],
                options=options,
                calibration_cache=ranges,
                timing_cache=timings,
                report=report,
                progress=bars,
            )
        if not quiet:
            click.echo(_summary(output, choice.sidecar))
            click.echo(f"  kept       {choice.precision}: {choice.why}")
        return
    if report is not None:
        raise click.UsageError("--calibration-report is for --compare.")
    with ProgressBars(quiet=quiet) as bars:
        sidecar = build_plan(
            model,
            output,
            backend=given["backend"],
            options=options,
            calibration_cache=ranges,
            timing_cache=timings,
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
