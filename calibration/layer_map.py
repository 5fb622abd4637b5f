"""Map of a network: a mark for each layer, in INT8 or in float, on one screen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from jdetrt.calibration.record import LayerRecord

__all__ = ["layer_map"]

_NAMED = 8  # so many layers are named in words; the marks show the rest


def layer_map(layers: Sequence[LayerRecord]) -> str:
    """HTML of the map, with the layers in words of whichever kind is rarer; empty without layers.

    Layers are grouped by the part of the network that their names begin with.
    """
    if not layers:
        return ""
    groups: dict[str, list[LayerRecord]] = {}
    for layer in layers:
        groups.setdefault(_part(layer.name), []).append(layer)
    marks = "".join(
        f"<span><small>{escape(part)}</small>{''.join(map(_mark, group))}</span>"
        for part, group in groups.items()
    )
    left_out = [layer for layer in layers if layer.left_out]
    quantised = [layer for layer in layers if not layer.left_out]
    rare, kind = (left_out, "float") if len(left_out) <= len(quantised) else (quantised, "INT8")
    names = ", ".join(layer.name for layer in rare)
    words = f"In {kind}: {names}." if 0 < len(rare) <= _NAMED else ""
    return (
        f'<p class="wrap"><i class="layer"></i> INT8: {len(quantised)} &nbsp; '
        f'<i class="layer float"></i> float: {len(left_out)}. {escape(words)}</p>'
        f'<div class="map">{marks}</div>'
    )


def _part(name: str) -> str:
    """Part of the network that a layer belongs to, by its name.

    >>> _part("/network/body/stages.1/stages.1.0/expand/conv/Conv"), _part("/network/levels.2/Add")
    ('body/stages.1', 'levels.2')
    """
    parts = name.removeprefix("/network/").strip("/").split("/")
    numbered = len(parts) > 1 and not re.search(r"\.\d", parts[0]) and re.search(r"\.\d", parts[1])
    return "/".join(parts[: 2 if numbered else 1])


def _mark(layer: LayerRecord) -> str:
    kind, words = ("layer float", "float") if layer.left_out else ("layer", "INT8")
    return f'<i class="{kind}" title="{escape(layer.name)}: {words}"></i>'
