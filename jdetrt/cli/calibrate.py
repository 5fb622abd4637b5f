"""``jdetrt calibrate``: an ONNX model in INT8, and a report of what that does to tracking."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click

from jdetrt.calibration.config import METHODS, CalibrationConfig
from jdetrt.cli.models import missing
from jdetrt.cli.paths import model_files, refuse_collisions, sequence_files, source_files
from jdetrt.shipped import resolve

if TYPE_CHECKING:
    from jdetrt.calibration.record import CalibrationRecord

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=resolve)
@click.option(
    "--frames",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Footage of the place where the model is to work: videos, folders, MOT sequences; may be "
    "repeated.",
)
@click.option("--frame-list", type=_FILE, help="Frames chosen before (frames.json of a report).")
@click.option("-o", "--output", type=_FILE, required=True, help="The INT8 model, for TensorRT.")
@click.option(
    "--cpu-output",
    type=_FILE,
    help="Also write it for ONNX Runtime's integer kernels, which the other one does not use.",
)
@click.option("--cache", type=_FILE, help="Also write a calibration cache (TensorRT 8 to 10).")
@click.option(
    "--tensorrt-version",
    default=CalibrationConfig.tensorrt_version,
    show_default=True,
    help="The TensorRT that is to read the cache.",
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=CalibrationConfig.count,
    show_default=True,
    help="Frames to choose.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--people/--no-people",
    default=True,
    show_default=True,
    help="Choose frames also by how many people the model sees in them; takes longer.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", *METHODS]),
    default="auto",
    show_default=True,
    help="Of the ranges; auto takes the one that changes boxes, scores and embeddings least.",
)
@click.option(
    "--percent",
    type=click.FloatRange(0.0, 100.0, min_open=True),
    default=CalibrationConfig.percent,
    show_default=True,
    help="Of the method percentile.",
)
@click.option("--all-layers", is_flag=True, help="Leave no layer in float but those named.")
@click.option(
    "--backend",
    type=click.Choice(["jdetrt", "modelopt"]),
    default="jdetrt",
    show_default=True,
    help="Who quantises; NVIDIA ModelOpt writes OUTPUT and nothing else, with --method entropy or "
    "min-max.",
)
@click.option(
    "--target-cosine",
    type=click.FloatRange(-1.0, 1.0),
    default=CalibrationConfig.target_cosine,
    show_default=True,
    help="Least median cosine between FP32 and INT8 embeddings.",
)
@click.option(
    "--max-ap-drop",
    type=click.FloatRange(0.0, 1.0),
    default=CalibrationConfig.max_ap_drop,
    show_default=True,
    help="Most average precision to lose; without --labelled, FP32's detections are the truth.",
)
@click.option(
    "--labelled",
    multiple=True,
    metavar="SEQUENCE",
    help="Labelled pictures for --max-ap-drop; not those of --gt. May be repeated.",
)
@click.option(
    "--labelled-pictures",
    type=click.IntRange(1),
    default=CalibrationConfig.labelled_pictures,
    show_default=True,
    help="So many of them, evenly spread.",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="NODE",
    help="A layer to keep in float, or a pattern with * and ?; may be repeated.",
)
@click.option(
    "--rest",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="What OUTPUT computes in where it is not in INT8; decoding is always in fp32.",
)
@click.option(
    "--compare",
    "compared",
    type=click.IntRange(1),
    default=CalibrationConfig.compared,
    show_default=True,
    help="Frames that FP32 and INT8 are compared on.",
)
@click.option("--gt", type=_FILE, metavar="SEQUENCE", help="MOT sequence to score all models on.")
@click.option("--fp16", type=_FILE, help="The same model in FP16, to score and time beside it.")
@click.option("--report", type=_FILE, metavar="DIR", help="Write the report here.")
@click.option("--json", "json_path", type=_FILE, help="Write the numbers here.")
@click.option(
    "--state",
    type=_FILE,
    help="Keeps what is measured until all is done, so that a run that was ended goes on; default: "
    "OUTPUT.state.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; default: one a core.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(model: Path, output: Path, backend: str, quiet: bool, **given: Any) -> None:
    """Turn an ONNX model of `jdetrt export` into one in INT8.

    MODEL computes in float32; nano ships (a file of that name is ./nano). Ranges come from frames
    of your own footage. Then as few layers as possible stay in float, so that people keep their
    boxes and their looks. No GPU is needed.

    The report compares methods, layers and precisions; with --gt also by HOTA, MOTA and IDF1.
    """
    from jdetrt.cli.steps import Steps

    try:
        from jdetrt.calibration.run import CalibrationRun
    except ModuleNotFoundError as err:
        raise missing(err, "Calibrating a model") from err
    if not given["sources"] and given["frame_list"] is None:
        raise click.UsageError("name footage: --frames SOURCE, or --frame-list FILE")
    if given["sources"] and given["frame_list"] is not None:
        raise click.UsageError("name either --frames or --frame-list, not both")
    given["state"] = given["state"] or output.with_name(f"{output.name}.state")
    config = CalibrationConfig(model=model, output=output, **given)
    _refuse(model, output, given)
    with Steps(quiet=quiet) as steps:
        run = CalibrationRun(config, steps)
        if backend == "modelopt":
            _only_for_jdetrt(given)
            run.by_modelopt()
        else:
            run.run()
    if not quiet and run.record is not None:
        click.echo(_summary(run.record, run.reports))


def _only_for_jdetrt(given: dict[str, Any]) -> None:
    unused = ("cpu_output", "cache", "gt", "fp16", "report", "json_path", "labelled")
    if wrong := [name.split("_path")[0].replace("_", "-") for name in unused if given[name]]:
        raise click.UsageError(f"--backend modelopt does without --{wrong[0]}")
    if given["method"] not in ("auto", "entropy", "min-max") or given["rest"] != "fp32":
        raise click.UsageError("--backend modelopt: --method entropy or min-max, --rest fp32")


def _refuse(model: Path, output: Path, given: dict[str, Any]) -> None:
    from jdetrt.calibration.run import REPORT_FILES

    labelled = [*given["labelled"], *([str(given["gt"])] if given["gt"] else [])]
    read = [given[name] for name in ("frame_list", "fp16") if given[name]]
    report: Path | None = given["report"]
    pages = {f"--report {name}": report / name for name in REPORT_FILES} if report else {}
    refuse_collisions(
        {
            "MODEL": model_files(model),
            "--frames": itertools.chain.from_iterable(map(source_files, given["sources"])),
            "--gt or --labelled": itertools.chain.from_iterable(
                (*source_files(path), *sequence_files(Path(path).parent)) for path in labelled
            ),
            "--frame-list or --fp16": read,
        },
        {
            "--output": output,
            "--cpu-output": given["cpu_output"],
            "--cache": given["cache"],
            "--json": given["json_path"],
            **pages,
        },
    )


def _summary(record: CalibrationRecord, reports: list[Path]) -> str:
    chosen = record.chosen
    lines = [f"{one.what}: {one.name}, {one.bytes / 1e6:.1f} MB" for one in record.written]
    lines += [
        f"  layers   {record.quantised}",
        f"  against FP32: {record.compared}, median cosine {chosen.cosine:.4f}, mean IoU "
        f"{chosen.iou:.4f}, mean score difference {chosen.score:.4f}",
    ]
    lines += [f"  note     {note}" for note in record.frames.notes]
    for name, scores in (record.accuracy.rows if record.accuracy else {}).items():
        lines.append(f"  {name:<22} {scores.get('failed') or _scores(scores)}")
    for name, ratio in (record.speed.speed_up if record.speed else {}).items():
        lines.append(f"  {name:<22} {ratio:.2f} times as fast as FP32, ONNX Runtime on this CPU")
    return "\n".join(lines + [f"Written: {path}" for path in reports])


def _scores(scores: dict[str, Any]) -> str:
    return (
        f"AP50 {scores['ap50']:.4f}  TPR {scores['tpr']:.4f}  HOTA {scores['hota']:.2f}  MOTA "
        f"{scores['mota']:.2f}  IDF1 {scores['idf1']:.2f}  IDSW {scores['idsw']}"
        + _perturbed(scores.get("shaken"))
    )


def _perturbed(runs: dict[str, list[float]] | None) -> str:
    if runs is None:
        return ""
    words = (f"{key.upper()} {mean(runs[key]):.2f}±{stdev(runs[key]):.2f}" for key in runs)
    return f"\n  {'':<22} perturbed boxes, {len(runs['mota'])} runs: {'  '.join(words)}"
