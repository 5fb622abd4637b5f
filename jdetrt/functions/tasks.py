"""Long work on models: export, build, calibrate and evaluate.

What needs torch, onnx or TensorRT is imported when a function is called.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from jdetrt import config, shipped
from jdetrt.errors import BuildError, CalibrationError, requiring
from jdetrt.file_check import check
from jdetrt.functions.loading import load, tracking_settings
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.sources.open import open_source

if TYPE_CHECKING:
    from jdetrt.calibration.record import CalibrationRecord
    from jdetrt.calibration.run import CalibrationRun
    from jdetrt.config import AnyTrackerConfig, TrackerConfig
    from jdetrt.engine.tensorrt.build_options import BuildOptions
    from jdetrt.engine.tensorrt.plan import Sidecar
    from jdetrt.evaluation.summary import QuickScore
    from jdetrt.export.onnx_writer import Exported

__all__ = [
    "build_plan",
    "calibrate",
    "calibration_run",
    "evaluate",
    "export_onnx",
    "first_images",
]

_FRAMES_OF_A_SOURCE = 4  # that an export is compared on


def export_onnx(
    checkpoint: str | Path,
    output: str | Path,
    *,
    size: tuple[int, int] | None = None,
    trained_size: tuple[int, int] | None = None,
    top_k: int | None = None,
    dynamic_batch: bool = False,
    precision: Literal["fp32", "fp16"] = "fp32",
    half_weights: bool = False,
    tracker: str | Path | AnyTrackerConfig | None = None,
    sources: Sequence[str | Path] = (),
) -> Exported:
    """Turn a checkpoint into an ONNX model with decoding in its graph.

    The model is written only after ONNX Runtime gave the same numbers as torch.

    Args:
        checkpoint: a file of jdetrt (safetensors), of the reference implementation (``.pt``) or of
            Darknet; or ``"nano"``.
        output: the model to write.
        size: width and height of the network input, multiples of 32; by default what the
            checkpoint records.
        trained_size: as in `jdetrt.functions.loading.load`.
        top_k: number of candidates that the model gives; by default that of ``ExportConfig``.
        dynamic_batch: leave the number of images free.
        precision: of the network; decoding, inputs and outputs stay in float32.
        half_weights: round the weights of convolutions to float16 and store them so.
        tracker: settings that travel with the model, or the path of a TOML file with settings; by
            default what the checkpoint records.
        sources: videos, folders or sequences whose first frames ONNX Runtime and torch are compared
            on; by default synthetic images.

    Returns:
        Path, size, hash, inputs, outputs and parity of the model.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: a width or height is not a multiple of 32, or half weights in half precision.
        ExportError: the network cannot be exported like this.
        ParityError: the exported model gives other numbers than torch.
        OutputError: the output cannot be written.
        MissingDependencyError: torch or onnx is not installed.
    """
    with requiring("export", "Exporting a network"):
        from jdetrt.export.onnx_writer import export_onnx as write

    if isinstance(tracker, (str, Path)):
        tracker = cast("AnyTrackerConfig", config.load(tracker, cast(Any, config.AnyTrackerConfig)))
    settings = config.ExportConfig(
        size=size,
        dynamic_batch=dynamic_batch,
        precision=precision,
        half_weights=half_weights,
        **({} if top_k is None else {"top_k": top_k}),
    )
    return write(
        shipped.resolve_checkpoint(checkpoint),
        output,
        settings,
        trained_size=trained_size,
        tracker=tracker,
        frames=first_images(sources),
    )


def first_images(sources: Sequence[str | Path]) -> list[Any]:
    """Read the first images of each source, which an export is compared on: ``(H, W, 3)`` BGR."""
    images = []
    for uri in sources:
        with open_source(uri) as source:
            images += [frame.image for frame in itertools.islice(source, _FRAMES_OF_A_SOURCE)]
    return images


def build_plan(
    model: str | Path,
    output: str | Path,
    *,
    backend: str = "tensorrt",
    options: BuildOptions | None = None,
    calibration_cache: str | Path | None = None,
    timing_cache: str | Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> Sidecar:
    """Turn an ONNX model into a TensorRT plan. Takes seconds to tens of minutes.

    Args:
        model: an ONNX model, or the name of one that ships.
        output: the plan to write; its sidecar ``OUTPUT.json`` says what it was made with.
        backend: ``"tensorrt"`` builds on the GPU that the plan is for; ``"tensorrt-rtx"`` on any
            x86 machine, for RTX cards.
        options: precision, batch, workspace and so on
            (`jdetrt.engine.tensorrt.build_options.BuildOptions`).
        calibration_cache: ranges for the precision ``"int8"``, in TensorRT's own format.
        timing_cache: timings of kernels; by default in the cache folder.
        progress: gets the phases of the build.

    Returns:
        The sidecar: model, versions, options, inputs and outputs.

    Raises:
        BuildError: TensorRT cannot do this, does not take the model, or fails.
        SessionError: the model cannot be read.
        OutputError: the plan or the timings cannot be written.
        MissingDependencyError: TensorRT is not installed.
    """
    from jdetrt.engine.tensorrt.build_options import BuildOptions
    from jdetrt.engine.tensorrt.builder.build import build_plan as build
    from jdetrt.engine.tensorrt.calibration_cache import cache_calibrator
    from jdetrt.engine.tensorrt.compat import load as load_tensorrt

    path = shipped.resolve(model)
    check(path, "build", BuildError)
    options = options or BuildOptions()
    calibrator = None
    if calibration_cache is not None:
        calibration_cache = Path(calibration_cache)
        options = msgspec.structs.replace(options, calibration_cache=calibration_cache.name)
        calibrator = cache_calibrator(calibration_cache)
    return build(
        load_tensorrt(backend),
        path,
        output,
        options,
        timings=None if timing_cache is None else Path(timing_cache),
        calibrator=calibrator,
        progress=progress,
    )


def calibrate(
    model: str | Path,
    output: str | Path,
    sources: Sequence[str | Path] = (),
    *,
    progress: Progress = NO_PROGRESS,
    **settings: Any,
) -> CalibrationRecord:
    """Turn an ONNX model in float32 into INT8; no GPU is needed.

    Ranges come from frames of your own sources. Then as few layers as possible stay in float, so
    that detections keep their boxes and embeddings.

    Args:
        model: an ONNX model, or the name of one that ships.
        output: the INT8 model in TensorRT's layout.
        sources: videos, folders or MOT sequences of the place where the model is to work; none
            with the setting ``frame_list``.
        progress: gets a phase for each source and each stage.
        settings: other settings of `jdetrt.calibration.config.CalibrationConfig`, such as
            ``cpu_output`` (the model for ONNX Runtime on CPUs), ``max_frames``, ``labelled``
            or ``report``; paths may be text.

    Returns:
        Layers, ranges, comparison with float32 and, if asked for, accuracy and speed.

    Raises:
        CalibrationError: the model cannot be quantised, or no frame can be used.
        DataError: labelled data is missing or wrong.
        SourceError: a source cannot be opened.
        OutputError: a file cannot be written.
        MissingDependencyError: onnx is not installed.
        TypeError: there is no setting of this name.
    """
    return calibration_run(model, output, sources, progress=progress, **settings).run()


def calibration_run(
    model: str | Path,
    output: str | Path,
    sources: Sequence[str | Path] = (),
    *,
    progress: Progress = NO_PROGRESS,
    **settings: Any,
) -> CalibrationRun:
    """Prepare a calibration: arguments and errors as for `calibrate`.

    Returns:
        A run that has not begun. Beside what `calibrate` does it can have NVIDIA ModelOpt quantise,
        and accounts for the images that it read.
    """
    with requiring("export", "Calibrating a model"):
        from jdetrt.calibration.config import CalibrationConfig
        from jdetrt.calibration.run import CalibrationRun

    path = shipped.resolve(model)
    check(path, "calibrate", CalibrationError)
    uris = [sources] if isinstance(sources, (str, Path)) else sources
    paths = {field.name for field in fields(CalibrationConfig) if field.type == "Path | None"}
    for name in paths & settings.keys():
        if settings[name] is not None:
            settings[name] = Path(settings[name])
    config = CalibrationConfig(
        model=path, output=Path(output), sources=tuple(str(uri) for uri in uris), **settings
    )
    return CalibrationRun(config, progress)


def evaluate(
    model: str | Path | Detector,
    sequence: str | Path,
    *,
    size: tuple[int, int] | None = None,
    tracker: str | Path | TrackerConfig | None = None,
    runs: int = 0,
    provider: str = "auto",
    threads: int | None = None,
) -> QuickScore:
    """Measure detection, embeddings and tracking in one pass over a labelled sequence.

    One of the three alone, over several data sets: `jdetrt.evaluation.detection`,
    `jdetrt.evaluation.embedding`, `jdetrt.evaluation.tracking`.

    Args:
        model: as `load` takes it; or a detector, which stays open.
        sequence: folder of a MOT sequence with images and ground truth.
        size: width and height of the network input, as in `load`.
        tracker: as in `track`.
        runs: also track this number of times with perturbed boxes, which shows how much of a
            tracking score is chance.
        provider: as in `load`.
        threads: as in `load`.

    Returns:
        AP50, TPR, MOTA, IDF1, HOTA and counts.

    Raises:
        DataError: images or ground truth are missing, wrong, or without two identified people.
        SessionError: the model fails, or gives no embeddings.
        MissingDependencyError: TrackEval, or torch, is not installed.
        JdetrtError: as in `load`.
    """
    with requiring("bench", "Evaluating a model"):
        from jdetrt.evaluation.summary import quick_score

    with ExitStack() as stack:
        if isinstance(model, Detector):
            detector = model
        else:
            opened = load(model, size=size, provider=provider, threads=threads)
            detector = stack.enter_context(opened)
        return quick_score(
            detector.session,
            sequence,
            size=detector.size,
            tracker=tracking_settings(detector, tracker, None, None),
            perturbed_runs=runs,
        )
