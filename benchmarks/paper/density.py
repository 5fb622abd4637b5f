"""The argument of the paper's figure 3: what a frame costs as the people in it become more.

JDE's network does not care how many people there are; a detector followed by a network that looks
at each of them does. Both run through the same engine on the same pictures, frame by frame in turn.
The weights of what is compared here are random or not made for this, so the people are made up
(``jdetrt.synthetic.crowd``): the networks run for their time, and what they would have found is
handed over in their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.benchmarks.paper.numbers import FIGURE_3
from jdetrt.benchmarks.paper.reid import crops, write_detector, write_reid
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, SessionError
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.decode import detections as decode
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import letterbox
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
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time a frame of JDE and of detector plus re-identification against people a frame.

    Args:
        model: an ONNX model of ``jdetrt export``.
        people: in a frame, on average; a row each.
        frames: of each row, after some to warm up.
        reid: body of the re-identification network.
        provider: of ``OrtSession``, for all three networks.
        seed: of the crowds.
        report: is told what comes next.

    Returns:
        JSON-ready: the machine, the settings, a row for each of ``people`` with the milliseconds
        of a whole frame (``jde_ms``, ``separate_ms``) and of its parts; ``slope``: milliseconds
        for one person more; and what the paper says.

    Raises:
        ConfigError: a number that makes no measurement, or no such body.
        MissingDependencyError: torch or onnx is not installed.
        SessionError: a model cannot be run.
    """
    if not people or min(people) < 1 or frames < 2:
        raise ConfigError(
            f"expected people from 1 on and 2 frames or more, got {list(people)} and {frames}"
        )
    rows = []
    with TemporaryDirectory(prefix="jdetrt-density-") as temporary, ExitStack() as stack:
        jde = stack.enter_context(open_session(model, backend="onnxruntime", provider=provider))
        report("making the detector and the re-identification network")
        detector_path, reid_path = Path(temporary, "detector.onnx"), Path(temporary, "reid.onnx")
        write_detector(model, detector_path)
        write_reid(reid_path, reid)
        sessions = [
            jde,
            stack.enter_context(OrtSession(detector_path, provider=provider)),
            stack.enter_context(OrtSession(reid_path, provider=provider)),
        ]
        size = network_size(jde)
        for count in people:
            report(f"{count} people")
            rows.append(_row(sessions, size, count, frames, seed))
    counts = [row["people"] for row in rows]
    return {
        "benchmark": "density",
        "machine": manifest(),
        "settings": {
            "model": Path(model).name,
            "size": list(size),
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
    sessions: Sequence[Session], size: tuple[int, int], count: int, frames: int, seed: int
) -> dict[str, Any]:
    jde, detector, reid = sessions
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (_SIZE[1], _SIZE[0], 3), np.uint8)
    trackers = Tracker("reference"), Tracker("reference")
    for tracker in trackers:
        tracker.warm_up()
    jde_parts: Parts = {}
    separate_parts: Parts = {}
    seen_people: list[int] = []
    scale = np.float32(_SIZE[0] / frame_size(count, _SIZE)[0])  # a crowd's picture may be larger
    dims = (_embedding_dim(jde), reid.outputs[0].shape[-1])
    crowds = (crowd(count, _WARM_UP + frames, seed, embedding_dim=dim) for dim in dims)
    for index, (seen, apart) in enumerate(zip(*crowds, strict=True)):  # but for dims the same
        if index == _WARM_UP:
            jde_parts.clear()
            separate_parts.clear()
            seen_people.clear()
        seen_people.append(len(seen))
        _detect(jde_parts, jde, image, size)
        with _part(jde_parts, "association"):
            trackers[0].update(seen)

        _detect(separate_parts, detector, image, size)
        with _part(separate_parts, "reid"):
            if len(seen):
                reid.infer({reid.inputs[0].name: crops(image, scale * apart.boxes)})
        with _part(separate_parts, "association"):
            trackers[1].update(apart)
    return {
        "people": float(np.mean(seen_people)),
        "jde_ms": summary(np.sum(list(jde_parts.values()), axis=0)),
        "separate_ms": summary(np.sum(list(separate_parts.values()), axis=0)),
        "jde_parts_ms": {name: float(np.mean(ms)) for name, ms in jde_parts.items()},
        "separate_parts_ms": {name: float(np.mean(ms)) for name, ms in separate_parts.items()},
    }


def _detect(parts: Parts, session: Session, image: Image, size: tuple[int, int]) -> None:
    with _part(parts, "preprocess"):
        tensor, fit = letterbox(image, size)
    with _part(parts, "network"):
        outputs = session.infer({session.inputs[0].name: tensor[np.newaxis]})
    with _part(parts, "decode"):
        decode(outputs, fit)


def _embedding_dim(session: Session) -> int:
    dims = [spec.shape[-1] for spec in session.outputs if spec.name == "embeddings"]
    if not dims:
        raise SessionError("the model gives no embeddings; name a JDE model")
    return dims[0]


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
        found = [row[name] for row in result["rows"]]
        [line] = panel.plot(people, [one["p50"] for one in found], marker="o", label=title)
        panel.fill_between(
            people,
            [one["p50"] - one["std"] for one in found],
            [one["p50"] + one["std"] for one in found],
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
    figure.suptitle(f"{width}x{height} on {result['machine'].get('cpu')}")
    save_figure(figure, path)
