"""Functions of the Python API, which `jdetrt` itself exports.

The command line calls the same functions. `track` is here; `load` is in
`jdetrt.functions.loading`, and what works with torch, onnx or TensorRT in `jdetrt.functions.tasks`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from jdetrt import shipped
from jdetrt.account import Account
from jdetrt.errors import ConfigError
from jdetrt.functions.loading import load, tracking_settings
from jdetrt.functions.tasks import build_plan, calibrate, evaluate, export_onnx
from jdetrt.functions.training import train
from jdetrt.many import track_many
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.open import open_counter
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.settings import assumptions, label_of
from jdetrt.runtime.signals import interrupt_held
from jdetrt.runtime.sinks.base import Sink, Watcher
from jdetrt.runtime.sinks.outputs import KINDS, open_output
from jdetrt.runtime.sinks.rotation import NO_ROTATION, Rotation
from jdetrt.runtime.sources.open import Source, account_of, open_source
from jdetrt.runtime.timing import RunReport
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Frame, Tracks

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig

__all__ = [
    "Tracking",
    "build_plan",
    "calibrate",
    "evaluate",
    "export_onnx",
    "load",
    "track",
    "track_many",
    "train",
]


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
        notes: sentences on what was assumed of the model.
    """

    def __init__(
        self,
        source: Source,
        detector: Detector,
        tracker: Tracker,
        run: Pipeline,
        close: ExitStack,
        notes: Sequence[str] = (),
    ) -> None:
        self.notes = list(notes)
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

    @property
    def account(self) -> Account:
        """Frames that were read so far, those that could not be, and what was assumed of them."""
        return account_of(self.source)

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
    trained_size: tuple[int, int] | None = None,
    tracker: str | Path | TrackerConfig | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_frames: int | None = None,
    every: int = 1,
    camera_motion: str = "auto",
    frame_rate: float | None = None,
    mot: str | Path | None = None,
    kitti: str | Path | None = None,
    jsonl: str | Path | None = None,
    video: str | Path | None = None,
    images: str | Path | None = None,
    regions: str | Path | EventCounter | None = None,
    events: str | Path | None = None,
    heat_map: str | Path | None = None,
    rotate: str | Rotation | None = None,
    reconnect_for: float | None = None,
    sinks: Sequence[Sink] = (),
    watchers: Sequence[Watcher] = (),
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool | None = None,
) -> Tracking:
    """Track people through a source.

    Args:
        source: a video, a folder or pattern of images, a MOT sequence, or a camera
            (`jdetrt.runtime.sources.open`); or a source that is open, which is closed at the end.
        model: as `load` takes it; or a detector, which keeps its thresholds and stays open.
            ``"nano"`` without a size is taken in the size that suits the frames of the source.
        size: width and height of the network input, as in `load`.
        trained_size: as in `load`.
        tracker: a preset by name (``"fused"``, ``"reference"``, ``"paper"``, ``"iou"``), settings,
            or as a ``pathlib.Path`` a TOML file with settings; by default what the model says, or
            else ``"fused"``.
        score_threshold: detections have a score above it, 0 to 1; by default as in the settings.
        nms_iou: of two detections that overlap by more the lower one goes, 0 to 1; by default as
            in the settings.
        max_frames: end after this number of frames.
        every: run the network on one frame of so many; in between, tracks move on as they did.
        camera_motion: estimate how the camera moves and move the tracks along: while it moves
            (``"auto"``), always or never.
        frame_rate: frames per second, in place of what the source says.
        mot: write MOT Challenge text to this file.
        kitti: write KITTI text to this file.
        jsonl: write JSON to this file, one line per frame; ``-`` for standard output. Files of a
            camera grow under their own names, those of other sources appear at the end.
        video: write a video with the tracks drawn to this file.
        images: write images with the tracks drawn to this folder.
        regions: a TOML file of lines, zones and masks, which are drawn; or a counter of your own
            (`jdetrt.runtime.events.counter.EventCounter`), to read its counts.
        events: write what happens at the lines and in the zones, one JSON object per line.
        heat_map: write an image of where people stood.
        rotate: begin new files of a live source: ``"100MB"``, ``"1h"``.
        reconnect_for: seconds that a camera may be away before it counts as lost for good; None
            for any time.
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
    paths = (mot, kitti, jsonl, events, video, images, heat_map)
    given = dict(zip(KINDS, paths, strict=True))
    outputs = [(name, Path(path)) for name, path in given.items() if path is not None]
    rotation = Rotation.parse(rotate) if isinstance(rotate, str) else rotate or NO_ROTATION
    files = [uri for uri in (source, model, tracker, regions) if isinstance(uri, (str, Path))]
    inputs = {os.path.realpath(file) for file in files if os.path.exists(file)}
    for name, path in outputs:
        if os.path.realpath(path) in inputs:
            raise ConfigError(f"{name}={path}: would overwrite an input; give it another name")
    with ExitStack() as stack:
        if isinstance(source, (str, Path)):
            source = open_source(source, frame_rate=frame_rate, reconnect_for=reconnect_for)
        opened = stack.enter_context(source)
        if model == shipped.NANO and size is None:
            model = shipped.name_for(opened.size)
        if isinstance(model, Detector):
            detector = model
        else:
            detector = stack.enter_context(
                load(
                    model,
                    size=size,
                    trained_size=trained_size,
                    backend=backend,
                    provider=provider,
                    threads=threads,
                    cuda_graph=cuda_graph,
                )
            )
        settings = tracking_settings(detector, tracker, score_threshold, nms_iou)
        if detector is not model:
            detector.score_threshold = settings.score_threshold
            detector.nms_iou = settings.nms_iou
        counter = regions
        if isinstance(regions, (str, Path)):
            counter = open_counter(regions, opened.frame_rate)
        assert not isinstance(counter, (str, Path))
        if counter is not None:
            sinks = [counter, *sinks]
        with interrupt_held():
            for name, path in outputs:
                output = open_output(
                    name,
                    path,
                    opened.frame_rate,
                    live=opened.live,
                    rotation=rotation,
                    counter=counter,
                    label=label_of(detector.session),
                )
                sinks = [*sinks, output]
                stack.callback(sinks[-1].discard)  # which does nothing to a complete one
        follows = Tracker(settings, opened.frame_rate)
        run = Pipeline(
            opened,
            detector,
            follows,
            sinks,
            max_frames=max_frames,
            every=every,
            watchers=watchers,
            select=None if counter is None else counter.select,
            camera_motion=camera_motion,
        )
        notes = assumptions(detector.session, tracker_given=tracker is not None)
        return Tracking(opened, detector, follows, run, stack.pop_all(), notes)
