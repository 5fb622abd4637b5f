"""Report of a calibration: one HTML page, made from its record alone.

The page needs no network and no script, follows the light or dark setting of the reader, and can be
read on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files as resources
from statistics import mean, stdev
from string import Template

from jdetrt.calibration.damage import Closeness
from jdetrt.calibration.layer_map import layer_map
from jdetrt.calibration.record import CalibrationRecord
from jdetrt.evaluation.summary import PERTURBED_KEY
from jdetrt.svg import histogram, scatter, spans, stems

__all__ = ["page"]

_ALL, _CHOSEN = "all layers in INT8", "as written"
_SCORES = {
    "ap50": ("AP50", 4),
    "tpr": ("TPR@FAR 0.1", 4),
    "hota": ("HOTA", 2),
    "mota": ("MOTA", 2),
    "idf1": ("IDF1", 2),
    "idsw": ("ID switches", 0),
    "fp": ("FP", 0),
    "fn": ("FN", 0),
}
_PERTURBED = {"hota": "HOTA", "mota": "MOTA", "idf1": "IDF1"}
_CLOSENESS = {
    "iou": "mean IoU",
    "score": "mean score difference",
    "cosine": "median cosine",
    "mean_cosine": "mean cosine",
    "agreement": "AP against FP32",
    "damage": "damage",
}


def page(data: CalibrationRecord) -> str:
    """Make the page from the record of a calibration."""
    sections = (
        _accuracy(data),
        _speed(data),
        _closeness(data),
        _methods(data),
        _layers(data),
        _left_out(data),
        _attempts(data),
        _provenance(data),
    )
    template = Template(resources("jdetrt.calibration").joinpath("report.html").read_text())
    return template.substitute(
        title=escape(data.model.name), summary=_summary(data), body="\n".join(sections)
    )


def _summary(data: CalibrationRecord) -> str:
    chosen = data.chosen
    text = (
        f"{data.quantised}. Against FP32 ({data.compared}): median cosine {chosen.cosine:.4f}, "
        f"mean IoU {chosen.iou:.4f}, mean score difference {chosen.score:.4f}."
    )
    notes = [f"<p>{escape(text)}</p>"]
    if not data.confident:
        notes.append(
            "<p class=bad>The FP32 model has no confident detection in these frames, so its best "
            "candidates are compared. For an untrained network this only shows that the "
            "arithmetic is sound.</p>"
        )
    outside = [
        f"Outside of the INT8 tolerance of jdetrt verify: {it}." for it in data.outside or ()
    ]
    warnings = (*outside, *data.warnings, *data.frames.notes)
    notes += [f"<p class=bad>{escape(note)}</p>" for note in warnings]
    return "".join(notes) + layer_map(data.layers)


def _accuracy(data: CalibrationRecord) -> str:
    if data.accuracy is None:
        return (
            "<h2>Accuracy</h2><p class=soft>Not measured: no labelled sequence was given "
            "(<code>--gt SEQUENCE</code>).</p>"
        )
    rows = data.accuracy.rows
    base, first = next(iter(rows.items()))
    lines = []
    for name, scores in rows.items():
        cells = [escape(name)]
        if "failed" in scores:
            lines.append([*cells, escape(scores["failed"]), *[""] * (len(_SCORES) - 1)])
            continue
        for key, (_, digits) in _SCORES.items():
            cells.append(_changed(scores[key], first[key], digits, plain=scores is first))
        lines.append(cells)
    return (
        f"<h2>Accuracy on {escape(data.accuracy.sequence)}</h2>"
        "<p class=soft>AP50 and TPR from 0 to 1; HOTA, MOTA and IDF1 in percent; the difference "
        f"from {escape(base)} in brackets. All models run in ONNX Runtime: TensorRT may round "
        "differently.</p>"
        + _table(["", *(title for title, _ in _SCORES.values())], lines)
        + _perturbed({n: one[PERTURBED_KEY] for n, one in rows.items() if PERTURBED_KEY in one})
    )


def _perturbed(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Mean and deviation a column: a difference beyond chance is a difference of the models."""
    if not rows:
        return ""
    first = next(iter(rows.values()))
    count = len(first["mota"])
    lines = []
    for name, scores in rows.items():
        cells = [escape(name)]
        for key in _PERTURBED:
            spread = f" ± {stdev(scores[key]):.2f}"
            middle, base = mean(scores[key]), mean(first[key])
            cells.append(_changed(middle, base, 2, spread, plain=scores is first))
        lines.append(cells)
    return (
        "<p>A single run also depends on chance: two people may swap early or late. The table "
        f"below has means and standard deviations of {count} runs with boxes and scores perturbed "
        "by about as much as INT8 changes them. The uncertainty of a mean is its standard "
        f"deviation divided by {count**0.5:.1f}; differences below twice that are not "
        "significant.</p>" + _table(["", *_PERTURBED.values()], lines)
    )


