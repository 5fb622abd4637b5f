"""``jdetrt refit``: new weights for a plan."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.shipped import resolve


@click.command(cls=opt.Command)
@click.argument(
    "plan",
    type=opt.FILE,
    shell_complete=opt.complete_file,
    help="A plan of `jdetrt build --strip`, or one that this command wrote.",
)
@click.argument(
    "model",
    type=resolve,
    shell_complete=opt.complete_model,
    help="An ONNX model with the graph that the plan was built from, and other weights.",
)
@opt.output("The plan to write.")
@opt.DEVICE
def command(plan: Path, model: Path, output: Path) -> None:
    """Put the weights of an ONNX model into a plan built without them.

    It takes seconds where a build takes minutes, and works on the machine that runs the plan.
    """
    from jdetrt.engine.tensorrt.compat import load
    from jdetrt.engine.tensorrt.plan import Plan, sidecar_path
    from jdetrt.engine.tensorrt.refit import refit_plan

    refuse_collisions(
        {"MODEL": model_files(model)},
        {"--output": output, "its sidecar": sidecar_path(output)},
    )
    sidecar = refit_plan(load(Plan(plan).sidecar.host.backend), plan, model, output)
    click.echo(
        f"{output}: {sidecar.plan.bytes / 1e6:.1f} MB, with the weights of {sidecar.model.name}"
    )
