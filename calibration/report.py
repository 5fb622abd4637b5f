"""The report of a calibration as one HTML page, made from its JSON alone.

The page needs no network and no script, follows the light or dark setting of the reader, and can be
read on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files as resources
from statistics import mean, stdev
from string import Template
from typing import Any

from jdetrt.calibration.svg import histogram, scatter, spans, stems

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
_SHAKEN = {"hota": "HOTA", "mota": "MOTA", "idf1": "IDF1"}
_CLOSENESS = {
    "iou": "mean IoU",
    "score": "mean score difference",
    "cosine": "median cosine",
    "mean_cosine": "mean cosine",
    "agreement": "AP against FP32",
    "damage": "damage",
}


def page(data: Mapping[str, Any]) -> str:
    """Make the page.

    Args:
        data: what `jdetrt.calibration.record.record` gives, or its JSON read back.
    """
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
        title=escape(data["model"]["name"]), summary=_summary(data), body="\n".join(sections)
    )


def _summary(data: Mapping[str, Any]) -> str:
    chosen, layers = data["chosen"], data["layers"]
    floating = sum(layer["left_out"] for layer in layers)
    text = (
        f"{len(layers) - floating} of {len(layers)} layers in INT8, ranges by {data['method']} "
        f"from {data['frames']['count']} frames. Against FP32 on {data['compared_frames']} of "
        f"them: median cosine {chosen['cosine']:.4f}, mean IoU {chosen['iou']:.4f}, mean score "
        f"difference {chosen['score']:.4f}."
    )
    notes = [f"<p>{escape(text)}</p>"]
    if not data["confident"]:
        notes.append(
            "<p class=bad>The FP32 model is confident of nobody in these frames; what is compared "
            "are its best candidates. For a network that was not trained this says no more than "
            "that the arithmetic holds.</p>"
        )
    notes += [f"<p class=bad>{escape(note)}</p>" for note in data["frames"]["notes"]]
    return "".join(notes)


def _accuracy(data: Mapping[str, Any]) -> str:
    found = data["accuracy"]
    if found is None:
        return (
            "<h2>Accuracy</h2><p class=soft>Not measured: no labelled sequence was given "
            "(<code>--gt SEQUENCE</code>).</p>"
        )
    rows = list(found["rows"].items())
    first = rows[0][1]
    lines = []
    for name, scores in rows:
        cells = [escape(name)]
        if "failed" in scores:
            lines.append([*cells, escape(scores["failed"]), *[""] * (len(_SCORES) - 1)])
            continue
        for key, (_, digits) in _SCORES.items():
            change = scores[key] - first[key]
            shown = f"{scores[key]:.{digits}f}"
            cells.append(
                shown if scores is first else f"{shown} <small>({change:+.{digits}f})</small>"
            )
        lines.append(cells)
    return (
        f"<h2>Accuracy on {escape(found['sequence'])}</h2>"
        "<p class=soft>AP50 and TPR from 0 to 1, HOTA, MOTA and IDF1 in percent; in brackets the "
        f"difference from {escape(rows[0][0])}. ONNX Runtime computes all of them: what TensorRT's "
        "kernels give may differ in rounding.</p>"
        + _table(["", *(title for title, _ in _SCORES.values())], lines)
        + _shaken({name: scores["shaken"] for name, scores in rows if "shaken" in scores})
    )


def _shaken(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Two samples a column: what differs by more than chance is a difference of the models."""
    if not rows:
        return ""
    first = next(iter(rows.values()))
    count = len(first["mota"])
    lines = []
    for name, scores in rows.items():
        cells = [escape(name)]
        for key in _SHAKEN:
            middle = mean(scores[key])
            change = middle - mean(first[key])
            shown = f"{middle:.2f} ± {stdev(scores[key]):.2f}"
            cells.append(shown if scores is first else f"{shown} <small>({change:+.2f})</small>")
        lines.append(cells)
    return (
        f"<p>One run is chance as well: a few people who swap early or late. Here are means and "
        f"standard deviations of {count} runs with boxes and scores shaken by about what INT8 "
        "moves them. A mean is uncertain by its standard deviation divided by "
        f"{count**0.5:.1f}; differences below twice that say nothing.</p>"
        + _table(["", *_SHAKEN.values()], lines)
    )


