"""A whole calibration: choose frames, quantise, score every precision, and write all of it down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import onnx

from jdetrt import files
from jdetrt.calibration.calibrate import Calibration, calibrate
from jdetrt.calibration.frames.choose import FrameList, choose_frames
from jdetrt.calibration.modelopt import quantise_with_modelopt
from jdetrt.calibration.quantize.qdq import quantise
from jdetrt.calibration.record import record
from jdetrt.calibration.report import page
from jdetrt.calibration.score import ApDrop, compare_speed, score_precisions
from jdetrt.calibration.search import Targets
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.calibration_cache import write_cache
from jdetrt.errors import CalibrationError
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.detector import network_size

__all__ = ["REPORT_FILES", "ROWS", "CalibrationRun", "CalibrationSettings"]

OnStep = Callable[[str, int, int | None], None]

# What the models are called in the report.
ROWS = ("FP32", "FP16", "INT8, all layers", "INT8", "INT8 for ONNX Runtime")
_FLOAT, _HALF, _NAIVE, _CHOSEN, _CPU = ROWS
REPORT_FILES = ("report.json", "frames.json", "ranges.json", "index.html")

_SHAKES = 30  # runs over shaken boxes, which tell a loss from chance


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """What ``jdetrt calibrate`` is asked for; paths that are None are not written or read.

    Attributes:
        model: an ONNX model of ``jdetrt export`` in float32.
        output: the INT8 model in TensorRT's layout.
        cpu_output: the same in ONNX Runtime's.
        cache: a calibration cache of TensorRT.
        tensorrt_version: that is to read it.
        sources: footage to choose frames from; empty with a ``frame_list``.
        frame_list: frames that were chosen before.
        count: frames to choose.
        seed: of the choice.
        people: choose also by how many people the model sees.
        method: of the ranges, or ``"auto"``.
        percent: of the method percentile.
        all_layers: leave none in float but ``leave_out``.
        target_cosine: least median cosine.
        max_ap_drop: most average precision to lose, 0 to 1.
        labelled: sequences that this is measured on; none: FP32's own detections.
        labelled_pictures: so many of their pictures.
        leave_out: layers, or patterns, that stay in float.
        rest: what the model for TensorRT computes in where it is in float.
        compared: frames that FP32 and INT8 are compared on.
        gt: a labelled MOT sequence to score all models on.
        fp16: the model in FP16, to score beside the others.
        report: folder for the page, its JSON, the frames and the ranges.
        json_path: a file for the JSON alone.
        state: keeps what is measured until all is done.
        threads: CPU threads; None for one a physical core.
    """

    model: Path
    output: Path
    cpu_output: Path | None = None
    cache: Path | None = None
    tensorrt_version: str = "8.5.3"
    sources: tuple[str, ...] = ()
    frame_list: Path | None = None
    count: int = 500
    seed: int = 0
    people: bool = True
    method: Any = "auto"
    percent: float = 99.999
    all_layers: bool = False
    target_cosine: float = 0.99
    max_ap_drop: float = 0.01
    labelled: tuple[str, ...] = ()
    labelled_pictures: int = 60
    leave_out: tuple[str, ...] = ()
    rest: Literal["fp32", "fp16"] = "fp32"
    compared: int = 16
    gt: Path | None = None
    fp16: Path | None = None
    report: Path | None = None
    json_path: Path | None = None
    state: Path | None = None
    threads: int | None = None


class CalibrationRun:
    """One run with its settings.

    Args:
        settings: what to do.
        on_step: called with what is being done, steps done and in all.

    Attributes:
        data: what was found, once `run` is through: the JSON of the report.
        reports: the files of the report that were written.
    """

    def __init__(self, settings: CalibrationSettings, on_step: OnStep | None = None) -> None:
        self._settings = settings
        self._step: OnStep = on_step or (lambda _what, _done, _steps: None)
        self.data: dict[str, Any] = {}
        self.reports: list[Path] = []

    def run(self) -> None:
        """Do everything; the INT8 model is written as soon as there is one.

        Raises:
            CalibrationError: the model cannot be quantised, or no frame can be used.
            DataError: labelled data is missing or wrong.
            SessionError: a model cannot be run.
            OutputError: a file cannot be written.
            SourceError: footage cannot be opened.
        """
        settings = self._settings
        if settings.report is not None and settings.report.is_file():
            raise CalibrationError(f"{settings.report}: is a file; name a folder for the report")
        rows = self._score({_FLOAT: settings.model})  # what is wrong with --gt shows at once
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(TemporaryDirectory(prefix="jdetrt-int8-")))
            frames = self._frames()
            found = self._calibrate(frames, scratch)
            written = self._write(found)
            models = dict(self._models(found, scratch))
            speed = self._time(models, frames)
            rows = self._score(models, rows)
        self.data = record(
            settings.model,
            found,
            written=written,
            accuracy={"sequence": settings.gt.resolve().name, "rows": rows}
            if settings.gt is not None
            else None,
            speed=speed,
            machine=manifest(),
        )
        self._report(found)
        if settings.state is not None:
            settings.state.unlink(missing_ok=True)

    def by_modelopt(self) -> None:
        """Choose frames and have NVIDIA ModelOpt do the rest; only ``output`` is written.

        Raises:
            CalibrationError: as `quantise_with_modelopt`.
            MissingDependencyError: ModelOpt is not installed.
            OutputError: the output cannot be written.
            SourceError: footage cannot be opened.
        """
        settings = self._settings
        quantise_with_modelopt(
            settings.model,
            settings.output,
            self._frames(),
            method="max" if settings.method == "min-max" else "entropy",
            leave_out=settings.leave_out,
        )

    def _frames(self) -> FrameList:
        settings = self._settings
        if settings.frame_list is not None:
            return FrameList.read(settings.frame_list)
        with open_session(settings.model, provider="cpu", threads=settings.threads) as session:
            return choose_frames(
                settings.sources,
                settings.count,
                settings.seed,
                network_size=network_size(session),
                session=session if settings.people else None,
                progress=lambda uri, done: self._step(f"Frames of {Path(uri).name}", done, None),
            )

    def _calibrate(self, frames: FrameList, scratch: Path) -> Calibration:
        settings = self._settings
        targets = Targets(settings.target_cosine, settings.max_ap_drop)
        ap_drop = None
        if settings.labelled and not settings.all_layers:
            ap_drop = ApDrop(
                settings.model,
                list(settings.labelled),
                pictures=settings.labelled_pictures,
                scratch=scratch,
                threads=settings.threads,
            )
        return calibrate(
            settings.model,
            frames,
            method=settings.method,
            percent=settings.percent,
            targets=None if settings.all_layers else targets,
            leave_out=settings.leave_out,
            compared=settings.compared,
            all_tensors=settings.cache is not None,
            rest=settings.rest,
            ap_drop=ap_drop,
            state=settings.state,
            threads=settings.threads,
            on_step=self._step,
        )

    def _write(self, found: Calibration) -> dict[str, Path]:
        settings = self._settings
        written = {_CHOSEN: settings.output}
        files.write_bytes(settings.output, found.model.SerializeToString())
        if settings.cpu_output is not None:
            files.write_bytes(settings.cpu_output, found.cpu_model.SerializeToString())
            written[_CPU] = settings.cpu_output
        if settings.cache is not None:
            scales = found.ranges[found.method].scales()
            write_cache(settings.cache, scales, settings.tensorrt_version)
            written["calibration cache"] = settings.cache
        return written

    def _time(self, models: dict[str, Path], frames: FrameList) -> dict[str, Any] | None:
        """How long the networks take, where somebody wants to read it."""
        settings = self._settings
        if settings.report is None and settings.json_path is None:
            return None
        image = next(frames.batches())
        self._step("Timing the networks", 0, None)
        return compare_speed(models, image, threads=settings.threads)

    def _score(
        self, models: dict[str, Path], known: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Scores on the labelled sequence, beside those that are known."""
        settings = self._settings
        if settings.gt is None:
            return {}
        return score_precisions(
            models,
            settings.gt,
            shakes=_SHAKES,
            known=known,
            threads=settings.threads,
            on_model=lambda name, done, steps: self._step(f"Tracking in {name}", done, steps),
        )

    def _models(self, found: Calibration, scratch: Path) -> Iterator[tuple[str, Path]]:
        """All models to compare, those that are not written among them."""
        settings = self._settings
        yield _FLOAT, settings.model
        if settings.fp16 is not None:
            yield _HALF, settings.fp16
        if found.choice.left_out:
            naive = quantise(onnx.load(settings.model), found.ranges[found.method])
            yield _NAIVE, _save(naive, scratch / "naive.onnx")
        yield _CHOSEN, settings.output
        yield _CPU, settings.cpu_output or _save(found.cpu_model, scratch / "cpu.onnx")

    def _report(self, found: Calibration) -> None:
        settings = self._settings
        text = json.dumps(self.data, indent=1) + "\n"
        if settings.json_path is not None:
            files.write_text(settings.json_path, text)
            self.reports.append(settings.json_path)
        if settings.report is not None:
            folder = settings.report
            numbers, frames, ranges, html = (folder / name for name in REPORT_FILES)
            files.write_text(numbers, text)
            found.frames.write(frames)
            found.ranges[found.method].write(ranges)
            files.write_text(html, page(self.data))
            self.reports.append(html)


def _save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