def _changed(value: float, base: float, digits: int, spread: str = "", *, plain: bool) -> str:
    shown = f"{value:.{digits}f}{spread}"
    return shown if plain else f"{shown} <small>({value - base:+.{digits}f})</small>"


def _speed(data: CalibrationRecord) -> str:
    speed = data.speed
    if speed is None:
        return ""
    lines = [
        [
            escape(name),
            f"{times['p50']:.1f}",
            f"{times['mean']:.1f}",
            f"{times['p95']:.1f}",
            f"{speed.speed_up[name]:.2f}" if name in speed.speed_up else "1",
        ]
        for name, times in speed.milliseconds.items()
    ]
    machine = (data.machine or {}).get("cpu") or "a CPU"
    runs = "1 run" if speed.runs == 1 else f"{speed.runs} runs"
    return (
        "<h2>Speed of the network alone, ONNX Runtime</h2>"
        f"<p class=soft>{runs} of each, in turn, on {escape(str(machine))}. These timings do not "
        "predict TensorRT.</p>"
        + _table(["", "p50 ms", "mean ms", "p95 ms", "times as fast (p50)"], lines)
    )


def _closeness(data: CalibrationRecord) -> str:
    both = {_ALL: data.all_layers, _CHOSEN: data.chosen}
    pairs = {name: one.pairs for name, one in both.items()}
    cosines = {name: one.cosine for name, one in pairs.items()}
    low = min((value for values in cosines.values() for value in values), default=0.0)
    low = max(min(low, 0.98), -1.0)
    scores = {n: list(zip(p.score, p.score_int8, strict=True)) for n, p in pairs.items()}
    overlaps = {n: list(zip(p.score, p.iou, strict=True)) for n, p in pairs.items()}
    span = (round(low - 0.005, 2), 1.0)
    figures = {
        "Score of each person, FP32 and INT8": scatter(
            "scores", scores, ("score in FP32", "score in INT8")
        ),
        "Overlap of the two boxes, by score": scatter(
            "overlaps", overlaps, ("score in FP32", "IoU")
        ),
        "Cosine of the two embeddings": histogram("cosines", cosines, "cosine", span),
    }
    lines = [[name, *_numbers(one)] for name, one in both.items()]
    return (
        f"<h2>Effect of INT8 on the people FP32 detects (n = {data.chosen.people})</h2>"
        f"<p class=soft>{_key(0, _ALL)} {_key(1, _CHOSEN)} Both models are compared at the same "
        "candidates.</p>" + _figures(figures) + _table(["", *_CLOSENESS.values()], lines)
    )


def _methods(data: CalibrationRecord) -> str:
    lines = [
        [escape(one.name + (" (chosen)" if one.name == data.method else "")), *_numbers(one)]
        for one in data.methods
    ]
    return (
        "<h2>Methods for the ranges</h2><p class=soft>All layers in INT8. Damage is the loss of "
        "IoU, score and mean cosine, added up; the method with the smallest damage is chosen "
        "unless one was named.</p>" + _table(["", *_CLOSENESS.values()], lines)
    )


