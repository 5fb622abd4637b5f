"""Check a real Triton on this machine: many clients, what is sent, what JPEG costs; write JSON.

    python scripts/triton_check.py SEQUENCE --output benchmarks/results/triton.json

The server is that of the tests (tests/oracles/triton_server.py): PyPI's nvidia-pytriton on the CPU,
with ONNX Runtime in its Python backend and the built-in network at 576x320. SEQUENCE is a MOT
sequence with images and ground truth.

- ``clients``: one client, and eight at once: requests a second of all, time of a request, runs of
  the network that the server counted.
- ``uploads``: for float32, uint8 and JPEG inputs the bytes a frame, and AP50 over the sequence.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from jdetrt.config import ExportConfig
from jdetrt.deploy.triton import TritonOptions, write_triton_repository
from jdetrt.engine.triton import TritonSession
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.files import write_json
from jdetrt.machine.manifest import manifest
from jdetrt.shipped import resolve_checkpoint
from jdetrt.training.data.datasets import open_data_set

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "oracles"))
from triton_server import Triton, running

SIZE = (576, 320)
UPLOADS = ("float32", "uint8", "jpeg")
QUALITIES = (75, 90)


def main() -> None:
    """Run all parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequence", type=Path, help="a MOT sequence")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--requests", type=int, default=40, help="requests of each client")
    parser.add_argument("--max-frames", type=int, help="frames of the sequence; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = folder / "nano.onnx"
        config = ExportConfig(size=SIZE, dynamic_batch=True)
        export_onnx(resolve_checkpoint("nano"), model, config)
        repository = folder / "models"
        for upload in UPLOADS:
            served = TritonOptions(name=f"jde-{upload}", runtime="python", input=upload)
            write_triton_repository([model], repository, served)
        with running(repository, folder) as server:
            result = {
                "machine": msgspec.to_builtins(manifest()),
                "model": f"nano {SIZE[0]}x{SIZE[1]}",
                "clients": [clients(server, count, options.requests) for count in (1, 8)],
                "uploads": uploads(server, options.sequence, options.max_frames),
            }
    write_json(options.output, result)
    sys.stdout.write(f"Written: {options.output}\n")


def clients(server: Triton, count: int, requests: int) -> dict[str, Any]:
    """Ask from several threads at once, each with a session of its own."""
    before = counts(server)
    milliseconds: list[float] = []
    ready = threading.Barrier(count + 1)

    def ask(seed: int) -> None:
        image = np.random.default_rng(seed).random((1, 3, SIZE[1], SIZE[0]), np.float32)
        with TritonSession(f"grpc://127.0.0.1:{server.grpc}/jde-float32") as session:
            session.infer({"images": image})
            ready.wait()
            for _ in range(requests):
                begin = time.perf_counter()
                session.infer({"images": image})
                milliseconds.append((time.perf_counter() - begin) * 1e3)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    images, runs = (after - former for after, former in zip(counts(server), before, strict=True))
    return {
        "clients": count,
        "requests_per_second": count * requests / seconds,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "images": images,
        "runs_of_the_network": runs,
    }


def counts(server: Triton) -> tuple[float, float]:
    """Images that the server has seen, and runs of the network."""
    names = ("nv_inference_count", "nv_inference_exec_count")
    images, runs = (server.metric(name, "jde-float32") for name in names)
    return images, runs


def uploads(server: Triton, sequence: Path, frames: int | None) -> list[dict[str, Any]]:
    """Bytes a frame and AP50 for each kind of upload."""
    data = open_data_set(sequence)
    samples = [data[index] for index in range(frames or len(data))]
    rows = []
    kinds = [("float32", ""), ("uint8", "")] + [("jpeg", f"?jpeg={q}") for q in QUALITIES]
    for upload, settings in kinds:
        url = f"grpc://127.0.0.1:{server.grpc}/jde-{upload}{settings}"
        with TritonSession(url) as session:
            scores = evaluate_detection(session, samples)
            sent = session.sent_bytes / len(samples)
        rows.append(
            {
                "upload": upload,
                "quality": int(settings.removeprefix("?jpeg=")) if settings else None,
                "bytes_per_frame": sent,
                "ap50": scores.ap50,
                "frames": len(samples),
            }
        )
        sys.stdout.write(f"{rows[-1]}\n")
    return rows


if __name__ == "__main__":
    main()
