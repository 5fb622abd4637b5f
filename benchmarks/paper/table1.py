"""Table 1 of the paper in form: JDE's association beside SORT and ByteTrack on the same detections.

The paper takes MOT-15 for low density and CVPR19-01 (61 people a frame) for high. Here they are
sequences that the user names, through a model; or, where none is named, made-up detections of a
walking crowd with identities, whose embeddings are as good as ``EMBEDDING_NOISE`` lets them be. So
what the made-up rows show is how fast the trackers are and how they take crowding, not how accurate
they would be on a real street.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.benchmarks.contenders import Maker, follow, ours, peers
from jdetrt.benchmarks.paper.numbers import TABLE_1
from jdetrt.errors import ConfigError, SessionError
from jdetrt.evaluation.trackeval import score_files
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.decode import detections
from jdetrt.runtime.detector import has_embeddings, network_size
from jdetrt.runtime.preprocess import letterbox
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.timing import summary
from jdetrt.synthetic.clip import SyntheticClip, Truth
from jdetrt.types import Detections, Session

__all__ = ["compare_association", "made_up_densities", "made_up_sequence", "seen_by"]

EMBEDDING_DIM = 512  # as the paper's
EMBEDDING_NOISE = 0.35  # length of the noise on an embedding of length 1
_SCORE = 0.3  # detections below are not handed over: each tracker has its own threshold above
_SEEN = 0.3  # of a person: with less in view nobody is detected
_MISSED = 0.03
_JITTER = 0.02  # of a box's size
_PEERS = {"SORT": "SORTTracker", "ByteTrack": "ByteTrackTracker"}


class Seen(NamedTuple):
    """A sequence as a detector sees it.

    Attributes:
        folder: with ``gt/gt.txt`` and ``seqinfo.ini``.
        frame_rate: Hz.
        frames: detections of every frame, with embeddings.
        network_ms: what the network took a frame; None for made-up detections.
    """

    folder: Path
    frame_rate: float
    frames: list[Detections]
    network_ms: float | None


def compare_association(
    sequences: Mapping[str, Seen],
    *,
    repeats: int = 3,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run JDE's association (presets ``reference`` and ``paper``), SORT and ByteTrack.

    All run in turn in one process, each sequence ``repeats`` times; the fastest time of each frame
    counts, a first pass only warms up.

    Args:
        sequences: by density, such as "low" and "high".
        repeats: timed passes.
        report: is told what comes next.

    Returns:
        JSON-ready: the machine, the settings and a row a density and tracker with people a frame,
        milliseconds a frame, association FPS, FPS with the network's time added where there was
        one, HOTA, MOTA and IDF1, and the paper's row where it has one.

    Raises:
        ConfigError: fewer than 1 repeat, or no sequence.
        DataError: a ground truth is missing or wrong.
        MissingDependencyError: ``trackers`` or TrackEval is not installed.
    """
    if repeats < 1 or not sequences:
        raise ConfigError(f"expected a sequence and 1 repeat or more, got {repeats}")
    others = peers(list(_PEERS.values()))
    makers: dict[str, Maker] = {"JDE": ours("reference"), "JDE (paper's text)": ours("paper")}
    makers |= dict(zip(_PEERS, others.values(), strict=True))
    rows = []
    for density, seen in sequences.items():
        for name, make in makers.items():
            report(f"{density} density: {name}")
            passes = [follow(make(seen.frame_rate), seen.frames) for _ in range(repeats + 1)]
            spent = np.min([milliseconds for milliseconds, _ in passes[1:]], axis=0)
            rows.append(_row(density, name, seen, spent, passes[-1][1]))
    return {
        "benchmark": "table1",
        "machine": manifest(),
        "settings": {
            "sequences": {density: seen.folder.name for density, seen in sequences.items()},
            "frames": {density: len(seen.frames) for density, seen in sequences.items()},
            "repeats": repeats,
            "embedding_noise": EMBEDDING_NOISE,
        },
        "rows": rows,
    }


