"""Difference of the CUDA letterbox from OpenCV's, and its cost in accuracy, as JSON.

    .venv/bin/python scripts/preprocess_difference.py levels OUT.json [PICTURE ...]
    .venv/bin/python scripts/preprocess_difference.py accuracy OUT.json MODEL SEQUENCE

The kernel is compiled for the CPU by the compiler of the host, as in the tests. Pictures: noise,
rendered people, and those that are given, each brought to the sizes of usual sources first.
`accuracy` tracks a MOT sequence with either letterbox, the network by ONNX Runtime.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "oracles"))

from host_cuda import host_kernel

from jdetrt.config import AnyTrackerConfig
from jdetrt.engine.cuda.letterbox import SOURCE, letterbox_arguments
from jdetrt.engine.open import open_session
from jdetrt.evaluation.perturbed import PERTURBED, margin, score_perturbed, score_tracks
from jdetrt.files import write_text
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.decode import Candidates, candidates
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sources.open import open_source
from jdetrt.shipped import name_of, resolve
from jdetrt.synthetic.clip import SyntheticClip

SOURCES = [(1920, 1080), (1280, 720), (960, 540), (640, 480)]
NETWORKS = [(1088, 608), (864, 480), (576, 320)]
BLOCK = (32, 8)
PERTURBED_RUNS = 30


def cuda_letterbox(image: Any, network: tuple[int, int]) -> tuple[Any, Letterbox]:
    """Letterbox by the kernel, as `letterbox` gives it."""
    fit = Letterbox.fit((image.shape[1], image.shape[0]), network)
    image = np.ascontiguousarray(image)
    out = np.empty((3, network[1], network[0]), np.float32)
    grid = (-(-network[0] // BLOCK[0]), -(-network[1] // BLOCK[1]))
    arguments = letterbox_arguments(image.ctypes.data, out.ctypes.data, fit)
    host_kernel(SOURCE, "letterbox_bgr_float32")(grid, BLOCK, arguments)
    return out, fit


def measure(image: Any, network: tuple[int, int]) -> dict[str, Any]:
    """Largest and mean difference in levels of 255, and the share of values that differ."""
    reference, fit = letterbox(image, network)
    out, _ = cuda_letterbox(image, network)
    difference = np.abs(np.rint(out * 255.0) - np.rint(reference * 255.0))
    return {
        "source": f"{image.shape[1]}x{image.shape[0]}",
        "network": f"{network[0]}x{network[1]}",
        "gain": fit.gain,
        "max": float(difference.max()),
        "mean": float(difference.mean(dtype=np.float64)),
        "differing": float((difference > 0).mean()),
        "by_more_than_one": float((difference > 1).mean()),
    }


def levels(pictures: list[Path]) -> dict[str, Any]:
    """Measure all pictures at all sizes."""
    cv2 = load_cv2()
    frame, _ = next(iter(SyntheticClip(frames=1, size=SOURCES[0], seed=3)))
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    images = {"noise": noise, "rendered people": frame.image}
    images |= {"/".join(p.parts[-3:]): cv2.imread(str(p)) for p in pictures}
    rows = []
    for name, image in images.items():
        for width, height in SOURCES:
            sized = noise[:height, :width].copy()
            if name != "noise":
                sized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            rows += [{"picture": name, **measure(sized, network)} for network in NETWORKS]
    return {
        "benchmark": "preprocess-difference",
        "machine": msgspec.to_builtins(manifest()),
        "rows": rows,
    }


def accuracy(model: str, sequence: str) -> dict[str, Any]:
    """MOTA, IDF1 and HOTA in percent with either letterbox, once and shaken (docs/adr/0014)."""
    rows = []
    with open_session(model, backend="onnxruntime", provider="cpu") as session:
        settings, size = tracker_config(session), network_size(session)
        least = margin(settings.score_threshold)
        for name, function in (("opencv", letterbox), ("cuda", cuda_letterbox)):
            seen = []
            with open_source(sequence) as source:
                rate = source.frame_rate
                for frame in source:
                    tensor, fit = function(frame.image, size)
                    outputs = session.infer({session.inputs[0].name: tensor[np.newaxis]})
                    seen.append(candidates(outputs, fit, score_threshold=least))
            rows.append({"letterbox": name, **scores(seen, Path(sequence), settings, rate)})
    return {
        "benchmark": "preprocess-accuracy",
        "machine": msgspec.to_builtins(manifest()),
        "model": name_of(resolve(model)),
        "sequence": Path(sequence).name,
        "rows": rows,
    }


def scores(
    frames: list[Candidates], sequence: Path, settings: AnyTrackerConfig, rate: float
) -> dict[str, Any]:
    """MOTA, IDF1 and HOTA in percent of candidates: once, and over perturbed boxes."""
    once = score_tracks(frames, sequence, settings, rate)
    shaken = score_perturbed(frames, sequence, settings, rate, runs=PERTURBED_RUNS)
    return {
        "once": once.to_dict(),
        "shaken": {
            name: {"mean": mean(shaken[name]), "std": stdev(shaken[name])} for name in PERTURBED
        },
    }


def main(command: str, output: str, *arguments: str) -> None:
    """Run one command and write what it finds."""
    if command == "levels":
        content = levels([Path(name) for name in arguments])
    else:
        content = accuracy(*arguments)
    write_text(output, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
