"""Settings of a calibration, with their defaults; each default stands here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

__all__ = ["METHODS", "REPORT_FILES", "TARGETS", "CalibrationConfig", "Method", "Target", "Targets"]

Method = Literal["min-max", "percentile", "entropy", "mse"]
Target = Literal["orin", "jetpack5", "rtx", "desktop"]
TARGETS: tuple[Target, ...] = get_args(Target)
REPORT_FILES = ("report.json", "frames.json", "ranges.json", "index.html")
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True)
class Targets:
    """Limits that a quantised model has to keep.

    Attributes:
        cosine: smallest median cosine of the embeddings.
        ap_drop: largest drop in average precision, 0 to 1.
    """

    cosine: float
    ap_drop: float


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Settings of ``jdetrt calibrate``; a path that is None is neither written nor read.

    Attributes:
        model: an ONNX model of ``jdetrt export`` in float32.
        output: the INT8 model in TensorRT's layout.
        cpu_output: the same in ONNX Runtime's layout.
        calibration_cache: a calibration cache of TensorRT; needs the ranges of more tensors.
        tensorrt_version: of the TensorRT that will read the cache.
        sources: videos, folders, MOT sequences or patterns to choose frames from; empty with a
            ``frame_list``.
        frame_list: frames that were chosen before.
        max_frames: number of frames to choose.
        seed: of the choice.
        people: choose also by how many people the model detects.
        method: how ranges are set; ``"auto"`` takes the method with the least damage when all
            layers are quantised.
        percentile: that of the method "percentile".
        all_layers: quantise every layer but those in ``leave_out``; no search.
        target_cosine: smallest median cosine between float32 and INT8 embeddings.
        max_ap_drop: largest drop in average precision, 0 to 1.
        labelled: sequences that the drop is measured on; without any, the float model's detections
            are the truth.
        labelled_images: number of their images to use, evenly spaced.
        leave_out: names or patterns of layers that stay in float in any case.
        rest: precision of the model for TensorRT where it is in float; decoding stays in fp32.
        target: machine whose TensorRT runs it, which decides the form of ``rest="fp16"``
            (`jdetrt.calibration.quantize.fp16_rest`); None for this one.
        compare_frames: number of frames, evenly spaced, that models are compared on.
        gt: a labelled MOT sequence to score all models on.
        fp16: the model in FP16, to score beside the others.
        report: folder for the page, its JSON, the frames and the ranges.
        json_path: a file for the JSON alone.
        state: a file that keeps what is measured until all is done.
        threads: CPU threads of one operator; None for one a physical core.
    """

    model: Path
    output: Path | None = None
    cpu_output: Path | None = None
    calibration_cache: Path | None = None
    tensorrt_version: str = "8.5.3"
    sources: tuple[str, ...] = ()
    frame_list: Path | None = None
    # "At least 500 for CNN and ViT": NVIDIA Model-Optimizer, examples/onnx_ptq.
    max_frames: int = 500
    seed: int = 0
    people: bool = True
    method: Method | Literal["auto"] = "auto"
    percentile: float = 99.999  # ONNX Runtime's own
    all_layers: bool = False
    target_cosine: float = 0.99
    max_ap_drop: float = 0.01
    labelled: tuple[str, ...] = ()
    labelled_images: int = 60
    leave_out: tuple[str, ...] = ()
    rest: Literal["fp32", "fp16"] = "fp32"
    target: Target | None = None
    compare_frames: int = 16
    gt: Path | None = None
    fp16: Path | None = None
    report: Path | None = None
    json_path: Path | None = None
    state: Path | None = None
    threads: int | None = None

    @property
    def targets(self) -> Targets | None:
        """Targets of the search for layers to leave in float; None where all are quantised."""
        return None if self.all_layers else Targets(self.target_cosine, self.max_ap_drop)