def seen_by(session: Session, sequence: str | Path) -> Seen:
    """Run a model over a sequence with ground truth, and keep what it detects.

    Args:
        session: a JDE model with embeddings. It stays open.
        sequence: folder of a MOT sequence with pictures.

    Raises:
        SessionError: the model has no embeddings, or fails.
        SourceError: pictures are missing or broken.
    """
    if not has_embeddings(session):
        raise SessionError("the model gives no embeddings, which JDE's association needs")
    size = network_size(session)
    name = session.inputs[0].name
    found, spent = [], []
    with open_source(sequence) as source:
        for frame in source:
            tensor, fit = letterbox(frame.image, size)
            begin = time.perf_counter()
            outputs = session.infer({name: tensor[np.newaxis]})
            spent.append(1e3 * (time.perf_counter() - begin))
            found.append(detections(outputs, fit, score_threshold=_SCORE))
        rate = source.frame_rate
    return Seen(Path(sequence), rate, found, float(np.mean(spent)))


def made_up_sequence(folder: Path, people: int, frames: int, seed: int = 0) -> Seen:
    """Ground truth of a walking crowd, and detections with embeddings of those in view.

    Args:
        folder: to write ``gt/gt.txt`` and ``seqinfo.ini`` to; it is made.
        people: on their way at any time.
        frames: length.
        seed: of everything.
    """
    size = (1920, 1080)
    clip = SyntheticClip(seed=seed, frames=frames, size=size, people=people, moving_camera=False)
    rng = np.random.default_rng([seed, people])
    looks: dict[int, npt.NDArray[np.float64]] = {}
    rows, found = [], []
    for index in range(1, frames + 1):
        truth = clip.truth(index)
        for identity, box, seen in zip(truth.ids, truth.boxes, truth.visibility, strict=True):
            place = ",".join(f"{value:.2f}" for value in box)
            rows.append(f"{index},{identity},{place},{int(seen >= _SEEN)},1,{seen:.3f}\n")
        found.append(_detect(truth, looks, rng))
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={clip.frame_rate:g}\n"
        f"seqLength={frames}\nimWidth={size[0]}\nimHeight={size[1]}\nimExt=.jpg\n"
    )
    return Seen(folder, clip.frame_rate, found, None)


def made_up_densities(low: int, high: int, folder: Path, frames: int, seed: int) -> dict[str, Seen]:
    """Made-up sequences of a low and a high density."""
    return {
        "low": made_up_sequence(folder / "low", low, frames, seed),
        "high": made_up_sequence(folder / "high", high, frames, seed),
    }


def _detect(
    truth: Truth, looks: dict[int, npt.NDArray[np.float64]], rng: np.random.Generator
) -> Detections:
    """Boxes that are a little off, scores that fall with what is hidden, noisy embeddings."""
    kept = (truth.visibility >= _SEEN) & (rng.random(len(truth)) >= _MISSED)
    left_top, size = truth.boxes[kept, :2], truth.boxes[kept, 2:]
    corners = np.concatenate([left_top, left_top + size], axis=1)
    corners += rng.normal(0, _JITTER, corners.shape) * np.tile(size, 2)
    scores = np.clip(rng.normal(0.55 + 0.4 * truth.visibility[kept], 0.05), 0.3, 0.99)
    for identity in truth.ids[kept].tolist():
        if identity not in looks:
            looks[identity] = _unit(rng.standard_normal(EMBEDDING_DIM))
    noise = [_unit(rng.standard_normal(EMBEDDING_DIM)) for _ in range(len(scores))]
    embeddings = [
        _unit(looks[identity] + EMBEDDING_NOISE * one)
        for identity, one in zip(truth.ids[kept].tolist(), noise, strict=True)
    ]
    best_first = np.argsort(-scores, kind="stable")
    return Detections(
        corners[best_first].astype(np.float32),
        scores[best_first].astype(np.float32),
        np.array(embeddings, np.float32).reshape(-1, EMBEDDING_DIM)[best_first],
    )


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def _row(
    density: str, name: str, seen: Seen, spent: npt.NDArray[np.float64], lines: str
) -> dict[str, Any]:
    with TemporaryDirectory(prefix="jdetrt-table1-") as temporary:
        results = Path(temporary, "tracks.txt")
        results.write_text(lines)
        scores = score_files({"sequence": (seen.folder, results)}).combined.to_dict()
    theirs = TABLE_1.get((name, density))
    mean = float(spent.mean())
    with_network = None if seen.network_ms is None else 1e3 / (seen.network_ms + mean)
    return {
        "density": density,
        "tracker": name,
        "people": float(np.mean([len(frame) for frame in seen.frames])),
        "association_ms": summary(spent),
        "association_fps": 1e3 / mean,
        "fps_with_network": with_network,
        **{key: scores[key] for key in ("HOTA", "MOTA", "IDF1", "IDSW")},
        "paper": None if theirs is None else theirs._asdict(),
    }
