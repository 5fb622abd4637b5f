"""How far the CUDA letterbox is from OpenCV's, as JSON.

    .venv/bin/python scripts/preprocess_difference.py benchmarks/results/NAME.json [PICTURE ...]

The kernel is compiled for the CPU by the compiler of the host, as in the tests. Pictures: noise,
rendered people, and those that are given, each brought to the sizes of usual sources first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "oracles"))

from host_cuda import host_kernel

from jdetrt.benchmarks.machine import manifest
from jdetrt.engine.cuda_preprocess import SOURCE, letterbox_arguments
from jdetrt.files import write_text
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.synthetic import SyntheticClip

SOURCES = [(1920, 1080), (1280, 720), (960, 540), (640, 480)]
NETWORKS = [(1088, 608), (864, 480), (576, 320)]
BLOCK = (32, 8)


def measure(image: Any, network: tuple[int, int]) -> dict[str, Any]:
    """Largest and mean difference in levels of 255, and the share of values that differ."""
    reference, fit = letterbox(image, network)
    out = np.empty_like(reference)
    grid = (-(-network[0] // BLOCK[0]), -(-network[1] // BLOCK[1]))
    arguments = letterbox_arguments(image.ctypes.data, out.ctypes.data, fit)
    host_kernel(SOURCE, "letterbox_float32")(grid, BLOCK, arguments)
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


def main(output: Path, pictures: list[Path]) -> None:
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
    content = {"benchmark": "preprocess-difference", "machine": manifest(), "rows": rows}
    write_text(output, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
