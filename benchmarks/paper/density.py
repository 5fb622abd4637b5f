"""Argument of the paper's figure 3: the cost of a frame as the people in it become more.

The time of JDE's network does not depend on the number of people; that of a detector followed by a
re-identification network does. Both run through the same engine on the same images, in turn. Their
weights are random or not made for this, so the people are synthetic (``jdetrt.synthetic.crowd``):
the networks run for their time, and synthetic detections are handed over in place of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.benchmarks.paper.reid import crops, write_detector, write_reid
from jdetrt.benchmarks.paper_numbers import FIGURE_3
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, SessionError
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import manifest
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.timing import summary
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.crowd import crowd, frame_size
from jdetrt.types import Session

__all__ = ["draw_density", "measure_density"]

_SIZE = (1920, 1080)
_WARM_UP = 3

Parts = dict[str, list[float]]
Image = npt.NDArray[np.uint8]


def measure_density(
    model: str | Path,
    *,
    people: Sequence[int] = (5, 10, 20, 40, 60, 80, 100),
    frames: int = 20,
    reid: str = "resnet50",
    provider: str = "auto",
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Any]:
    """Time a frame of JDE and of detector plus re-identification against people per frame.

    Args:
        model: an ONNX model of ``jdetrt export``.
        people: per frame, on average; a row each.
        frames: timed frames of each row.
        reid: body of the re-identification network.
        provider: of ``OrtSession``, for all three networks.
        seed: of the crowds.
        progress: phase "densities", and messages.

    Returns:
        JSON-ready: the machine, the settings, a row for each of ``people`` with the milliseconds
        of a whole frame (``jde_ms``, ``separate_ms``) and of its parts; ``slope``: milliseconds
        for one person more; and the numbers of the paper.

    Raises:
        ConfigError: a number that makes no measurement, or no such body.
        MissingDependencyError: torch or onnx is not installed.
        SessionError: a model cannot be run.
    """
    if not people or min(people) < 1 or frames < 2:
        raise ConfigError(
            f"expected at least 1 person and 2 frames, got {list(people)} and {frames}"
        )
    rows = []
    with scratch_folder("density") as temporary, ExitStack() as stack:
        jde = stack.enter_context(open_session(model, backend="onnxruntime", provider=provider))
        progress.message("making the detector and the re-identification network")
        detector_path, reid_path = Path(temporary, "detector.onnx"), Path(temporary, "reid.onnx")
        write_detector(model, detector_path)
        write_reid(reid_path, reid)
        detectors = (
            Detector(jde),
            stack.enter_context(Detector(OrtSession(detector_path, provider=provider))),
        )
        reid_session = stack.enter_context(OrtSession(reid_path, provider=provider))
        if detectors[0].embedding_dim is None:
            raise SessionError("the model outputs no embeddings; name a JDE model")
        progress.start("densities", len(people))
        for done, count in enumerate(people, start=1):
            progress.message("1 person" if count == 1 else f"{count} people")
            rows.append(_row(*detectors, reid_session, count, frames, seed))
            progress.advance("densities", done)
        progress.finish("densities")
    counts = [row["people"] for row in rows]
    return {
        "benchmark": "density",
        "machine": manifest(),
        "settings": {
            "model": Path(model).name,
            "size": detectors[0].size,
            "reid": reid,
            "frames": frames,
            "provider": provider,
            "seed": seed,
        },
        "rows": rows,
        "slope": {
            name: _slope(counts, [row[name]["mean"] for row in rows])
            for name in ("jde_ms", "separate_ms")
        },
        "paper": FIGURE_3,
    }


def _row(
    jde: Detector, detector: Detector, reid: Session, count: int, frames: int, seed: int
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (_SIZE[1], _SIZE[0], 3), np.uint8)
    trackers = Tracker("reference"), Tracker("reference")
    for tracker in trackers:
        tracker.warm_up()
    jde_parts: Parts = {}
    separate_parts: Parts = {}
    counts: list[int] = []
    scale = np.float32(_SIZE[0] / frame_size(count, _SIZE)[0])  # that of a crowd may be larger
    dims = (jde.embedding_dim, reid.outputs[0].shape[-1])
    crowds = (crowd(count, _WARM_UP + frames, seed, embedding_dim=dim) for dim in dims)
    for index, (joint, separate) in enumerate(zip(*crowds, strict=True)):  # but for dims the same
        if index == _WARM_UP:
            jde_parts.clear()
            separate_parts.clear()
            counts.clear()
        counts.append(len(joint))
        _detect(jde_parts, jde, image)
        with _part(jde_parts, "association"):
            trackers[0].update(joint)

        _detect(separate_parts, detector, image)
        with _part(separate_parts, "reid"):
            if len(separate):
                reid.infer({reid.inputs[0].name: crops(image, scale * separate.boxes)})
        with _part(separate_parts, "association"):
            trackers[1].update(separate)
    return {
        "people": float(np.mean(counts)),
        "jde_ms": summary(np.sum(list(jde_parts.values()), axis=0)),
        "separate_ms": summary(np.sum(list(separate_parts.values()), axis=0)),
        "jde_parts_ms": {name: float(np.mean(ms)) for name, ms in jde_parts.items()},
        "separate_parts_ms": {name: float(np.mean(ms)) for name, ms in separate_parts.items()},
    }


def _detect(parts: Parts, detector: Detector, image: Image) -> None:
    [buffer] = detector.buffers(1)
    with _part(parts, "preprocess"):
        fit = buffer.fill(image)
    with _part(parts, "network"):
        buffer.submit()
        outputs = detector.session.wait()
    with _part(parts, "decode"):
        detector.decode(outputs, fit)


@contextmanager
def _part(parts: Parts, name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    parts.setdefault(name, []).append(1e3 * (time.perf_counter() - begin))


def _slope(people: Sequence[float], milliseconds: Sequence[float]) -> float | None:
    if len(set(people)) < 2:
        return None
    return float(np.polyfit(people, milliseconds, 1)[0])


def draw_density(result: dict[str, Any], path: str | Path) -> None:
    """Draw a result of ``measure_density``: a line for each way, with p50 and the spread.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    from jdetrt.benchmarks.report.png import panels, save_figure

    figure, [panel] = panels(1)
    people = [row["people"] for row in result["rows"]]
    ways = (("jde_ms", "JDE"), ("separate_ms", f"detector + {result['settings']['reid']}"))
    for name, title in ways:
        times = [row[name] for row in result["rows"]]
        [line] = panel.plot(people, [one["p50"] for one in times], marker="o", label=title)
        panel.fill_between(
            people,
            [one["p50"] - one["std"] for one in times],
            [one["p50"] + one["std"] for one in times],
            alpha=0.2,
            color=line.get_color(),
        )
    panel.set_xlabel("people a frame")
    panel.set_ylabel("milliseconds a frame")
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend()
    width, height = result["settings"]["size"]
    figure.suptitle(f"{width}x{height} on {result['machine'].cpu}")
    save_figure(figure, path)
