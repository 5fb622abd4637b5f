"""From a float model and frames to a quantised one, and to everything that was found on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from jdetrt.calibration.damage import Comparison, Reference
from jdetrt.calibration.frames.frame_list import FrameList
from jdetrt.calibration.quantize.fp16_rest import to_half
from jdetrt.calibration.quantize.layers import match_layers
from jdetrt.calibration.quantize.model_file import read_model
from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
from jdetrt.calibration.ranges.probe import activations
from jdetrt.calibration.ranges.ranges import METHODS, PERCENTILE, Method, Ranges, measure_ranges
from jdetrt.calibration.search import (
    Attempt,
    Choice,
    LayerDamage,
    Targets,
    choose_layers,
    measure_layers,
)
from jdetrt.errors import CalibrationError

__all__ = ["COMPARED", "Calibration", "calibrate", "quantised_note"]

FLOAT16_MAX = float(np.finfo(np.float16).max)
COMPARED = 16  # frames that models are compared on

OnStep = Callable[[str, int, int], None]  # what is being done, steps done and in all


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `calibrate` found.

    Attributes:
        frames: what the ranges were measured on.
        compared: how many of them the comparisons are of.
        confident: whether the float model is confident of anybody in these (`Reference`).
        ranges: by each method that was tried.
        methods: by method, all layers quantised with it against the float model.
        method: the one taken.
        always: layers that were to stay in float whatever the numbers say.
        targets: what the search was for; None where there was none.
        damages: of each layer alone; empty without a search.
        choice: the layers left in float, and the attempts.
        chosen: the model as it is written, against the float model.
        model: the quantised model, in TensorRT's layout.
        cpu_model: the same in ONNX Runtime's.
    """

    frames: FrameList
    compared: int
    confident: bool
    ranges: dict[Method, Ranges]
    methods: dict[Method, Comparison]
    method: Method
    always: tuple[str, ...]
    targets: Targets | None
    damages: list[LayerDamage]
    choice: Choice
    chosen: Comparison
    model: onnx.ModelProto
    cpu_model: onnx.ModelProto


def calibrate(
    model_path: str | Path,
    frames: FrameList,
    *,
    method: Method | Literal["auto"] = "auto",
    percent: float = PERCENTILE,
    targets: Targets | None = None,
    leave_out: Sequence[str] = (),
    compared: int = COMPARED,
    all_tensors: bool = False,
    rest: Literal["fp32", "fp16"] = "fp32",
    ap_drop: Callable[[onnx.ModelProto], float] | None = None,
    state: str | Path | None = None,
    threads: int | None = None,
    on_step: OnStep | None = None,
) -> Calibration:
    """Measure ranges, choose a method and the layers to leave in float, and quantise.

    Args:
        model_path: an ONNX model of ``jdetrt export`` in float32.
        frames: to measure ranges on.
        method: of the ranges; ``"auto"`` takes the one that does the least damage with all layers
            quantised.
        percent: of the method "percentile".
        targets: leave out the fewest layers that meet them; None to quantise all of them.
        leave_out: layers that stay in float in any case, by name or pattern.
        compared: models are compared on so many of the frames, spread over all of them.
        all_tensors: measure also those that only a calibration cache of TensorRT asks for.
        rest: what the model for TensorRT computes in where it is in float; decoding stays in fp32.
        ap_drop: as in `choose_layers`.
        state: keeps what is measured, see `measure_ranges`; the caller deletes it.
        threads: CPU threads of one operator; None for one a physical core.
        on_step: called with what is being done and how far it is.

    Raises:
        CalibrationError: the model cannot be quantised, a frame is not there any more, or as
            `measure_ranges` and `match_layers`.
    """
    model = read_model(model_path)
    always = match_layers(model, leave_out)
    tensors = tensors_to_quantise(model)
    if all_tensors:
        tensors += [name for name in activations(model) if name not in tensors]
    step = on_step or (lambda _what, _done, _steps: None)

    methods: tuple[Method, ...] = METHODS if method == "auto" else (method,)
    ranges: dict[Method, Ranges] = {}
    with tempfile.TemporaryDirectory(prefix="jdetrt-calibrate-") as folder:
        # Histograms are for all methods; with a state they are counted once.
        kept = state or Path(folder, "state.npz")
        for name in sorted(methods, key=lambda one: one == "min-max"):
            ranges[name] = measure_ranges(
                model_path,
                frames,
                tensors,
                name,
                percent=percent,
                state=kept,
                threads=threads,
                progress=lambda done, steps: step("Measuring ranges", done, steps),
            )
    reference = Reference(model, _spread(frames, compared), threads)
    tried: dict[Method, Comparison] = {}
    for done, name in enumerate(methods, start=1):
        tried[name] = reference.compare(quantise(model, ranges[name], always))
        step("Comparing methods", done, len(methods))
    best = min(tried, key=lambda name: tried[name].closeness.damage)

    damages: list[LayerDamage] = []
    choice = Choice(always, ())
    if targets is not None:
        damages = measure_layers(
            model,
            ranges[best],
            reference,
            progress=lambda done, steps: step("Quantising one layer at a time", done, steps),
        )
        choice = _choose(model, ranges[best], reference, damages, targets, always, ap_drop, step)
    quantised = quantise(model, ranges[best], choice.left_out)
    if rest == "fp16":
        _refuse_overflow(ranges[best])
        quantised = to_half(quantised)
    cpu_model = quantise(model, ranges[best], choice.left_out, layout="onnxruntime")
    for written in (quantised, cpu_model):
        _note(written, quantised_note(ranges[best]))
    return Calibration(
        frames=frames,
        compared=min(compared, len(frames)),
        confident=reference.confident,
        ranges=ranges,
        methods=tried,
        method=best,
        always=always,
        targets=targets,
        damages=damages,
        choice=choice,
        chosen=reference.compare(quantised),
        model=quantised,
        cpu_model=cpu_model,
    )


def quantised_note(ranges: Ranges) -> str:
    """One line on where the scales of a model come from, for its metadata.

    What TensorRT's plans say of their calibration is this.
    """
    return f"{ranges.method}, {ranges.frames} frames, sha256 {ranges.frames_sha256}"


def _refuse_overflow(ranges: Ranges) -> None:
    """ONNX Runtime computes float16 mostly in float32 on CPUs, so a comparison does not show it."""
    largest, name = max((max(-r.low, r.high), name) for name, r in ranges.tensors.items())
    if largest > FLOAT16_MAX:
        raise CalibrationError(
            f"{name}: reaches {largest:g}, more than float16 can hold ({FLOAT16_MAX:g}); leave the "
            "rest in fp32"
        )


def _choose(
    model: onnx.ModelProto,
    ranges: Ranges,
    reference: Reference,
    damages: Sequence[LayerDamage],
    targets: Targets,
    always: Sequence[str],
    ap_drop: Callable[[onnx.ModelProto], float] | None,
    step: OnStep,
) -> Choice:
    attempts: list[Attempt] = []

    def count(attempt: Attempt) -> None:
        attempts.append(attempt)
        step("Choosing layers", len(attempts), len(attempts))

    return choose_layers(
        model,
        ranges,
        reference,
        damages,
        targets,
        always=always,
        ap_drop=ap_drop,
        on_attempt=count,
    )


def _spread(frames: FrameList, count: int) -> list[npt.NDArray[np.float32]]:
    """Some of the frames as the network takes them, from all over the list."""
    places = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    some = msgspec.structs.replace(frames, frames=tuple(frames.frames[i] for i in places))
    return list(some.batches())


def _note(model: onnx.ModelProto, words: str) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = "calibration", words
