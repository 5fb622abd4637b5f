"""Long work on models: export, build, calibrate, evaluate and train.

What needs torch, onnx or TensorRT is imported when a function is called.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from jdetrt import config, shipped
from jdetrt.account import counted
from jdetrt.errors import ConfigError, requiring
from jdetrt.functions.loading import load, tracking_settings
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.sources.open import open_source

if TYPE_CHECKING:
    from jdetrt.calibration.record import CalibrationRecord
    from jdetrt.config import AnyTrackerConfig, LabelConfig, NetworkConfig, TrackerConfig
    from jdetrt.engine.tensorrt.build_options import BuildOptions
    from jdetrt.engine.tensorrt.plan import Sidecar
    from jdetrt.evaluation.summary import QuickScore
    from jdetrt.export.onnx_writer import Exported
    from jdetrt.training.network.model import JdeNetwork
    from jdetrt.training.progress import Report
    from jdetrt.training.recipe import Recipe
    from jdetrt.training.train import Trained

__all__ = ["build_plan", "calibrate", "evaluate", "export_onnx", "first_images", "train"]

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
    from jdetrt.engine.tensorrt.builder import build_plan as build
    from jdetrt.engine.tensorrt.calibration_cache import cache_calibrator
    from jdetrt.engine.tensorrt.compat import load as load_tensorrt

    options = options or BuildOptions()
    calibrator = None
    if calibration_cache is not None:
        calibration_cache = Path(calibration_cache)
        options = msgspec.structs.replace(options, calibration_cache=calibration_cache.name)
        calibrator = cache_calibrator(calibration_cache)
    return build(
        load_tensorrt(backend),
        shipped.resolve(model),
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
            ``cpu_output`` (the model for ONNX Runtime's integer kernels), ``count``, ``labelled``
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
    with requiring("export", "Calibrating a model"):
        from jdetrt.calibration.config import CalibrationConfig
        from jdetrt.calibration.run import CalibrationRun

    uris = [sources] if isinstance(sources, (str, Path)) else sources
    paths = {field.name for field in fields(CalibrationConfig) if field.type == "Path | None"}
    for name in paths & settings.keys():
        if settings[name] is not None:
            settings[name] = Path(settings[name])
    run = CalibrationRun(
        CalibrationConfig(
            model=shipped.resolve(model),
            output=Path(output),
            sources=tuple(str(uri) for uri in uris),
            **settings,
        ),
        progress,
    )
    run.run()
    assert run.record is not None
    return run.record


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


def train(
    recipe: str | Path | Recipe | None,
    output: str | Path,
    *,
    data_root: str | Path = ".",
    start: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    learning_rate: float | None = None,
    data: Sequence[str | Path] = (),
    label: LabelConfig | None = None,
    validate: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 2,
    cache: bool = False,
    report: Callable[[Report], None] | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Trained:
    """Train a network. For several GPUs run the program with ``torchrun``.

    Args:
        recipe: a recipe, the path of a TOML file, or the name of a recipe that ships
            (``"paper"``, ``"nano"``); None with ``resume`` for the one that the run began with, and
            with ``data`` for one that teaches the built-in model.
        output: folder of the run; gets the checkpoints, the log and the state to resume from.
        data_root: folder that the paths of the recipe are relative to.
        start: weights to start from, in place of the recipe's.
        epochs: number of epochs, in place of the recipe's; so are the next three.
        batch: images a step, over all devices.
        size: width and height of the network input, in training and validation.
        learning_rate: of the optimiser.
        data: data sets to train on (`jdetrt.training.data.paths.find`), in place of the recipe's.
        label: class to train in place of people: its number in the labels, and its name.
        validate: MOT sequence to score the network on; ``best.safetensors`` is the checkpoint with
            the highest AP.
        resume: continue the run in ``output``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
        workers: processes that prepare images.
        cache: keep all images in memory.
        report: called with the losses every few steps, and with the scores after each validation;
            in the first process.
        announce: called with a sentence on the data before the first epoch, in the first process;
            by default it is a message of ``progress``.
        progress: gets a phase for each epoch.

    Returns:
        Number of epochs, checkpoints and best score.

    Raises:
        ConfigError: the recipe does not fit the data or the state.
        DataError: there are too few images, or one cannot be read.
        TrainingError: the loss is no longer a finite number.
        CheckpointError: the weights to start from cannot be used, or there is no state to resume.
        OutputError: the output cannot be written.
        MissingDependencyError: torch is not installed.
    """
    with requiring("train", "Training a network"):
        from jdetrt.training.data.datasets import labels_account
        from jdetrt.training.data.training_set import open_training_set
        from jdetrt.training.distributed import processes
        from jdetrt.training.recipe import changed, open_recipe, starter
        from jdetrt.training.run_folder import check, prepare, read_recipe
        from jdetrt.training.train import train as run

    output = Path(output)
    if recipe is None:
        check(output, resume=resume)
        if not (resume or data):
            raise ConfigError("train: give a recipe, or data for the built-in one")
        settings = read_recipe(output) if resume else starter(_built_in())
    else:
        settings = open_recipe(str(recipe)) if isinstance(recipe, (str, Path)) else recipe
    settings = changed(
        settings,
        start=start,
        epochs=epochs,
        batch=batch,
        size=size,
        learning_rate=learning_rate,
        data=data,
        label=label,
    )
    with processes(device) as process:
        check(output, resume=resume)
        score = None if validate is None else _validation_scorer(settings, Path(validate))
        data_set = open_training_set(settings, Path(data_root), cache=cache, say=progress.message)
        if process.first:
            if not resume:
                prepare(output, settings)
            say = announce or progress.message
            say(
                f"{counted(len(data_set), 'image')} per epoch, "
                f"{counted(data_set.identities, 'identity', 'identities')}, "
                f"{settings.network.body} on {process.device}"
            )
            labels = labels_account(data_set)
            if labels.left_out or labels.by_design:
                say(f"Labels: {labels.summary()}")
            for note in labels.notes:
                say(note)
        return run(
            settings,
            data_set,
            output,
            process,
            workers=workers,
            resume=resume,
            validate=score,
            report=report if report is not None and process.first else lambda _: None,
            progress=progress if process.first else NO_PROGRESS,
        )


def _built_in() -> NetworkConfig:
    """Configuration of the built-in model."""
    from jdetrt.training.checkpoints.checkpoint import load as load_checkpoint

    return load_checkpoint(shipped.resolve_checkpoint(shipped.NANO))[1].config


def _validation_scorer(
    recipe: Recipe, sequence: Path
) -> Callable[[JdeNetwork], Mapping[str, float]]:
    """Make a function that scores a network in training on a sequence, as `quick_score` does."""
    from jdetrt.evaluation.summary import quick_score
    from jdetrt.export.torch_session import TorchSession
    from jdetrt.runtime.sources.images import sequence_info
    from jdetrt.runtime.sources.seqinfo import read_seqinfo
    from jdetrt.training.network.anchors import grids, network_anchors

    size = recipe.validation_size or recipe.network.size
    assert size is not None
    grids(*size)  # complain now rather than after the first epoch
    if sequence_info(sequence) is None:
        read_seqinfo(sequence)  # which says what is wrong

    def score(network: JdeNetwork) -> Mapping[str, float]:
        anchors = network_anchors(recipe.network)  # of the size of training, as in an export
        with TorchSession(network, size, anchors, tracker=recipe.network.tracker) as session:
            return quick_score(session, sequence).in_percent()

    return score
