"""Functions of the Python API, which `jdetrt` itself exports.

The command line calls the same functions. What needs torch or onnx imports it when it is called.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from jdetrt import config, shipped
from jdetrt.engine.open import open_session
from jdetrt.errors import CheckpointError, ConfigError, SessionError, requiring
from jdetrt.file_kind import CHECKPOINTS, kind_of
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.signals import interrupt_held
from jdetrt.runtime.sinks.base import Sink, Watcher
from jdetrt.runtime.sinks.text import JsonLinesSink, KittiSink, MotSink
from jdetrt.runtime.sinks.video import FramesSink, VideoSink
from jdetrt.runtime.sources.open import Source, open_source
from jdetrt.runtime.timing import RunReport
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Frame, Session, Size, Tracks

if TYPE_CHECKING:
    from jdetrt.calibration.record import CalibrationRecord
    from jdetrt.config import AnyTrackerConfig, TrackerConfig
    from jdetrt.engine.tensorrt.build_options import BuildOptions
    from jdetrt.engine.tensorrt.plan import Sidecar
    from jdetrt.evaluation.summary import QuickScore
    from jdetrt.export.onnx_writer import Exported
    from jdetrt.training.network.model import JdeNetwork
    from jdetrt.training.progress import Report
    from jdetrt.training.recipe import Recipe
    from jdetrt.training.train import Trained

__all__ = [
    "Tracking",
    "build_plan",
    "calibrate",
    "evaluate",
    "export_onnx",
    "load",
    "track",
    "train",
]

_FRAMES_OF_A_SOURCE = 4  # that an export is compared on


def load(
    model: str | Path = shipped.NANO,
    *,
    size: tuple[int, int] | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool = False,
) -> Detector:
    """Load a model.

    Args:
        model: a model that ships by its name (``"nano"``, ``"nano:864x480"``), an ONNX model, a
            TensorRT plan, or a checkpoint, which needs torch.
        size: width and height of the network input, for a checkpoint or for ``"nano"``; by default
            what the model records.
        score_threshold: detections have a score above it, 0 to 1; by default what the model's
            settings of the tracker say (`jdetrt.runtime.settings.tracker_config`), as `track` does.
        nms_iou: of two detections that overlap by more the lower one goes, 0 to 1; default as for
            ``score_threshold``.
        backend: ``"onnxruntime"``; ``"tensorrt"`` or ``"tensorrt-rtx"``, which build the plan of an
            ONNX model or take it from the cache folder; ``"auto"``: TensorRT for a plan, ONNX
            Runtime for an ONNX model.
        provider: where ONNX Runtime or torch computes: ``"auto"`` (a GPU if there is one),
            ``"cpu"``, ``"cuda"``, ``"tensorrt"``.
        threads: CPU threads; None for one per physical core.
        cuda_graph: run a plan as a CUDA graph.

    Returns:
        A detector; close it, or use it as a context manager.

    Raises:
        ConfigError: no model of this name ships.
        CheckpointError: there is no such file, or the checkpoint cannot be used.
        ExportError: the checkpoint holds a body alone, or does not record its size.
        SessionError: the model cannot be opened, has another size, or the provider is missing.
        PlanMismatchError: the plan does not fit this machine.
        BuildError: TensorRT cannot build the model.
        MissingDependencyError: the backend, or torch for a checkpoint, is not installed.

    ::

        with jdetrt.load("nano") as detector:
            people = detector.detect(cv2.imread("street.jpg"))
        print(people.boxes, people.scores)
    """
    if model == shipped.NANO and size is not None:
        model = f"{shipped.NANO}:{Size(*size)}"
    path = shipped.resolve(model)
    if kind_of(path, CheckpointError) in CHECKPOINTS:
        if backend != "auto" or cuda_graph:
            raise SessionError(
                f"{path}: is a checkpoint, which only torch runs; leave "
                f"backend and cuda_graph out, or export it first"
            )
        session = _open_checkpoint(path, size, provider, threads)
    else:
        session = open_session(
            path, backend=backend, provider=provider, threads=threads, cuda_graph=cuda_graph
        )
    try:
        height, width = session.inputs[0].shape[2:]
        if size is not None and (width not in (-1, size[0]) or height not in (-1, size[1])):
            raise SessionError(
                f"{path}: takes images of {width}x{height}, not {Size(*size)}; leave the "
                f"size out, or export the checkpoint at that size"
            )
        settings = tracker_config(session)
        return Detector(
            session,
            size=size,
            score_threshold=(
                settings.score_threshold if score_threshold is None else score_threshold
            ),
            nms_iou=settings.nms_iou if nms_iou is None else nms_iou,
        )
    except BaseException:
        session.close()
        raise


def _open_checkpoint(
    path: Path, size: tuple[int, int] | None, provider: str, threads: int | None
) -> Session:
    with requiring("export", f"{path}: is a checkpoint; running it"):
        import torch

        from jdetrt.export.torch_session import open_checkpoint

    if provider not in ("auto", "cpu", "cuda"):
        raise SessionError(
            f"{path}: is a checkpoint, which runs in torch: expected the provider 'cpu' or "
            f"'cuda', got '{provider}'"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    if provider == "auto":
        provider = "cuda" if torch.cuda.is_available() else "cpu"
    return open_checkpoint(path, size, device=provider)


class Tracking:
    """Frames of a source with their tracks, in order: the iterator that `track` returns.

    The next frames are read, and the network runs, while the caller works on a frame. At the end
    of the source, after an error and when the caller leaves early, everything is closed, and the
    outputs are complete with the frames up to there. A caller that keeps the object and leaves
    early closes it by ``close`` or by a ``with`` block.

    Attributes:
        source: where the frames come from.
        detector: the model.
        tracker: its settings also say which tracks are reported.
    """

    def __init__(
        self, source: Source, detector: Detector, tracker: Tracker, run: Pipeline, close: ExitStack
    ) -> None:
        self.source = source
        self.detector = detector
        self.tracker = tracker
        self._pipeline = run
        self._frames = iter(run)
        # Called by close, when nothing refers to this object any more, or when Python ends.
        self._end = weakref.finalize(self, _end, self._frames, close)

    def __iter__(self) -> Tracking:
        return self

    def __next__(self) -> tuple[Frame, Tracks]:
        try:
            return next(self._frames)
        except BaseException:  # the end of the source is one of them
            self.close()
            raise

    def report(self) -> RunReport:
        """Speed of every stage and number of frames and tracks so far."""
        return self._pipeline.report()

    def close(self) -> None:
        """End the run and complete its outputs; a second call does nothing.

        Raises:
            OutputError: an output cannot be completed.
        """
        self._end()

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _end(frames: Generator[tuple[Frame, Tracks], None, None], closing: ExitStack) -> None:
    with closing:
        frames.close()


def track(
    source: str | Path | Source,
    model: str | Path | Detector = shipped.NANO,
    *,
    size: tuple[int, int] | None = None,
    tracker: str | Path | TrackerConfig | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_frames: int | None = None,
    frame_rate: float | None = None,
    mot: str | Path | None = None,
    kitti: str | Path | None = None,
    jsonl: str | Path | None = None,
    video: str | Path | None = None,
    images: str | Path | None = None,
    sinks: Sequence[Sink] = (),
    watchers: Sequence[Watcher] = (),
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool = False,
) -> Tracking:
    """Track people through a source.

    Args:
        source: a video, a folder or pattern of images, a MOT sequence, or a camera
            (`jdetrt.runtime.sources.open`); or a source that is open, which is closed at the end.
        model: as `load` takes it; or a detector, which keeps its thresholds and stays open.
        size: width and height of the network input, as in `load`.
        tracker: a preset by name (``"reference"``, ``"paper"``, ``"iou"``), settings, or as a
            ``pathlib.Path`` a TOML file with settings; by default what the model says, or else
            ``"reference"`` with embeddings and ``"iou"`` without.
        score_threshold: detections have a score above it, 0 to 1; by default as in the settings.
        nms_iou: of two detections that overlap by more the lower one goes, 0 to 1; by default as
            in the settings.
        max_frames: end after this number of frames.
        frame_rate: frames per second, in place of what the source says.
        mot: write MOT Challenge text to this file.
        kitti: write KITTI text to this file.
        jsonl: write JSON to this file, one line per frame.
        video: write a video with the tracks drawn to this file.
        images: write images with the tracks drawn to this folder.
        sinks: outputs of your own (`jdetrt.runtime.sinks.base.Sink`), which are completed too.
        watchers: functions that get each frame with its tracks, age and times as it is finished
            (`jdetrt.runtime.sinks.base.FrameResult`).
        backend: as in `load`.
        provider: as in `load`.
        threads: as in `load`.
        cuda_graph: as in `load`.

    Returns:
        An iterator of `Frame` and `Tracks`. Nothing is read before it is iterated.

    Raises:
        ConfigError: there is no such preset, or an output is also the source or the model.
        SourceError: the source cannot be opened, has no frame or breaks off.
        OutputError: an output cannot be written.
        JdetrtError: as in `load`.

    ::

        for frame, tracks in jdetrt.track("video.mp4", mot="tracks.txt"):
            print(frame.index, tracks.ids, tracks.boxes)
    """
    makers: dict[str, tuple[str | Path | None, Callable[[Any], Sink]]] = {
        "mot": (mot, MotSink),
        "kitti": (kitti, KittiSink),
        "jsonl": (jsonl, JsonLinesSink),
        "video": (video, lambda path: VideoSink(path, frame_rate=opened.frame_rate)),
        "images": (images, FramesSink),
    }
    outputs = [
        (name, Path(path), make) for name, (path, make) in makers.items() if path is not None
    ]
    files = [uri for uri in (source, model, tracker) if isinstance(uri, (str, Path))]
    inputs = {os.path.realpath(file) for file in files if os.path.exists(file)}
    for name, path, _ in outputs:
        if os.path.realpath(path) in inputs:
            raise ConfigError(f"{name}={path}: would overwrite an input; give it another name")
    with ExitStack() as stack:
        if isinstance(model, Detector):
            detector = model
        else:
            detector = stack.enter_context(
                load(
                    model,
                    size=size,
                    backend=backend,
                    provider=provider,
                    threads=threads,
                    cuda_graph=cuda_graph,
                )
            )
        settings = _settings(detector, tracker, score_threshold, nms_iou)
        if detector is not model:
            detector.score_threshold = settings.score_threshold
            detector.nms_iou = settings.nms_iou
        if isinstance(source, (str, Path)):
            source = open_source(source, frame_rate=frame_rate)
        opened = stack.enter_context(source)
        with interrupt_held():
            for _, path, make in outputs:
                sinks = [*sinks, make(path)]
                stack.callback(sinks[-1].discard)  # which does nothing to a complete one
        follows = Tracker(settings, opened.frame_rate)
        run = Pipeline(opened, detector, follows, sinks, max_frames=max_frames, watchers=watchers)
        return Tracking(opened, detector, follows, run, stack.pop_all())


def _settings(
    detector: Detector,
    tracker: str | Path | TrackerConfig | None,
    score_threshold: float | None,
    nms_iou: float | None,
) -> TrackerConfig:
    settings: TrackerConfig
    if isinstance(tracker, Path):
        settings = config.load(tracker, cast(Any, config.AnyTrackerConfig))
    elif tracker is None or isinstance(tracker, str):
        settings = tracker_config(detector.session, tracker)
    else:
        settings = tracker
    changes = {"score_threshold": score_threshold, "nms_iou": nms_iou}
    given = {key: value for key, value in changes.items() if value is not None}
    return msgspec.structs.replace(settings, **given)


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
        trained_size: size whose anchors the network was trained with, if the checkpoint records
            none and it is not ``size``.
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
        frames=[image for uri in sources for image in _first_images(uri)],
    )


def _first_images(uri: str | Path) -> list[Any]:
    with open_source(uri) as source:
        return [frame.image for frame in itertools.islice(source, _FRAMES_OF_A_SOURCE)]


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
            tracker=_settings(detector, tracker, None, None),
            perturbed_runs=runs,
        )


def train(
    recipe: str | Path | Recipe,
    output: str | Path,
    *,
    data_root: str | Path = ".",
    start: str | None = None,
    validate: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 2,
    cache: bool = False,
    report: Callable[[Report], None] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Trained:
    """Train a network. For several GPUs run the program with ``torchrun``.

    Args:
        recipe: a recipe, the path of a TOML file, or the name of a recipe that ships
            (``"paper"``, ``"nano"``).
        output: folder of the run; gets the checkpoints, the log and the state to resume from.
        data_root: folder that the paths of the recipe are relative to.
        start: weights to start from, in place of the recipe's.
        validate: MOT sequence to score the network on; ``best.safetensors`` is the checkpoint with
            the highest AP.
        resume: continue the run in ``output``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
        workers: processes that prepare images.
        cache: keep all images in memory.
        report: called with the losses every few steps, and with the scores after each validation;
            in the first process.
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
        from jdetrt.training.data.training_set import open_training_set
        from jdetrt.training.distributed import processes
        from jdetrt.training.recipe import open_recipe
        from jdetrt.training.run_folder import check, prepare
        from jdetrt.training.train import train as run

    output = Path(output)
    settings = open_recipe(str(recipe)) if isinstance(recipe, (str, Path)) else recipe
    if start is not None:
        settings = msgspec.structs.replace(settings, start=start)
    with processes(device) as process:
        check(output, resume=resume)
        score = None if validate is None else validation_scorer(settings, Path(validate))
        data_set = open_training_set(settings, Path(data_root), cache=cache)
        if process.first:
            if not resume:
                prepare(output, settings)
            progress.message(
                f"{len(data_set)} images per epoch, {data_set.identities} identities, "
                f"{settings.network.body} on {process.device}"
            )
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


def validation_scorer(
    recipe: Recipe, sequence: Path
) -> Callable[[JdeNetwork], Mapping[str, float]]:
    """Make a function that scores a network in training on a sequence, as `quick_score` does."""
    from jdetrt.evaluation.summary import quick_score
    from jdetrt.export.torch_session import TorchSession
    from jdetrt.runtime.sources.seqinfo import read_seqinfo
    from jdetrt.training.network.anchors import grids, network_anchors

    size = recipe.validation_size or recipe.network.size
    assert size is not None
    grids(*size)  # complain now rather than after the first epoch
    read_seqinfo(sequence)

    def score(network: JdeNetwork) -> Mapping[str, float]:
        anchors = network_anchors(recipe.network, size)
        with TorchSession(network, size, anchors, tracker=recipe.network.tracker) as session:
            return quick_score(session, sequence).to_dict()

    return score
