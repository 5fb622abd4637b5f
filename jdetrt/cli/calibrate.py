"""``jdetrt calibrate``: an ONNX model to INT8, with a report of the effect on tracking."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click

from jdetrt.calibration.config import METHODS, REPORT_FILES, TARGETS, CalibrationConfig
from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, sequence_files, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.files import scratch_folder

if TYPE_CHECKING:
    from jdetrt.calibration.record import CalibrationRecord


@click.command(
    cls=opt.Command,
    renamed={
        "--frames": "--source",
        "--count": "--max-frames",
        "--cache": "--calibration-cache",
        "--backend": "--quantizer",
        "--percent": "--percentile",
        "--compare": "--compare-frames",
        "--labelled-pictures": "--labelled-images",
    },
)
@opt.ONNX_MODEL
@opt.output("The INT8 model to write, for TensorRT.")
@opt.file("--cpu-output", "Also write an INT8 model in the form that ONNX Runtime needs on CPUs.")
@opt.file("--calibration-cache", "Also write a calibration cache, for TensorRT 8 to 10.")
@opt.option(
    "--tensorrt-version",
    "TensorRT version that will read the calibration cache.",
    default=CalibrationConfig.tensorrt_version,
    metavar="X.Y.Z",
)
@opt.source(
    "--source",
    "Video, folder of images or MOT sequence to calibrate on, typical of where the model will "
    "be used; may be repeated.",
    to="sources",
    multiple=True,
)
@opt.max_frames(
    "Number of frames to choose from all sources.", default=CalibrationConfig.max_frames
)
@opt.file(
    "--frame-list", "Use frames chosen earlier (frames.json of a report) instead of --source."
)
@opt.option(
    "--people/--no-people",
    "Also choose frames by the number of people detected in them; slower.",
    default=True,
)
@opt.seed("the choice of frames")
@opt.choice(
    "--quantizer",
    "Quantisation tool. NVIDIA ModelOpt writes only OUTPUT, with --method entropy or min-max.",
    ["jdetrt", "modelopt"],
    default="jdetrt",
)
@opt.choice(
    "--method",
    "How activation ranges are set; auto picks the method with the smallest change in boxes, "
    "scores and embeddings.",
    ["auto", *METHODS],
    default="auto",
)
@opt.option(
    "--percentile",
    "Percentile for --method percentile.",
    type=click.FloatRange(0.0, 100.0, min_open=True),
    default=CalibrationConfig.percentile,
    metavar="P",
)
@opt.flag(
    "--all-layers", "Quantise every layer except those of --leave-out, whatever the accuracy."
)
@opt.option(
    "--leave-out",
    "Layer to keep in floating point, or a pattern with * and ?; may be repeated.",
    multiple=True,
    metavar="NODE",
)
@opt.choice(
    "--rest",
    "Precision of the layers of OUTPUT that are not in INT8; decoding is always fp32.",
    ["fp32", "fp16"],
    default="fp32",
)
@opt.choice(
    "--for",
    "Machine that will run OUTPUT, which decides how --rest fp16 is written: orin (JetPack 6 "
    "and later), jetpack5, rtx (TensorRT-RTX) or desktop. Default: this machine.",
    TARGETS,
    to="target",
)
@opt.option(
    "--target-cosine",
    "Smallest acceptable median cosine between FP32 and INT8 embeddings.",
    type=click.FloatRange(-1.0, 1.0),
    default=CalibrationConfig.target_cosine,
    metavar="COSINE",
)
@opt.share(
    "--max-ap-drop",
    "Largest acceptable drop in average precision. Without --labelled, the detections of FP32 "
    "serve as ground truth.",
    default=CalibrationConfig.max_ap_drop,
    metavar="AP",
)
@opt.source(
    "--labelled",
    "Labelled images to measure --max-ap-drop on, other than those of --gt; may be repeated.",
    multiple=True,
    metavar="SEQUENCE",
)
@opt.number(
    "--labelled-images",
    "Number of labelled images to use, evenly spaced.",
    default=CalibrationConfig.labelled_images,
)
@opt.number(
    "--compare-frames",
    "Number of frames to compare FP32 and INT8 on.",
    default=CalibrationConfig.compare_frames,
)
@opt.file("--gt", "MOT sequence with ground truth to score all models on.", metavar="SEQUENCE")
@opt.file(
    "--fp16", "The same model in FP16, to score and time along with the others.", metavar="MODEL"
)
@opt.file("--report", "Write the report into this folder.", metavar="DIR")
@opt.JSON
@opt.file(
    "--state", "File for resuming an interrupted run; deleted at the end. Default: OUTPUT.state."
)
@opt.THREADS
@opt.QUIET
def command(model: Path, output: Path, quantizer: str, quiet: bool, **given: Any) -> int:
    """Quantise a float32 ONNX model to INT8, and report the effect on tracking.

    Activation ranges are measured on frames of your own sources. As few layers as possible then
    stay in floating point, so that boxes and embeddings stay close to FP32. No GPU is needed.

    The report compares methods, layers and precisions; --gt adds HOTA, MOTA and IDF1. Frames that
    cannot be read are left out and counted; if a source lacks any, the exit code is 3.
    """
    from jdetrt.functions.tasks import calibration_run

    opt.refuse_both(source=given["sources"], frame_list=given["frame_list"])
    if quantizer == "modelopt":
        _only_for_jdetrt(given)
    _refuse(model, output, given)
    given["state"] = given["state"] or output.with_name(f"{output.name}.state")
    page = given["report"] and given["report"] / REPORT_FILES[-1]
    written = [path for path in (given["json_path"], page) if path not in (None, opt.STDOUT)]
    with scratch_folder("json") as folder, ProgressBars(quiet=quiet) as bars:
        printed = Path(folder, "result.json") if given["json_path"] == opt.STDOUT else None
        given["json_path"] = printed or given["json_path"]
        run = calibration_run(model, output, progress=bars, **given)
        record = None
        if quantizer == "modelopt":
            run.by_modelopt()
        else:
            record = run.run()
        if printed is not None:
            opt.stdout().write(printed.read_text())
    if not quiet and record is not None:
        click.echo(_summary(record, written))
    for account in run.accounts:
        if account.lost and (warning := account.warning()) is not None:
            click.echo(f"Warning: {warning}", err=True)
    return opt.WORSE if any(account.is_short for account in run.accounts) else 0


def _only_for_jdetrt(given: dict[str, Any]) -> None:
    unused = {
        "cpu_output": "--cpu-output",
        "calibration_cache": "--calibration-cache",
        "gt": "--gt",
        "fp16": "--fp16",
        "report": "--report",
        "json_path": "--json",
        "labelled": "--labelled",
    }
    for name, option in unused.items():
        if given[name]:
            raise click.UsageError(f"--quantizer modelopt cannot be combined with {option}.")
    if given["method"] not in ("auto", "entropy", "min-max"):
        raise click.UsageError("--quantizer modelopt needs --method entropy or min-max.")
    if given["rest"] != "fp32":
        raise click.UsageError("--quantizer modelopt needs --rest fp32.")


def _refuse(model: Path, output: Path, given: dict[str, Any]) -> None:
    labelled = [*given["labelled"], *([str(given["gt"])] if given["gt"] else [])]
    read = [given[name] for name in ("frame_list", "fp16") if given[name]]
    report: Path | None = given["report"]
    pages = {f"--report {name}": report / name for name in REPORT_FILES} if report else {}
    refuse_collisions(
        {
            "MODEL": model_files(model),
            "--source": itertools.chain.from_iterable(map(source_files, given["sources"])),
            "--gt or --labelled": itertools.chain.from_iterable(
                (*source_files(path), *sequence_files(Path(path).parent)) for path in labelled
            ),
            "--frame-list or --fp16": read,
        },
        {
            "--output": output,
            "--cpu-output": given["cpu_output"],
            "--calibration-cache": given["calibration_cache"],
            "--json": given["json_path"],
            **pages,
        },
    )


def _summary(record: CalibrationRecord, written: list[Path]) -> str:
    chosen = record.chosen
    lines = [f"{one.what}: {one.name}, {one.bytes / 1e6:.1f} MB" for one in record.written]
    lines += [
        f"  layers   {record.quantised}",
        f"  against FP32: {record.compared}, median cosine {chosen.cosine:.4f}, mean IoU "
        f"{chosen.iou:.4f}, mean score difference {chosen.score:.4f}",
    ]
    if record.outside is not None:
        verdict = "; ".join(record.outside) or "within it"
        lines.append(f"  INT8 tolerance of `jdetrt verify` on these people: {verdict}")
    lines += [f"  note     {note}" for note in (*record.frames.notes, *record.warnings)]
    for name, scores in (record.accuracy.rows if record.accuracy else {}).items():
        lines.append(f"  {name:<22} {scores.get('failed') or _scores(scores)}")
    for name, ratio in (record.speed.speed_up if record.speed else {}).items():
        lines.append(f"  {name:<22} {ratio:.2f} times the speed of FP32, ONNX Runtime on this CPU")
    return "\n".join(lines + [f"Written: {path}" for path in written])


def _scores(scores: dict[str, Any]) -> str:
    from jdetrt.evaluation.summary import PERTURBED_KEY

    return (
        f"AP50 {scores['ap50']:.4f}  TPR {scores['tpr']:.4f}  HOTA {scores['hota']:.2f}  MOTA "
        f"{scores['mota']:.2f}  IDF1 {scores['idf1']:.2f}  IDSW {scores['idsw']}"
        + _perturbed(scores.get(PERTURBED_KEY))
    )


def _perturbed(runs: dict[str, list[float]] | None) -> str:
    if runs is None:
        return ""
    words = (f"{key.upper()} {mean(runs[key]):.2f}±{stdev(runs[key]):.2f}" for key in runs)
    return f"\n  {'':<22} perturbed boxes, {len(runs['mota'])} runs: {'  '.join(words)}"
