"""``jdetrt build``: an ONNX model becomes a TensorRT plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli.models import shapes
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.shipped import resolve

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.plan import Sidecar

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=resolve)
@click.option("-o", "--output", type=_FILE, required=True, help="The plan to write.")
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="tensorrt builds on the GPU that the plan is for; tensorrt-rtx on any x86 machine, for "
    "RTX cards.",
)
@click.option(
    "--batch",
    default="1",
    show_default=True,
    metavar="N | N:N:N",
    help="Pictures at a time, of a model that leaves them free; or fewest, usual and most.",
)
@click.option(
    "--precision",
    type=click.Choice(["graph", "fp16", "int8"]),
    default="graph",
    show_default=True,
    help="graph: as the model has it. fp16, int8: TensorRT chooses (up to 10; deprecated there).",
)
@click.option(
    "--calibration-cache", type=_FILE, help="Ranges for --precision int8 (TensorRT's own format)."
)
@click.option(
    "--workspace",
    type=click.IntRange(1, 1 << 20),
    metavar="MiB",
    help="Memory that a kernel may use; default: half of what is free.",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    help="How long to look for fast kernels; default: TensorRT's.",
)
@click.option("--version-compatible", is_flag=True, help="Let later TensorRT versions load it.")
@click.option(
    "--hardware",
    type=click.Choice(["this", "same-compute-capability", "ampere+"]),
    default="this",
    show_default=True,
    help="The GPUs that it is to run on.",
)
@click.option(
    "--dla-core",
    type=click.IntRange(0),
    help="Run the body on this deep learning accelerator (experimental).",
)
@click.option(
    "--compute-capability",
    multiple=True,
    metavar="X.Y",
    help="A GPU generation to build for, with tensorrt-rtx; may be repeated.",
)
@click.option(
    "--timing-cache", type=_FILE, help="Timings of kernels; default: in the cache folder."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(model: Path, output: Path, quiet: bool, **given: Any) -> None:
    """Turn an ONNX model of `jdetrt export` into a TensorRT plan.

    The sidecar OUTPUT.json says what the plan was made with. Ctrl-C ends the build; nothing
    half-made is left.
    """
    from jdetrt.cli.build_bar import BuildBar
    from jdetrt.engine.tensorrt.build_options import BuildOptions, parse_batch
    from jdetrt.engine.tensorrt.builder import build_plan
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
    options = BuildOptions(
        precision=given["precision"],
        calibration_cache=ranges.name if ranges else None,
        batch=parse_batch(given["batch"]),
        workspace_mib=given["workspace"],
        optimization_level=given["optimization_level"],
        version_compatible=given["version_compatible"],
        hardware=given["hardware"],
        dla_core=given["dla_core"],
        compute_capabilities=tuple(dict.fromkeys(given["compute_capability"])),
    )
    with BuildBar(quiet=quiet) as bar:
        sidecar = build_plan(
            load(given["backend"]),
            model,
            output,
            options,
            timings=timings,
            calibrator=cache_calibrator(ranges) if ranges else None,
            progress=bar,
        )
    if not quiet:
        click.echo(_summary(output, sidecar))


def _summary(path: Path, sidecar: Sidecar) -> str:
    targets = ", ".join(sidecar.options.compute_capabilities)
    lines = [
        f"{path}: {sidecar.plan.bytes / 1e6:.1f} MB, built in {sidecar.build_seconds:.1f} s",
        f"  from       {sidecar.model.name}, sha256 {sidecar.model.sha256}",
        f"  by         {sidecar.host}",
        f"  for        compute capability {targets}" if targets else "",
        f"  precision  {sidecar.precision}, {sidecar.typing} typing",
        f"  input      {shapes(sidecar.inputs)}",
        f"  outputs    {shapes(sidecar.outputs)}",
    ]
    if sidecar.options.dla_core is not None:
        lines.append(f"  on the GPU {', '.join(sidecar.fallback) or 'nothing of the body'}")
    return "\n".join(line for line in lines if line)
