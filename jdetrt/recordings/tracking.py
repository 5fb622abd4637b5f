"""Tracking of one recording of a manifest: its results and its record, whole or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from jdetrt.config import AnyTrackerConfig
from jdetrt.engine.model import Model
from jdetrt.engine.open import open_session
from jdetrt.engine.triton_url import is_triton_url
from jdetrt.errors import ConfigError, JdetrtError, OutputError, SessionError
from jdetrt.inputs import reading, sha256
from jdetrt.recordings.manifest import Recording
from jdetrt.recordings.record import Record, Result, outputs_digest, write_record
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.regions import Regions
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.settings import assumptions, label_of, tracker_config
from jdetrt.runtime.sinks.base import Sink
from jdetrt.runtime.sinks.outputs import open_output, output_path
from jdetrt.runtime.sources.open import account_of, open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.shipped import name_for, sizes
from jdetrt.types import Session

__all__ = ["RecordingTracker", "Task", "TrackSettings", "UnusableModelError"]

_COUNTS = ("unshaped", "gaps", "restarts", "repeats")


class UnusableModelError(SessionError):
    """The model cannot be opened, which no recording can mend."""


class TrackSettings(msgspec.Struct, kw_only=True, frozen=True):
    """Settings of all recordings of a manifest.

    Attributes:
        folder: for the records, ``folder/records/NAME.json``; an absolute path.
        outputs: absolute paths by kind (`jdetrt.runtime.sinks.outputs.KINDS`), in which ``{name}``
            stands for the name of a recording.
        model: an absolute path or an address of one on Triton; None for the built-in one whose
            shape suits each recording.
        tracker: settings; by default those of ``preset``, or else of the model.
        score_threshold, nms_iou: in place of those of the tracker's settings.
        regions: file of lines and zones, ``{name}`` in it as in the outputs.
    """

    folder: str
    outputs: dict[str, str]
    model: str | None = None
    backend: str = "auto"
    provider: str = "auto"
    cuda_graph: bool | None = None
    tracker: AnyTrackerConfig | None = None
    preset: str | None = None
    score_threshold: float | None = None
    nms_iou: float | None = None
    max_frames: int | None = None
    every: int = 1
    camera_motion: str = "auto"
    frame_rate: float | None = None
    regions: str | None = None

    def origin(self) -> dict[str, Any]:
        """Facts on which all results depend, by name. Raises SessionError."""
        facts: dict[str, Any] = {"jdetrt": metadata.version("jdetrt"), **msgspec.to_builtins(self)}
        del facts["folder"], facts["regions"]
        if self.model is None:
            facts["model"] = {size: Model(path).sha256 for size, path in sizes().items()}
        elif not is_triton_url(self.model):
            facts["model"] = Model(Path(self.model)).sha256
        return facts

    def check(self) -> None:
        """Refuse what would fail with every recording. Raises ConfigError."""
        if "events" in self.outputs and self.regions is None:
            raise ConfigError("events need lines or zones; name the file with --regions FILE")
        if self.regions is not None and "{name}" not in self.regions:
            Regions.read(self.regions)

    def paths(self, name: str) -> dict[str, str]:
        """Outputs of a recording by kind."""
        return {
            kind: str(output_path(path, name, several=True)) for kind, path in self.outputs.items()
        }

    def record(self, name: str) -> Path:
        """The path of the record of a recording."""
        return Path(self.folder, "records", f"{name}.json")

    def regions_of(self, name: str) -> dict[str, str]:
        """Hash of the file of lines and zones, where there is one. Raises ConfigError."""
        path = self._regions_path(name)
        if path is None:
            return {}
        with reading(path, ConfigError):
            return {"regions": sha256(path)}

    def counter(self, name: str, frame_rate: float) -> EventCounter | None:
        """The counter of lines and zones of a recording. Raises ConfigError."""
        path = self._regions_path(name)
        return None if path is None else EventCounter(Regions.read(path), frame_rate=frame_rate)

    def _regions_path(self, name: str) -> Path | None:
        return None if self.regions is None else output_path(self.regions, name, several=False)


class Task(msgspec.Struct, kw_only=True):
    """A recording to track, and the facts that its results will follow from."""

    name: str
    source: str
    origin: dict[str, Any]

    @classmethod
    def of(cls, recording: Recording, origin: dict[str, Any]) -> Task:
        """The task of a recording."""
        return cls(name=recording.name, source=recording.source, origin=origin)


class RecordingTracker:
    """Tracks one recording after the other, with models that stay open.

    Args:
        settings: of all recordings.
        threads: of the CPU, for the network and for OpenCV; None for as many as they take.
    """

    def __init__(self, settings: TrackSettings, threads: int | None) -> None:
        self._settings = settings
        self._threads = threads
        self._sessions: dict[str, Session] = {}
        if threads is not None:
            load_cv2().setNumThreads(threads)

    def __enter__(self) -> RecordingTracker:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the models."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def __call__(self, task: Task) -> Result:
        """Track a recording, write its results and then its record.

        Raises:
            UnusableModelError: the model cannot be opened.
            JdetrtError: the recording cannot be read, or its results not written: none of this run
                are left.
        """
        with ExitStack() as stack:
            source = stack.enter_context(
                open_source(task.source, frame_rate=self._settings.frame_rate)
            )
            session = self._session(self._settings.model or name_for(source.size))
            try:
                return self._track(task, source, session, stack)
            except SessionError:  # it may be of no use any more
                self.close()
                raise

    def _track(self, task: Task, source: Any, session: Session, stack: ExitStack) -> Result:
        settings, paths = self._settings, self._settings.paths(task.name)
        follows = Tracker(self._tracker_settings(session), source.frame_rate)
        counter = settings.counter(task.name, source.frame_rate)
        sinks: list[Sink] = [] if counter is None else [counter]
        for kind, path in paths.items():
            output = open_output(
                kind, path, source.frame_rate, counter=counter, label=label_of(session)
            )
            stack.callback(output.discard)  # which does nothing to a complete one
            sinks.append(output)
        pipeline = Pipeline(
            source,
            session,
            follows,
            size=network_size(session),
            max_frames=settings.max_frames,
            every=settings.every,
            camera_motion=settings.camera_motion,
            name=task.name,
            select=None if counter is None else counter.select,
        )
        with self._whole(task, paths):
            # Not by the pipeline, which completes its outputs when a source breaks off.
            for frame, tracks in pipeline:
                for sink in sinks:
                    sink.write(frame, tracks)
            settings.record(task.name).unlink(missing_ok=True)
            for sink in sinks:
                sink.close()
        report, account = pipeline.report(), account_of(source)
        given = settings.tracker is not None or settings.preset is not None
        result = Result(
            frames=report.frames,
            detections=report.detections,
            tracks=report.tracks,
            seconds=report.seconds,
            fps=report.system_fps,
            counts={name: count for name in _COUNTS if (count := getattr(report, name))},
            read=account.to_dict(),
            short=account.is_short,
            notes=[*assumptions(session, tracker_given=given), *account.notes],
            host=socket.gethostname(),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        outputs = {path: outputs_digest(path) or "" for path in paths.values()}
        record = Record(origin=task.origin, outputs=outputs, result=result)
        write_record(settings.record(task.name), record)
        return result

    @contextmanager
    def _whole(self, task: Task, paths: dict[str, str]) -> Iterator[None]:
        """Leave no results of a part: an output that cannot be written completes itself."""
        try:
            yield
        except OutputError as err:
            self._settings.record(task.name).unlink(missing_ok=True)
            for path in paths.values():
                _remove(Path(path))
            reason = str(err).split("\n")[0]
            raise OutputError(f"{reason}; no results of {task.name} are left") from err

    def _tracker_settings(self, session: Session) -> AnyTrackerConfig:
        settings = self._settings
        given = {
            name: value
            for name in ("score_threshold", "nms_iou")
            if (value := getattr(settings, name)) is not None
        }
        config = settings.tracker or tracker_config(session, settings.preset)
        return msgspec.structs.replace(config, **given)

    def _session(self, model: str) -> Session:
        if model not in self._sessions:
            try:
                self._sessions[model] = open_session(
                    model,
                    backend=self._settings.backend,
                    provider=self._settings.provider,
                    threads=self._threads,
                    cuda_graph=self._settings.cuda_graph,
                )
            except JdetrtError as err:
                raise UnusableModelError(str(err)) from err
        return self._sessions[model]


def _remove(path: Path) -> None:
    """Remove an output of ours: a file, or a folder of annotated images."""
    with suppress(OSError):
        if path.is_dir():
            for image in path.glob("tracked-*"):
                image.unlink()
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
