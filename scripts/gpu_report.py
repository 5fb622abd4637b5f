"""Measurements of a plan that need a GPU, as JSON: CUDA graph, letterbox, memory, and torch.

    python scripts/gpu_report.py plan MODEL.plan SOURCE OUT.json [FRAMES]
    python scripts/gpu_report.py torch CHECKPOINT SIZE SOURCE OUT.json [FRAMES]
    python scripts/gpu_report.py seen MODEL.plan SEQUENCE OUT
    python scripts/gpu_report.py score SEEN.npz MODEL.onnx SEQUENCE OUT.json

Part of scripts/gpu.sh. `plan` measures a run of `jdetrt bench latency` with each way to letterbox
and to launch, twice in turn so that a drift of the clocks shows; where a way does not work its row
has the reason, the others are written, and the exit code is 1. `torch` measures the same with the
network in PyTorch's eager float32, the baseline. `seen` writes the candidates of a plan in each
frame, with the letterbox of the GPU into OUT.gpu.npz and that of the CPU into OUT.cpu.npz; `score`
tracks and scores them where TrackEval is, with the settings that MODEL.onnx has for its tracker.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from jdetrt.benchmarks.latency import measure_run
from jdetrt.benchmarks.result import RunConfig, write_result
from jdetrt.config import IouConfig
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.session import TensorRtSession
from jdetrt.errors import ConfigError, JdetrtError
from jdetrt.evaluation.perturbed import margin
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.decode import Candidates, candidates
from jdetrt.runtime.detector import check_model, network_size
from jdetrt.runtime.input_buffer import make_buffers
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sources.open import open_source

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig

WARM_UP = 20
PERTURBED_RUNS = 30
# CUDA graph, letterbox on the GPU.
WAYS = ((False, False), (False, True), (True, True))
REPEATS = 2
FRAMES = 500


def plan(path: Path, source: str, frames: int) -> dict[str, Any]:
    """All ways, in turn; one that this machine cannot do says why."""
    rows = []
    for repeat in range(REPEATS):
        for graphs, gpu_letterbox in WAYS:
            row: dict[str, Any] = {
                "repeat": repeat,
                "cuda_graph": graphs,
                "letterbox": "gpu" if gpu_letterbox else "cpu",
            }
            rows.append(row)
            row |= attempt(path, source, frames, graphs, gpu_letterbox)
    return {"plan": path.name, "rows": rows}


def attempt(
    path: Path, source: str, frames: int, graphs: bool, gpu_letterbox: bool
) -> dict[str, Any]:
    """One way."""
    try:
        with TensorRtSession(path, graphs=graphs, gpu_letterbox=gpu_letterbox) as session:
            check_model(session)
            run = measure_run(session, source, _config(frames))
            return {**msgspec.to_builtins(run), "memory": asdict(session.memory())}
    except JdetrtError as err:
        return {"error": str(err)}


def _config(frames: int) -> RunConfig:
    return RunConfig(frames=frames, warm_up=WARM_UP, rest=0.0)


def torch(checkpoint: Path, size: str, source: str, frames: int) -> dict[str, Any]:
    """PyTorch, eager, float32, batch norms folded, on the GPU."""
    from gpu_eager import EagerSession, settings

    width, height = (int(n) for n in size.split("x"))
    with EagerSession(checkpoint, (width, height)) as session:
        runs = [measure_run(session, source, _config(frames)) for _ in range(REPEATS)]
        rows = [msgspec.to_builtins(run) for run in runs]
    return {"checkpoint": checkpoint.name, "size": size, **settings(), "rows": rows}


def seen(path: Path, source: str, output: str) -> None:
    """Write the candidates of every frame that perturbation can lift above the threshold."""
    for gpu_letterbox in (True, False):
        frames = []
        with (
            TensorRtSession(path, gpu_letterbox=gpu_letterbox) as session,
            open_source(source) as opened,
        ):
            names = ["boxes", "scores", "embeddings"]
            settings = tracker_config(session)
            if isinstance(settings, IouConfig):
                names.remove("embeddings")
            least = margin(settings.score_threshold)
            [buffer] = make_buffers(session, network_size(session), 1)
            for frame in opened:
                buffer.fill(frame.image)
                buffer.submit()
                found = session.wait()
                certain = found["scores"][0] >= least
                frames.append({name: found[name][0][certain] for name in names})
        np.savez_compressed(
            f"{output}.{'gpu' if gpu_letterbox else 'cpu'}.npz",
            least=least,
            counts=np.array([len(one["scores"]) for one in frames]),
            **{name: np.concatenate([one[name] for one in frames]) for name in names},
        )


def score(path: Path, model: str, sequence: str) -> dict[str, Any]:
    """MOTA, IDF1 and HOTA in percent: once, and over perturbed boxes (docs/adr/0014)."""
    with open_session(model, backend="onnxruntime", provider="cpu") as session:
        settings, size = tracker_config(session), network_size(session)
    with open_source(sequence) as opened:
        rate, picture = opened.frame_rate, next(iter(opened)).image
    letterbox = Letterbox.fit((picture.shape[1], picture.shape[0]), size)
    least = margin(settings.score_threshold)
    kept = np.load(path)
    if least < kept["least"]:
        raise ConfigError(f"{path}: was kept from {kept['least']:.2f} on, needed from {least:.2f}")
    ends = np.cumsum(kept["counts"])[:-1]
    arrays = {name: np.split(kept[name], ends) for name in kept.files if kept[name].ndim}
    del arrays["counts"]
    frames = []
    for index in range(len(kept["counts"])):
        found = {name: values[index][None] for name, values in arrays.items()}
        frames.append(candidates(found, letterbox, score_threshold=least))
    return {"seen": path.name, **scores(frames, Path(sequence), settings, rate)}


def scores(
    frames: list[Candidates], sequence: Path, settings: TrackerConfig, rate: float
) -> dict[str, Any]:
    """Of what was seen in a sequence, once and shaken."""
    from jdetrt.evaluation.perturbed import PERTURBED, score_perturbed, score_tracks

    once = score_tracks(frames, sequence, settings, rate)
    shaken = score_perturbed(frames, sequence, settings, rate, runs=PERTURBED_RUNS)
    return {
        "once": once.to_dict(),
        "shaken": {
            name: {"mean": mean(shaken[name]), "std": stdev(shaken[name])} for name in PERTURBED
        },
    }


def main(command: str, *arguments: str) -> None:
    """Run one command and write what it finds."""
    if command == "seen":
        seen(Path(arguments[0]), *arguments[1:])
        return
    commands: dict[str, tuple[int, Callable[..., dict[str, Any]]]] = {
        "plan": (2, plan),
        "torch": (3, torch),
        "score": (3, lambda path, model, sequence, _: score(path, model, sequence)),
    }
    count, function = commands[command]
    first, *rest = arguments[:count]
    output = Path(arguments[count])
    frames = int(arguments[count + 1]) if len(arguments) > count + 1 else FRAMES
    content = function(Path(first), *rest, frames)
    head = {
        "benchmark": f"gpu-{command}",
        "machine": manifest(),
        "source": source_name(rest[-1]),
    }
    content = {**head, **content}
    write_result(output, content)
    if errors := [row["error"] for row in content.get("rows", ()) if "error" in row]:
        sys.exit("\n".join(errors))


def source_name(source: str) -> str:
    """The last part of a path or URI."""
    return source.rstrip("/").rsplit("/", 1)[-1]


if __name__ == "__main__":
    main(*sys.argv[1:])