def _speed(data: Mapping[str, Any]) -> str:
    found = data["speed"]
    if found is None:
        return ""
    lines = [
        [
            escape(name),
            f"{times['p50']:.1f}",
            f"{times['mean']:.1f}",
            f"{times['p95']:.1f}",
            f"{found['speed_up'][name]:.2f}" if name in found["speed_up"] else "1",
        ]
        for name, times in found["milliseconds"].items()
    ]
    machine = (data["machine"] or {}).get("cpu") or "a CPU"
    return (
        "<h2>Speed of the network alone, ONNX Runtime</h2>"
        f"<p class=soft>{found['runs']} runs each, in turn, on {escape(str(machine))}. Of TensorRT "
        "this says nothing.</p>"
        + _table(["", "p50 ms", "mean ms", "p95 ms", "times as fast (p50)"], lines)
    )


def _closeness(data: Mapping[str, Any]) -> str:
    both = {_ALL: data["all_layers"]["pairs"], _CHOSEN: data["chosen"]["pairs"]}
    cosines = {name: pairs["cosine"] for name, pairs in both.items()}
    low = min((value for values in cosines.values() for value in values), default=0.0)
    low = max(min(low, 0.98), -1.0)
    figures = (
        (
            "Score of each person, FP32 and INT8",
            scatter(
                "scores",
                {n: list(zip(p["score"], p["score_int8"], strict=True)) for n, p in both.items()},
                ("score in FP32", "score in INT8"),
            ),
        ),
        (
            "Overlap of the two boxes, by score",
            scatter(
                "overlaps",
                {n: list(zip(p["score"], p["iou"], strict=True)) for n, p in both.items()},
                ("score in FP32", "IoU"),
            ),
        ),
        (
            "Cosine of the two embeddings",
            histogram("cosines", cosines, "cosine", (round(low - 0.005, 2), 1.0)),
        ),
    )
    drawn = "".join(
        f"<figure>{svg}<figcaption>{escape(words)}</figcaption></figure>" for words, svg in figures
    )
    lines = [
        [name, *(f"{one[key]:.4f}" for key in _CLOSENESS)]
        for name, one in ((_ALL, data["all_layers"]), (_CHOSEN, data["chosen"]))
    ]
    return (
        f"<h2>What INT8 does to the {data['chosen']['people']} people that FP32 sees</h2>"
        f"<p class=soft>{_key(0, _ALL)} {_key(1, _CHOSEN)} The same candidates of both models.</p>"
        f"<div class=figures>{drawn}</div>" + _table(["", *_CLOSENESS.values()], lines)
    )


def _methods(data: Mapping[str, Any]) -> str:
    lines = []
    for one in data["methods"]:
        taken = " (taken)" if one["name"] == data["method"] else ""
        lines.append([escape(one["name"] + taken), *(f"{one[key]:.4f}" for key in _CLOSENESS)])
    return (
        "<h2>Methods for the ranges</h2><p class=soft>All layers in INT8. Damage is what IoU, "
        "score and mean cosine lose, added up; the method with the least is taken unless one was "
        "named."
        "</p>" + _table(["", *_CLOSENESS.values()], lines)
    )


