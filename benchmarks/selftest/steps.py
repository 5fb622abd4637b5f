"""Steps of ``selftest gpu`` in the order of their worth, with the time that each may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jdetrt.benchmarks.selftest.networks import CACHE, find_checkpoint, find_model

__all__ = ["BEST_WAY", "KINDS", "Step", "Way", "steps"]

# Seconds, guessed from runs of an H200 with TensorRT 8.5.3 (docs/guide/gpu.md); the estimates of a
# run follow what its own steps took.
KINDS = {
    "machine": 5.0,
    "build": 60.0,
    "time": 15.0,
    "verify": 20.0,
    "torch": 30.0,
    "tests": 100.0,
    "streams": 25.0,
    "layers": 10.0,
}
_WORTH_MOST = 2  # networks that are looked at from all sides


@dataclass(frozen=True)
class Way:
    """One way to run a plan: CUDA graph, letterbox on the GPU, frames enqueued at once."""

    graph: bool = True
    gpu_letterbox: bool = True
    depth: int = 2

    def __str__(self) -> str:
        letterbox = "GPU" if self.gpu_letterbox else "CPU"
        return f"{'graph' if self.graph else 'no graph'}, {letterbox} letterbox, depth {self.depth}"


BEST_WAY = Way()
_OTHER_WAYS = (Way(depth=1), Way(graph=False), Way(gpu_letterbox=False), Way(False, False, 1))


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: one of `KINDS`.
        network: and size, such as ``"nano-576x320"``; "" for a step about the machine.
        precision: one of `PRECISIONS`, or `CACHE`; "" where there is none.
        way: of a timing.
        needs: name of the step that must be done first.
        files: what it reads; their content is part of what its result depends on.
        missing: why it cannot be done, known before it is begun; "" otherwise.
    """

    kind: str
    network: str = ""
    precision: str = ""
    way: Way | None = None
    needs: str = ""
    files: tuple[Path, ...] = field(default=())
    missing: str = ""

    @property
    def name(self) -> str:
        """Name for people, and for finding it again."""
        of = ".".join(part for part in (self.network, self.precision) if part)
        way = "" if self.way in (None, BEST_WAY) else f" ({self.way})"
        return f"{self.kind} {of}{way}".strip()

    def to_dict(self) -> dict[str, Any]:
        """All of it, for the process that does it."""
        way = None if self.way is None else vars(self.way)
        return {
            "kind": self.kind,
            "network": self.network,
            "precision": self.precision,
            "way": way,
            "files": [str(path.absolute()) for path in self.files],
        }


def steps(
    folder: Path | None, networks: Sequence[str], *, weak_typing: bool, torch: bool, tests: bool
) -> list[Step]:
    """All steps, the most worth first.

    Args:
        folder: of the models; None for what ships alone.
        networks: by worth.
        weak_typing: TensorRT chooses precisions by itself where it is told to.
        torch: PyTorch with CUDA is there.
        tests: the tests on a GPU are there.
    """
    found = _Models(folder, weak_typing)
    first, others = networks[:_WORTH_MOST], networks[_WORTH_MOST:]
    result = [Step("machine")]
    for network in first:
        result += found.speed(network, "fp16", torch=torch)
    result += [found.verify(network, "fp16") for network in first]
    for network in first:
        result += found.speed(network, "int8")
        result.append(found.verify(network, "int8"))
    result += [found.time(network, "fp16", way) for network in first for way in _OTHER_WAYS]
    result.append(Step("tests", missing="" if tests else "no checkout with tests and pytest here"))
    for network in first:
        result += [*found.speed(network, "fp32"), found.verify(network, "fp32")]
    result += [found.of_plan("streams", network, "fp16") for network in first[:1]]
    result += [
        found.of_plan("layers", network, precision)
        for network in first
        for precision in ("fp16", "int8")
    ]
    for network in others:
        result += found.speed(network, "fp16", torch=torch)
        result.append(found.verify(network, "fp16"))
    for network in others:
        result += [*found.speed(network, "int8"), *found.speed(network, "fp32")]
    if weak_typing:  # the INT8 of TensorRT itself
        for network in networks:
            result += found.speed(network, CACHE)
            result.append(found.verify(network, CACHE))
    return list({step.name: step for step in result}.values())


class _Models:
    """Steps about the models that are there."""

    def __init__(self, folder: Path | None, weak_typing: bool) -> None:
        self._folder, self._weak = folder, weak_typing

    def speed(self, network: str, precision: str, *, torch: bool | None = None) -> Iterator[Step]:
        yield self._build(network, precision)
        yield self.time(network, precision, BEST_WAY)
        if torch is not None:
            yield self._torch(network, torch)

    def time(self, network: str, precision: str, way: Way) -> Step:
        return self.of_plan("time", network, precision, way)

    def verify(self, network: str, precision: str) -> Step:
        # A quantised model is compared with itself: what INT8 does to it is known without a GPU.
        against = find_model(self._folder, network, "int8" if precision == "int8" else "fp32")
        build = self._build(network, precision)
        missing = build.missing or ("" if against else "there is no model to compare with")
        files = (*build.files, *([against] if against else []))
        return Step("verify", network, precision, None, build.name, files, missing)

    def of_plan(self, kind: str, network: str, precision: str, way: Way | None = None) -> Step:
        build = self._build(network, precision)
        return Step(kind, network, precision, way, build.name, build.files, build.missing)

    def _build(self, network: str, precision: str) -> Step:
        model = find_model(self._folder, network, "fp32" if precision == CACHE else precision)
        files = [model]
        if precision == CACHE:
            files.append(find_model(self._folder, network, CACHE))
        elif model is None and precision == "fp16" and self._weak:
            files = [find_model(self._folder, network, "fp32")]  # TensorRT halves it by itself
        there = tuple(path for path in files if path is not None)
        missing = ""
        if len(there) < len(files):
            missing = (
                f"there is no model {network}.{precision}; where torch and onnx are, `jdetrt "
                "selftest models` makes it"
            )
        return Step("build", network, precision, None, "", there, missing)

    def _torch(self, network: str, torch: bool) -> Step:
        path = find_checkpoint(self._folder, network)
        there = () if path is None else (path,)
        missing = "" if there else f"there is no checkpoint {network}.safetensors"
        missing = missing if torch else "torch with CUDA is not installed here (--torch-python)"
        return Step("torch", network, "", None, "", there, missing)
