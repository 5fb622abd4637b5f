"""Plans in words, for ``jdetrt inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt.account import counted as plural
from jdetrt.cli.results import shapes

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.describe import PlanContent
    from jdetrt.engine.tensorrt.layers import Layer
    from jdetrt.engine.tensorrt.profile import LayerTimes
    from jdetrt.engine.tensorrt.summary import PlanSummary
    from jdetrt.types import TensorSpec

__all__ = ["beside_words", "metadata_lines", "plan_words"]


def plan_words(content: PlanContent) -> str:
    """A plan in lines: its sidecar, its numbers and its layers."""
    lines = [f"{content.path}: TensorRT plan, {content.bytes / 1e6:.1f} MB"]
    made, compiled = content.sidecar, content.compiled
    if made is not None:
        lines += [
            f"  built by      {made.host}",
            f"  model         {made.model.name}, sha256 {made.model.sha256}",
            f"  precision     {made.precision}, {made.typing} typing",
            f"  inputs        {shapes(made.inputs)}",
            f"  outputs       {shapes(made.outputs)}",
        ]
    lines.append(f"  sha256        {content.sha256}")
    if compiled is not None:
        if compiled.activations is not None:
            lines.append(f"  activations   {compiled.activations / 1e6:.1f} MB of GPU memory")
        if compiled.weights is not None:
            lines.append(f"  weights       {compiled.weights / 1e6:.1f} MB")
        lines.append(f"  layers        {len(compiled.layers)}, reported by the {compiled.source}")
    if content.summary is not None:
        lines += [f"  {name:<12}  {text}" for name, text in _numbers(content.summary) if text]
    if content.note:
        lines.append(f"  note          {content.note}")
    if made is not None:
        lines += metadata_lines(made.metadata)
    if compiled is not None:
        lines += _layer_table(compiled.layers, content.times)
    return "\n".join(lines)


def _numbers(summary: PlanSummary) -> Iterator[tuple[str, str]]:
    """Name and text of each number; no text where it is not known."""
    convolutions = sorted(summary.convolutions.items(), key=lambda item: -item[1])
    counts = ", ".join(f"{count} in {kind}" for kind, count in convolutions)
    yield "convolutions", counts or "not reported"
    yield "fused", f"{plural(summary.fused, 'activation')}, {summary.unfused} not"
    yield "reformats", str(summary.reformats)
    moved = summary.moved
    yield "moved", "" if moved is None else f"{moved / 1e6:.1f} MB read and written in a run"
    if summary.milliseconds is None:
        yield "time", ""
        return
    yield (
        "time",
        f"{summary.milliseconds:.3f} ms, layer after layer; {summary.reformat_ms:.3f} ms of it "
        "reformats",
    )


def beside_words(one: PlanContent, other: PlanContent) -> str:
    """The numbers of two plans, one below the other; says where the first does more work."""
    if one.summary is None or other.summary is None:
        return "The plans are not compared: the layers of one are not known."
    names = [Path(content.path).name for content in (one, other)]
    width = max(len(names[0]), len(names[1]), 12)
    lines = ["", f"  {'':<12}  {names[0]:<{width}}  {names[1]}"]
    both = (
        ("launches", one.summary.launches, other.summary.launches, "d"),
        ("not fused", one.summary.unfused, other.summary.unfused, "d"),
        ("reformats", one.summary.reformats, other.summary.reformats, "d"),
        ("moved, MB", _megabytes(one.summary), _megabytes(other.summary), ".1f"),
        ("time, ms", one.summary.milliseconds, other.summary.milliseconds, ".3f"),
    )
    more = []
    for name, first, second, form in both:
        cells = ["-" if value is None else format(value, form) for value in (first, second)]
        lines.append(f"  {name:<12}  {cells[0]:<{width}}  {cells[1]}")
        if name in ("launches", "moved, MB", "time, ms") and first and second and first > second:
            more.append(name.partition(",")[0])
    if more:
        lines.append(f"  {names[0]} has more than {names[1]}: {', '.join(more)}.")
    return "\n".join(lines)


def _megabytes(summary: PlanSummary) -> float | None:
    return None if summary.moved is None else summary.moved / 1e6


def _layer_table(layers: tuple[Layer, ...], times: LayerTimes | None) -> Iterator[str]:
    """One line per layer, however long: for search and for other programs."""
    head = ("", "ms", "in", "weights", "out", "kind", "layer", "tactic")
    rows: list[tuple[str, ...]] = [head]
    for number, layer in enumerate(layers, start=1):
        types = (_types(tensors) for tensors in (layer.inputs, layer.weights, layer.outputs))
        known = None if times is None else times.milliseconds.get(layer.name)
        time = "-" if known is None else f"{known:.3f}"
        rows.append((str(number), time, *types, layer.kind, _layer_name(layer), layer.tactic))
    if times is None:
        rows = [(row[0], *row[2:]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(cells)}".rstrip()


def _layer_name(layer: Layer) -> str:
    """A graph node that the layer computes, which says more than TensorRT's own name."""
    if not layer.nodes:
        return layer.name
    convolutions = [node for node in layer.nodes if layer.convolution and "/Conv" in node]
    name = [*convolutions, *layer.nodes][0]
    others = len(layer.nodes) - 1
    return name + (f" and {others} more" if others else "")


def _types(tensors: tuple[TensorSpec, ...]) -> str:
    return ",".join(dict.fromkeys(tensor.dtype for tensor in tensors)) or "-"


def metadata_lines(metadata: Mapping[str, str]) -> Iterator[str]:
    """Notes of a model, a line each."""
    if not metadata:
        return
    yield "  metadata"
    width = max(map(len, metadata))
    for key, value in metadata.items():
        yield f"    {key:<{width}}  {value}"