def _layers(data: Mapping[str, Any]) -> str:
    layers = data["layers"]
    ranged = [
        (max(abs(one["low"]), abs(one["high"])), one["limit"]) for one in layers if one["limit"]
    ]
    figures = [
        (
            "What each layer reads: the largest magnitude (end of the line) and the limit (dot)",
            spans("ranges", ranged, "magnitude"),
        )
    ]
    if any(one["alone"] for one in layers):
        figures.insert(
            0,
            (
                "Damage that each layer does when it alone is in INT8; blue: left in float",
                stems(
                    "sensitivity",
                    [one["alone"]["damage"] if one["alone"] else 0.0 for one in layers],
                    [one["left_out"] for one in layers],
                    "damage",
                ),
            ),
        )
    drawn = "".join(
        f"<figure>{svg}<figcaption>{escape(words)}</figcaption></figure>" for words, svg in figures
    )
    lines = [
        [
            escape(one["name"]),
            escape(one["kind"]),
            *(_number(one[key]) for key in ("low", "high", "limit")),
            *(_number((one["alone"] or {}).get(key)) for key in ("damage", "mean_cosine", "iou")),
            "float" if one["left_out"] else "INT8",
        ]
        for one in layers
    ]
    heads = [
        "layer",
        "operator",
        "least",
        "largest",
        "limit",
        "damage alone",
        "mean cosine",
        "IoU",
        "",
    ]
    return (
        f"<h2>Layers</h2><div class=figures>{drawn}</div>"
        '<p class=soft>"Least", "largest" and "limit" are of what the layer reads first; a limit '
        "below the magnitude cuts off.</p>" + _table(heads, lines, "tall")
    )


def _left_out(data: Mapping[str, Any]) -> str:
    always = (
        "<p>Decoding, norms and top-k are in float always: coordinates and angles need more than "
        "256 steps. Biases stay in float too.</p>"
    )
    if not data["left_out"]:
        return f"<h2>Left in float</h2>{always}<p>No layer beside these.</p>"
    lines = [[escape(one["name"]), escape(one["why"])] for one in data["left_out"]]
    return f"<h2>Left in float</h2>{always}" + _table(["layer", "why"], lines, wrap=True)


def _attempts(data: Mapping[str, Any]) -> str:
    if not data["attempts"]:
        return ""
    targets = data["targets"]
    lines = [
        [
            str(len(one["left_out"])),
            f"{one['closeness']['cosine']:.4f}",
            "" if one["ap_drop"] is None else f"{one['ap_drop']:+.4f}",
            "<span class=good>yes</span>" if one["met"] else "<span class=bad>no</span>",
        ]
        for one in data["attempts"]
    ]
    return (
        "<h2>The search</h2><p class=soft>Wanted: a median cosine of "
        f"{targets['cosine']:g} or more, and an AP drop of at most {targets['ap_drop']:g} "
        "(measured only where the cosine is met).</p>"
        + _table(["layers in float", "median cosine", "AP drop", "met"], lines, "tall")
    )


def _provenance(data: Mapping[str, Any]) -> str:
    frames, machine = data["frames"], data["machine"] or {}
    sources = ", ".join(f"{name} ({count})" for name, count in frames["sources"].items())
    facts = {
        "model": f"{data['model']['name']}, sha256 {data['model']['sha256']}",
        **{one["what"]: f"{one['name']}, sha256 {one['sha256']}" for one in data["written"]},
        "frames": f"{frames['count']} of {frames['asked']} wanted, seed {frames['seed']}, sha256 "
        f"{frames['sha256']}",
        "from": sources,
        "network": "x".join(map(str, frames["network_size"])),
        "checkpoint": data["model"]["metadata"].get("checkpoint_sha256", "not recorded"),
        "jdetrt": data["jdetrt_version"],
        "packages": ", ".join(f"{k} {v}" for k, v in machine.get("packages", {}).items()),
        "machine": ", ".join(str(machine[k]) for k in ("cpu", "os", "date") if machine.get(k)),
    }
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )
    return f"<h2>Provenance</h2><dl>{listed}</dl>"


def _table(
    heads: Sequence[str], lines: Iterable[Sequence[str]], size: str = "", *, wrap: bool = False
) -> str:
    """A table of cells that are HTML already."""
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
