"""Calibrate: measure ranges, choose a method and the layers to leave in float, and quantise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from jdetrt.calibration.config import METHODS, CalibrationConfig, Method
from jdetrt.calibration.damage import Comparison, Reference
from jdetrt.calibration.frames.frame_list import FrameList
from jdetrt.calibration.quantize.fp16_rest import this_target, to_half
from jdetrt.calibration.quantize.layers import FloatModel, match_layers
from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
from jdetrt.calibration.ranges.probe import activations
from jdetrt.calibration.ranges.ranges import Ranges, measure_ranges
from jdetrt.calibration.search import ApDropOf, Choice, LayerDamage, choose_layers, measure_layers
from jdetrt.errors import CalibrationError
from jdetrt.files import scratch_folder
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["Calibration", "calibrate", "quantised_note"]

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The quantised models, and everything measured on the way.

    Attributes:
        config: the settings.
        source: the float model.
        frames: that the ranges were measured on.
        confident: whether the float model is confident of anybody in these (`Reference`).
        ranges: by each method that was tried.
        methods: by method, all layers quantised with it against the float model.
        method: the one taken.
        always: layers that were to stay in float whatever the numbers are.
        damages: of each layer alone; empty without a search.
        choice: the layers left in float, and the attempts.
        chosen: the model as it is written, against the float model.
        model: the quantised model, in TensorRT's layout.
        cpu_model: the same in ONNX Runtime's.
    """

    config: CalibrationConfig
    source: FloatModel
    frames: FrameList
    confident: bool
    ranges: dict[Method, Ranges]
    methods: dict[Method, Comparison]
    method: Method
    always: tuple[str, ...]
    damages: list[LayerDamage]
    choice: Choice
    chosen: Comparison
    model: onnx.ModelProto
    cpu_model: onnx.ModelProto


def calibrate(
    config: CalibrationConfig,
    frames: FrameList,
    *,
    source: FloatModel | None = None,
    ap_drop: ApDropOf | None = None,
    progress: Progress = NO_PROGRESS,
) -> Calibration:
    """Quantise a model; nothing is written but ``config.state``, which the caller deletes.

    Args:
        config: settings; those of reports and scores are not used here.
        frames: to measure ranges on.
        source: ``config.model``, where the caller has opened it already.
        ap_drop: as in `choose_layers`.
        progress: has a phase for measuring, comparing methods, layers alone, and the search.

    Raises:
        CalibrationError: the model cannot be quantised, a frame is not there any more, or as
            `measure_ranges` and `match_layers`.
    """
    source = source or FloatModel(config.model)
    model = source.proto
    always = match_layers(model, config.leave_out)
    ranges = _measure(config, source, frames, progress)
    reference = Reference(model, _spread(frames, config.compare_frames), config.threads)
    methods = _compare(model, ranges, reference, always, progress)
    best = min(methods, key=lambda name: methods[name].closeness.damage)

    damages: list[LayerDamage] = []
    choice = Choice(always, ())
    if config.targets is not None:
        damages = measure_layers(model, ranges[best], reference, progress=progress)
        choice = choose_layers(
            model,
            ranges[best],
            reference,
            damages,
            config.targets,
            always=always,
            ap_drop=ap_drop,
            progress=progress,
        )
    quantised = quantise(model, ranges[best], choice.left_out)
    if config.rest == "fp16":
        _refuse_overflow(ranges[best])
        quantised = to_half(quantised, config.target or this_target())
    cpu_model = quantise(model, ranges[best], choice.left_out, layout="onnxruntime")
    for result in (quantised, cpu_model):
        entry = result.metadata_props.add()
        entry.key, entry.value = "calibration", quantised_note(ranges[best])
    return Calibration(
        config=config,
        source=source,
        frames=frames,
        confident=reference.confident,
        ranges=ranges,
        methods=methods,
        method=best,
        always=always,
        damages=damages,
        choice=choice,
        chosen=reference.compare(quantised),
        model=quantised,
        cpu_model=cpu_model,
    )


def quantised_note(ranges: Ranges) -> str:
    """Describe in one line where the scales of a model come from; plans of TensorRT repeat it."""
    return f"{ranges.method}, {ranges.frames} frames, sha256 {ranges.frames_sha256}"


def _measure(
    config: CalibrationConfig, source: FloatModel, frames: FrameList, progress: Progress
) -> dict[Method, Ranges]:
    tensors = tensors_to_quantise(source.proto)
    if config.calibration_cache is not None:
        tensors += [name for name in activations(source.proto) if name not in tensors]
    methods = METHODS if config.method == "auto" else (config.method,)
    ranges: dict[Method, Ranges] = {}
    with scratch_folder("calibrate") as folder:
        # Histograms serve all methods; with a state they are counted once.
        state = config.state or Path(folder, "state.npz")
        for name in sorted(methods, key=lambda method: method == "min-max"):
            ranges[name] = measure_ranges(
                source,
                frames,
                tensors,
                name,
                percent=config.percentile,
                state=state,
                threads=config.threads,
                progress=progress,
            )
    return {name: ranges[name] for name in methods}


def _compare(
    model: onnx.ModelProto,
    ranges: dict[Method, Ranges],
    reference: Reference,
    always: Sequence[str],
    progress: Progress,
) -> dict[Method, Comparison]:
    phase = "Comparing methods"
    progress.start(phase, len(ranges))
    comparisons = {}
    for done, (name, measured) in enumerate(ranges.items(), start=1):
        comparisons[name] = reference.compare(quantise(model, measured, always))
        progress.advance(phase, done)
    progress.finish(phase)
    return comparisons


def _refuse_overflow(ranges: Ranges) -> None:
    """ONNX Runtime computes float16 mostly in float32 on CPUs, so a comparison does not show it."""
    largest, name = max((max(-r.low, r.high), name) for name, r in ranges.tensors.items())
    if largest > FLOAT16_MAX:
        raise CalibrationError(
            f"{name}: reaches {largest:g}, more than float16 can hold ({FLOAT16_MAX:g}); leave the "
            "rest in fp32"
        )


def _spread(frames: FrameList, count: int) -> list[npt.NDArray[np.float32]]:
    """Read evenly spaced frames of a list as the network takes them."""
    indices = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    some = msgspec.structs.replace(frames, frames=tuple(frames.frames[i] for i in indices))
    return list(some.batches())
