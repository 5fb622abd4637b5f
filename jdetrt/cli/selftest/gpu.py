"""``jdetrt selftest gpu``: plans built, verified and timed, by worth, within a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import plural, print_table
from jdetrt.cli.selftest.models import NETWORKS
from jdetrt.errors import EngineError, MissingDependencyError

if TYPE_CHECKING:
    from jdetrt.benchmarks.selftest.result import SelftestResult
    from jdetrt.benchmarks.selftest.run import SelftestConfig

__all__ = ["gpu"]


@click.command(cls=opt.Command)
@opt.output(
    "Result file (JSON), written after each step; the page FILE.html is beside it. If it exists, "
    "the run resumes.",
    required=False,
)
@opt.option(
    "--minutes",
    "Time for the run. What no longer fits is skipped, the least worth first.",
    type=click.FloatRange(0.1, 10_000),
    default=15.0,
    metavar="N",
)
@opt.file(
    "--models",
    "Folder of `jdetrt selftest models`. Default: the built-in models alone.",
    metavar="DIR",
)
@NETWORKS
@opt.source(
    "--source", "Video, folder of images or MOT sequence to track. Default: a rendered clip."
)
@opt.file(
    "--keep",
    "Folder for plans, logs and the rendered clip. Default: next to the result.",
    metavar="DIR",
)
@opt.max_frames("Number of timed frames per run.", default=200, least=3)
@opt.REPEATS
@opt.OPTIMIZATION_LEVEL
@opt.option(
    "--torch-python",
    "Python (a program) that has PyTorch with CUDA, for the baseline. Default: this one.",
    metavar="FILE",
)
@opt.flag("--dry-run", "List the steps and their estimated times; needs no GPU.")
@opt.DEVICE
def gpu(
    output: Path | None,
    minutes: float,
    models: Path | None,
    networks: list[str] | None,
    source: str | None,
    keep: Path | None,
    max_frames: int,
    repeats: int,
    optimization_level: int | None,
    torch_python: str | None,
    dry_run: bool,
) -> int:
    """Build, verify and time plans on this machine's GPU, the most worth first.

    The exit code is 1 if a step failed, and 3 if a limit was missed: the pipeline reaches 95 % of
    the network's speed, FP16 is 5 times as fast as PyTorch's eager float32, and plans agree with
    ONNX Runtime. Results of two machines can be compared with `jdetrt bench compare --anyway`.
    """
    from jdetrt.benchmarks.selftest.networks import BUILT_IN
    from jdetrt.benchmarks.selftest.networks import NETWORKS as ALL
    from jdetrt.benchmarks.selftest.run import SelftestConfig, selftest
    from jdetrt.files import write_text

    if output is None and not dry_run:
        raise click.UsageError("Give --output FILE, or --dry-run.")
    folder = keep or (output or Path("selftest.json")).with_suffix(".plans")
    config = SelftestConfig(
        source=source or str(folder / "clip"),
        folder=folder,
        models=models,
        networks=tuple(networks or (ALL if models else BUILT_IN)),
        minutes=minutes,
        frames=max_frames,
        repeats=repeats,
        optimization_level=optimization_level,
        torch_python=torch_python,
    )
    if dry_run or output is None:
        _list(config)
        return 0
    page = output.with_suffix(".html")
    inputs = {"--source": source_files(source) if source else (), "--models": [models or folder]}
    refuse_collisions(inputs, {"--output": output, "its page": page})
    if source is None:
        _render(folder / "clip", max_frames + config.warm_up)
    with ProgressBars(calm=True) as bars:
        result = selftest(config, output, progress=bars)
    from jdetrt.benchmarks.selftest.page import headline, selftest_page

    write_text(page, selftest_page(result))
    _show(result)
    click.echo(f"{headline(result)}. Written: {output}, {page}")
    if result.in_state("failed"):
        return 1
    return 0 if all(check.met for check in result.checks) else opt.WORSE


def _list(config: SelftestConfig) -> None:
    """Print the steps by worth, with what they take together."""
    from jdetrt.benchmarks.selftest.run import estimates, steps_here
    from jdetrt.engine.tensorrt.compat import load

    try:
        trt = load()
    except (EngineError, MissingDependencyError):
        trt = None
    todo = steps_here(config, trt)
    seconds, left, rows = estimates(todo), 60 * config.minutes, []
    for step in todo:
        fits = not step.missing and seconds[step.name] <= left
        left -= seconds[step.name] if fits else 0.0
        rows.append(
            {
                "step": step.name,
                "minutes": seconds[step.name] / 60,
                "fits": "yes" if fits else "missing" if step.missing else "no time",
            }
        )
    print_table(rows, step=("Step", ""), minutes=("Minutes", ".1f"), fits=("Done", ""))
    for reason in dict.fromkeys(step.missing for step in todo if step.missing):
        click.echo(f"missing: {reason}")
    total = sum(seconds[step.name] for step in todo if not step.missing) / 60
    click.echo(
        f"{plural(len(todo), 'step')}; those that can be done here take some {total:.0f} minutes, "
        f"{config.minutes:g} are given. Estimates are guesses for an H200 with TensorRT 8.5.3; a "
        "run follows its own steps."
    )


def _render(folder: Path, frames: int) -> None:
    from jdetrt.synthetic.clip import SyntheticClip, is_written_sequence, write_sequence

    if not is_written_sequence(folder):
        write_sequence(folder, SyntheticClip(frames=frames))


def _show(result: SelftestResult) -> None:
    """Print speeds, limits and what was not done."""
    from jdetrt.benchmarks.selftest.result import network_fps

    rows = [
        {"name": str(row), "network": network_fps(row), "system": row.system_fps}
        for row in result.rows
    ]
    if rows:
        print_table(
            rows,
            name=("Network", ""),
            network=("Network FPS", ".1f"),
            system=("Pipeline FPS", ".1f"),
        )
    for check in result.checks:
        click.echo(f"{'ok' if check.met else 'MISSED'}: {check.name}: {check.text}")
    for state in ("failed", "skipped"):
        for step in result.in_state(state):
            click.echo(f"{state}: {step.name}: {step.reason}")