def _layers(data: CalibrationRecord) -> str:
    layers = data.layers
    ranged = [
        (max(abs(one.low or 0.0), abs(one.high or 0.0)), one.limit) for one in layers if one.limit
    ]
    figures = {}
    if any(one.alone for one in layers):
        figures["Damage of each layer when it alone is in INT8; blue: left in float"] = stems(
            "sensitivity",
            [one.alone.damage if one.alone else 0.0 for one in layers],
            [one.left_out for one in layers],
            "damage",
        )
    figures["Input of each layer: largest magnitude (end of the line) and clipping limit (dot)"] = (
        spans("ranges", ranged, "magnitude")
    )
    lines = []
    for one in layers:
        values = [one.low, one.high, one.limit, None, None, None]
        if one.alone:
            values[3:] = one.alone.damage, one.alone.mean_cosine, one.alone.iou
        numbers = ["" if value is None else f"{value:.4g}" for value in values]
        state = "float" if one.left_out else "INT8"
        lines.append([escape(one.name), escape(one.kind), *numbers, state])
    heads = ["layer", "operator", "min", "max", "limit", "damage alone", "mean cosine", "IoU", ""]
    return (
        "<h2>Layers</h2>" + _figures(figures) + "<p class=soft>Min, max and clipping limit of the "
        "layer's first input; values above the limit are clipped.</p>"
        + _table(heads, lines, "tall")
    )


def _left_out(data: CalibrationRecord) -> str:
    always = (
        "<h2>Left in float</h2><p>Decoding, norms and top-k always stay in float, because "
        "coordinates and angles need more than 256 steps. Biases stay in float too.</p>"
    )
    if not data.left_out:
        return f"{always}<p>All other layers are in INT8.</p>"
    lines = [[escape(one.name), escape(one.why)] for one in data.left_out]
    return always + _table(["layer", "reason"], lines, wrap=True)


def _attempts(data: CalibrationRecord) -> str:
    if not data.attempts or data.targets is None:
        return ""
    lines = [
        [
            str(len(one.left_out)),
            f"{one.closeness.cosine:.4f}",
            "" if one.ap_drop is None else f"{one.ap_drop:+.4f}",
            "<span class=good>yes</span>" if one.met else "<span class=bad>no</span>",
        ]
        for one in data.attempts
    ]
    return (
        "<h2>Search</h2><p class=soft>Targets: a median cosine of at least "
        f"{data.targets.cosine:g} and an AP drop of at most {data.targets.ap_drop:g} (measured "
        "only where the cosine is met).</p>"
        + _table(["layers in float", "median cosine", "AP drop", "met"], lines, "tall")
    )


def _provenance(data: CalibrationRecord) -> str:
    frames, machine = data.frames, data.machine or {}
    facts = {
        "model": f"{data.model.name}, sha256 {data.model.sha256}",
        **{one.what: f"{one.name}, sha256 {one.sha256}" for one in data.written},
        "frames": f"{frames.count} of {frames.asked} asked for, seed {frames.seed}, sha256 "
        f"{frames.sha256}",
        "sources": ", ".join(f"{name} ({count})" for name, count in frames.sources.items()),
        "network": "x".join(map(str, frames.network_size)),
        "checkpoint": data.model.metadata.get("checkpoint_sha256", "not recorded"),
        "jdetrt": data.jdetrt_version,
        "packages": ", ".join(f"{k} {v}" for k, v in machine.get("packages", {}).items()),
        "machine": ", ".join(str(machine[k]) for k in ("cpu", "os", "date") if machine.get(k)),
    }
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )
    return f"<h2>Provenance</h2><dl>{listed}</dl>"


def _numbers(closeness: Closeness) -> list[str]:
    return [f"{getattr(closeness, key):.4f}" for key in _CLOSENESS]


def _figures(figures: Mapping[str, str]) -> str:
    """Lay out SVG figures by their captions."""
    drawn = "".join(
        f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, svg in figures.items()
    )
    return f"<div class=figures>{drawn}</div>"


def _table(
    heads: Sequence[str], lines: Iterable[Sequence[str]], size: str = "", *, wrap: bool = False
) -> str:
    """Make a table of cells that are HTML already."""
    cell = "<td class='wrap left'>" if wrap else "<td>"
    side = " class=left" if wrap else ""
    head = "".join(f"<th{side}>{escape(title)}</th>" for title in heads)
    body = "".join(f"<tr>{''.join(f'{cell}{value}</td>' for value in line)}</tr>" for line in lines)
    return (
        f'<div class="scroll {size}" tabindex=0><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _key(number: int, words: str) -> str:
    return f'<span><i class="key key-{number}"></i> {escape(words)}</span>'
