"""What a calibration found, ready for JSON: all that the report shows, and no path."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from jdetrt import __version__, files
from jdetrt.calibration.calibrate import Calibration
from jdetrt.calibration.damage import Comparison
from jdetrt.calibration.quantize.layers import Layers
from jdetrt.calibration.quantize.model_file import read_model

__all__ = ["FORMAT", "record"]

FORMAT = 1
_POINTS = 2000  # of a scatter
_DIGITS = 5


def record(
    model_path: Path,
    found: Calibration,
    *,
    written: Mapping[str, Path] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    speed: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put together what is known.

    Args:
        model_path: the float model.
        found: by `calibrate`.
        written: files that were written, by what they are.
        accuracy: ``sequence`` and ``rows``: scores by row, from the benchmarks.
        speed: times and ratios, from the benchmarks.
        machine: its manifest.
    """
    model = read_model(model_path)
    naive = found.methods[found.method]
    known = {
        "report": "calibration",
        "format": FORMAT,
        "jdetrt_version": __version__,
        "model": {
            "name": model_path.name,
            "sha256": files.sha256(model_path),
            "metadata": {entry.key: entry.value for entry in model.metadata_props},
        },
        "written": [
            {
                "what": what,
                "name": path.name,
                "bytes": path.stat().st_size,
                "sha256": files.sha256(path),
            }
            for what, path in (written or {}).items()
        ],
        "frames": {
            "count": len(found.frames),
            "asked": found.frames.asked,
            "seed": found.frames.seed,
            "sha256": found.frames.sha256,
            "network_size": list(found.frames.network_size),
            "sources": dict(Counter(Path(one.source).name for one in found.frames.frames)),
            "skipped": len(found.frames.skipped),
            "notes": list(found.frames.notes),
        },
        "compared_frames": found.compared,
        "confident": found.confident,
        "methods": [
            {"name": name, **one.closeness.to_dict()} for name, one in found.methods.items()
        ],
        "method": found.method,
        "percent": found.ranges[found.method].percent,
        "targets": asdict(found.targets) if found.targets is not None else None,
        "layers": _layers(model, found),
        "attempts": [attempt.to_dict() for attempt in found.choice.attempts],
        "left_out": [{"name": name, "why": _why(name, found)} for name in found.choice.left_out],
        "all_layers": _comparison(naive),
        "chosen": _comparison(found.chosen),
        "accuracy": accuracy,
        "speed": speed,
        "machine": machine,
    }
    plain: dict[str, Any] = json.loads(json.dumps(known))  # as it is when it is read back
    return plain


def _layers(model: onnx.ModelProto, found: Calibration) -> list[dict[str, Any]]:
    """Every layer, with the range of what it reads and what it does alone."""
    layers = Layers(model)
    ranges = found.ranges[found.method].tensors
    damages = {damage.name: damage.closeness.to_dict() for damage in found.damages}
    rows = []
    for name, node in layers.nodes.items():
        tensor = layers.features(node)[0]
        one = ranges.get(tensor)
        rows.append(
            {
                "name": name,
                "kind": node.op_type,
                "reads": tensor,
                "low": one.low if one else None,
                "high": one.high if one else None,
                "limit": one.limit if one else None,
                "left_out": name in found.choice.left_out,
                "alone": damages.get(name),
            }
        )
    return rows


def _why(name: str, found: Calibration) -> str:
    if name in found.always:
        return "asked for"
    (alone,) = (d.closeness for d in found.damages if d.name == name)
    return (
        f"needed for the targets; alone it costs {1 - alone.iou:.4f} of the IoU, {alone.score:.4f} "
        f"of the score and {1 - alone.mean_cosine:.4f} of the cosine, on average"
    )


def _comparison(one: Comparison) -> dict[str, Any]:
    pairs = one.pairs
    places = np.linspace(0, len(pairs.iou) - 1, min(_POINTS, len(pairs.iou))).round().astype(int)
    return {
        **one.closeness.to_dict(),
        "pairs": {
            "iou": _rounded(pairs.iou[places].tolist()),
            "score": _rounded(pairs.scores[places, 0].tolist()),
            "score_int8": _rounded(pairs.scores[places, 1].tolist()),
            "cosine": _rounded(pairs.cosine[places].tolist()),
        },
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) for value in values]
