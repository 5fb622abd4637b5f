"""``jdetrt adopt``: take in a TensorRT plan of another program."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.results import shapes
from jdetrt.file_kind import PLAN_MARKS


@click.command(cls=opt.Command)
@click.argument(
    "plan",
    type=opt.FILE,
    shell_complete=opt.complete_file,
    help="A plan that another program (trtexec, DeepStream) built from an exported model.",
)
@opt.file(
    "--model",
    "The ONNX model that it was built from; its tracker settings then travel with the plan.",
)
@opt.DEVICE
def command(plan: Path, model: Path | None) -> None:
    """Write the sidecar of a TensorRT plan that another program built.

    TensorRT loads the plan on this machine and reports its inputs and outputs. Adopt only plans
    that you trust: a plan can run code.
    """
    from jdetrt.engine.tensorrt.adopt import adopt_plan
    from jdetrt.engine.tensorrt.compat import load
    from jdetrt.engine.tensorrt.plan import Plan, sidecar_path

    made_by_rtx = bytes(Plan(plan).content[:4]) == PLAN_MARKS[1]
    sidecar = adopt_plan(load("tensorrt-rtx" if made_by_rtx else "tensorrt"), plan, model)
    lines = [
        f"{sidecar_path(plan)}: written",
        f"  for        {sidecar.host}",
        f"  precision  {sidecar.precision}",
        f"  input      {shapes(sidecar.inputs)}",
        f"  outputs    {shapes(sidecar.outputs)}",
    ]
    if model is None:
        lines.append("  note       without --model the tracker runs with its default settings")
    click.echo("\n".join(lines))
