"""Measure nano on a MOT sequence: benchmarks/results/nano-mot17-09.json.

usage: measure_nano.py SEQUENCE OUT.json [RUNS]. Each size runs once over the sequence; its
candidates are then tracked at the whole rate, at every second, third and fourth frame, and RUNS
times (30) with perturbed boxes. The candidates are kept beside OUT and taken up again while the
models stay.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from jdetrt import shipped
from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.open import open_session
from jdetrt.evaluation.detection import DetectionTest
from jdetrt.evaluation.embedding import EmbeddingTest
from jdetrt.evaluation.inference import infer
from jdetrt.evaluation.perturbed import score_perturbed, score_tracks
from jdetrt.evaluation.summary import FAR, PERTURBED_KEY
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.decode import Candidates, candidates
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.training.data.datasets import open_data_set

VISIBLE = 0.3
LEAST = 0.03  # scores of the candidates that are kept
STEPS = (1, 2, 3, 4)


def detect(size: str, sequence: Path, kept: Path) -> tuple[list[Candidates], dict[str, float]]:
    """Candidates of all frames, and the scores of detection and embeddings."""
    model = shipped.resolve(f"nano:{size}")
    digest = OnnxFile(model).sha256
    if kept.is_file():
        stored = pickle.loads(kept.read_bytes())
        if stored[0] == digest:
            return stored[1], stored[2]
    everybody, visible = open_data_set(sequence), open_data_set(sequence, min_visibility=VISIBLE)
    with open_session(model, provider="cpu") as session:
        tests = [
            (DetectionTest(), EmbeddingTest(session, fars=[FAR]), data)
            for data in (everybody, visible)
        ]
        frames = []
        images = (everybody[at] for at in range(len(everybody)))
        for at, image in enumerate(infer(session, images)):
            for detection, embedding, data in tests:
                labelled = image._replace(sample=data[at])
                detection.add(labelled)
                embedding.add(labelled)
            frames.append(candidates(image.outputs, image.letterbox, score_threshold=LEAST))
    scores = {}
    for name, (detection, embedding, _) in zip(("", f", visible {VISIBLE}"), tests, strict=True):
        scores[f"AP50{name}"] = 100 * detection.scores().ap50
        scores[f"TPR@FAR={FAR} by candidates{name}"] = 100 * embedding.scores().tpr[FAR]
    kept.write_bytes(pickle.dumps((digest, frames, scores)))
    return frames, scores


def thinned(sequence: Path, step: int, folder: Path) -> Path:
    """Write the ground truth of every step-th frame as a sequence of its own."""
    info = read_seqinfo(sequence)
    target = folder / f"{sequence.resolve().name}-{step}"
    (target / "gt").mkdir(parents=True)
    rows = [line.split(",") for line in (sequence / "gt" / "gt.txt").read_text().splitlines()]
    chosen = [[str(int(row[0]) // step + 1), *row[1:]] for row in rows if int(row[0]) % step == 1]
    (target / "gt" / "gt.txt").write_text("".join(",".join(row) + "\n" for row in chosen))
    changed = {
        "name": target.name,
        "frameRate": info.frame_rate / step,
        "seqLength": len(range(0, info.length, step)),
    }
    lines = []
    for line in (sequence / "seqinfo.ini").read_text().splitlines():
        key, equals, value = line.partition("=")
        lines.append(f"{key}{equals}{changed.get(key, value)}\n")
    (target / "seqinfo.ini").write_text("".join(lines))
    return target


def measure(size: str, sequence: Path, output: Path, runs: int) -> dict[str, Any]:
    """All scores of one size."""
    frames, scores = detect(size, sequence, output.with_name(f"{output.stem}-{size}.pkl"))
    with open_session(shipped.resolve(f"nano:{size}"), provider="cpu") as session:
        settings = tracker_config(session)
    rate = read_seqinfo(sequence).frame_rate
    whole = score_tracks(frames, sequence, settings, rate)
    row: dict[str, Any] = {"size": size, "preset": type(settings).__struct_config__.tag, **scores}
    row |= {"MOTA": whole.mota, "IDF1": whole.idf1, "HOTA": whole.hota}
    row |= {"IDSW": whole.idsw, "FP": whole.fp, "FN": whole.fn}
    row[PERTURBED_KEY] = score_perturbed(frames, sequence, settings, rate, runs=runs)
    row["every"] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for step in STEPS[1:]:
            folder = thinned(sequence, step, Path(temporary))
            some: Sequence[Candidates] = frames[::step]
            score = score_tracks(some, folder, settings, rate / step)
            row["every"][str(step)] = {"MOTA": score.mota, "IDF1": score.idf1, "HOTA": score.hota}
    means = {name: float(np.mean(values)) for name, values in row[PERTURBED_KEY].items()}
    click.echo(f"{size}: {means}, {row['every']}")
    return row


def main(sequence: Path, output: Path, runs: int = 30) -> None:
    """Measure the built-in sizes, write."""
    rows = [measure(size, sequence, output, runs) for size in shipped.sizes()]
    name = sequence.resolve().name
    result = {
        "benchmark": "accuracy of nano",
        "sequence": f"{name}, {read_seqinfo(sequence).length} frames, rules of MOT17",
        "machine": msgspec.to_builtins(manifest()),
        "commands": [f"scripts/measure_nano.py {name} {output.name} {runs}"],
        "chosen_on": "weights: not this sequence; tracker settings: this one among others, ADR 17",
        "rows": rows,
    }
    output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
