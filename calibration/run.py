"""A whole calibration: choose frames, quantise, score every precision, and write the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import onnx

from jdetrt import files
from jdetrt.account import Account
from jdetrt.calibration.calibrate import Calibration, calibrate
from jdetrt.calibration.config import REPORT_FILES, CalibrationConfig
from jdetrt.calibration.frames.choose import FrameList, choose_frames
from jdetrt.calibration.modelopt import quantise_with_modelopt
from jdetrt.calibration.quantize.layers import FloatModel
from jdetrt.calibration.quantize.qdq import quantise
from jdetrt.calibration.record import Accuracy, CalibrationRecord, record
from jdetrt.calibration.report import page
from jdetrt.calibration.rtx_check import rtx_warning
from jdetrt.calibration.score import ApDrop, Speed, compare_speed, score_precisions
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.calibration_cache import write_cache
from jdetrt.errors import CalibrationError, ConfigError
from jdetrt.machine.manifest import manifest
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import network_size

__all__ = ["CalibrationRun"]

# Names of the models in the report.
_FLOAT, _HALF, _ALL, _CHOSEN, _CPU = (
    *("FP32", "FP16", "INT8, all layers", "INT8", "INT8 for ONNX Runtime"),
)
_PERTURBED_RUNS = 30  # runs over perturbed boxes, which tell a loss from chance


class CalibrationRun:
    """One calibration with its files.

    Args:
        config: what to do; ``output`` is needed.
        progress: has a phase for each source and each stage.

    Attributes:
        accounts: of the frames and labelled images that were read.

    Raises:
        ConfigError: no output is named.
    """

    def __init__(self, config: CalibrationConfig, progress: Progress = NO_PROGRESS) -> None:
        if config.output is None:
            raise ConfigError("no output file given for the INT8 model")
        self._config, self._output, self._progress = config, config.output, progress
        self._model = FloatModel(config.model)
        self.accounts: list[Account] = []

    def run(self) -> CalibrationRecord:
        """Do everything; the INT8 model is written as soon as there is one.

        Returns:
            All results, as in the JSON of the report.

        Raises:
            CalibrationError: the model cannot be quantised, or no frame can be used.
            DataError: labelled data is missing or wrong.
            SessionError: a model cannot be run.
            OutputError: a file cannot be written.
            SourceError: a source cannot be opened.
        """
        config = self._config
        if config.report is not None and config.report.is_file():
            raise CalibrationError(f"{config.report}: is a file; name a folder for the report")
        labelled = Account("image")
        self.accounts = [labelled]
        # First, so that what is wrong with --gt shows at once.
        rows = self._score({_FLOAT: config.model}, images=labelled)
        with files.scratch_folder("int8") as folder:
            scratch = Path(folder)
            frames = self._frames()
            result = self._calibrate(frames, scratch)
            outputs = self._write(result)
            models = dict(self._models(result, scratch))
            speed = self._time(models, frames)
            rows = self._score(models, rows)
            warning = self._against_fp16(scratch)
        data = record(
            result,
            outputs=outputs,
            accuracy=None if config.gt is None else Accuracy(config.gt.resolve().name, rows),
            speed=speed,
            machine=msgspec.to_builtins(manifest()),
        )
        if warning is not None:
            data.warnings.append(warning)
        self._report(result, data)
        if config.state is not None:
            config.state.unlink(missing_ok=True)
        return data

    def by_modelopt(self) -> None:
        """Choose frames and have NVIDIA ModelOpt do the rest; only ``output`` is written.

        Raises:
            CalibrationError: as `quantise_with_modelopt`.
            MissingDependencyError: ModelOpt is not installed.
            OutputError: the output cannot be written.
            SourceError: a source cannot be opened.
        """
        quantise_with_modelopt(
            self._config.model,
            self._output,
            self._frames(),
            method="max" if self._config.method == "min-max" else "entropy",
            leave_out=self._config.leave_out,
        )

    def _frames(self) -> FrameList:
        config = self._config
        if config.frame_list is not None:
            return FrameList.read(config.frame_list)
        with open_session(config.model, provider="cpu", threads=config.threads) as session:
            return choose_frames(
                config.sources,
                config.max_frames,
                config.seed,
                network_size=network_size(session),
                session=session if config.people else None,
                progress=self._progress,
                accounts=self.accounts,
            )

    def _calibrate(self, frames: FrameList, scratch: Path) -> Calibration:
        config, ap_drop = self._config, None
        if config.labelled and not config.all_layers:
            ap_drop = ApDrop(
                config.model,
                config.labelled,
                images=config.labelled_images,
                scratch=scratch,
                threads=config.threads,
            )
            self.accounts.append(ap_drop.read)
        return calibrate(
            config, frames, source=self._model, ap_drop=ap_drop, progress=self._progress
        )

    def _write(self, result: Calibration) -> dict[str, Path]:
        config = self._config
        outputs = {_CHOSEN: self._output}
        files.write_bytes(self._output, result.model.SerializeToString())
        if config.cpu_output is not None:
            files.write_bytes(config.cpu_output, result.cpu_model.SerializeToString())
            outputs[_CPU] = config.cpu_output
        if config.calibration_cache is not None:
            scales = result.ranges[result.method].scales()
            write_cache(config.calibration_cache, scales, config.tensorrt_version)
            outputs["calibration cache"] = config.calibration_cache
        return outputs

    def _models(self, result: Calibration, scratch: Path) -> Iterator[tuple[str, Path]]:
        """List all models to compare, those that are not written among them."""
        config = self._config
        yield _FLOAT, config.model
        if config.fp16 is not None:
            yield _HALF, config.fp16
        if result.choice.left_out:
            every = quantise(self._model.proto, result.ranges[result.method])
            yield _ALL, _save(every, scratch / "all_layers.onnx")
        yield _CHOSEN, self._output
        yield _CPU, config.cpu_output or _save(result.cpu_model, scratch / "cpu.onnx")

    def _time(self, models: Mapping[str, Path], frames: FrameList) -> Speed | None:
        """Time the networks, if the numbers are written anywhere."""
        config = self._config
        if config.report is None and config.json_path is None:
            return None
        image = next(frames.batches())
        return compare_speed(models, image, threads=config.threads, progress=self._progress)

    def _score(
        self,
        models: Mapping[str, Path],
        known: Mapping[str, Any] | None = None,
        images: Account | None = None,
    ) -> dict[str, Any]:
        """Score models on the labelled sequence, beside those that are known."""
        config = self._config
        if config.gt is None:
            return {}
        return score_precisions(
            models,
            config.gt,
            perturbed_runs=_PERTURBED_RUNS,
            known=known,
            images=images,
            threads=config.threads,
            progress=self._progress,
        )

    def _against_fp16(self, scratch: Path) -> str | None:
        """Give a warning where INT8 is no gain on TensorRT-RTX, if the model is for that."""
        if self._config.rest != "fp16" or self._config.target != "rtx":
            return None
        return rtx_warning(self._output, self._model.proto, scratch)

    def _report(self, result: Calibration, data: CalibrationRecord) -> None:
        config = self._config
        text = msgspec.json.format(msgspec.json.encode(data), indent=1).decode() + "\n"
        if config.json_path is not None:
            files.write_text(config.json_path, text)
        if config.report is not None:
            numbers, frames, ranges, html = (config.report / name for name in REPORT_FILES)
            files.write_text(numbers, text)
            result.frames.write(frames)
            result.ranges[result.method].write(ranges)
            files.write_text(html, page(data))


def _save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
