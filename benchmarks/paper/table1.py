"""Table 1 of the paper in form: JDE's association beside SORT and ByteTrack on the same detections.

The paper takes MOT-15 for low density and CVPR19-01 (61 people per frame) for high. Here they are
sequences that the user names, through a model; or, where none is named, synthetic detections of a
walking crowd with identities, whose embeddings are as good as ``EMBEDDING_NOISE`` lets them be. So
the synthetic rows show how fast the trackers are and how they cope with crowding, not how accurate
they would be on a real street.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.benchmarks.association import Maker, Passes, ours, peers, run_passes
from jdetrt.benchmarks.paper_numbers import TABLE_1
from jdetrt.config import TrackerConfig
from jdetrt.errors import ConfigError, SessionError
from jdetrt.evaluation.trackeval import score_files
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import manifest
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import Detector, has_embeddings
from jdetrt.runtime.sources.open import account_of, open_source
from jdetrt.runtime.timing import summary
from jdetrt.synthetic.clip import SyntheticClip, Truth
from jdetrt.types import Detections, Session

__all__ = [
    "compare_association",
    "detect",
    "synthetic_densities",
    "synthetic_sequence",
]

SCORE_THRESHOLD = TrackerConfig().score_threshold
EMBEDDING_DIM = 512  # as the paper's
EMBEDDING_NOISE = 0.35  # length of the noise on an embedding of length 1
_VISIBLE = 0.3  # of a person: with less in view nobody is detected
_MISSED = 0.03
_JITTER = 0.02  # of a box's size
_PEERS = {"SORT": "SORTTracker", "ByteTrack": "ByteTrackTracker"}


class DetectedSequence(NamedTuple):
    """Detections of a sequence.

    Attributes:
        folder: with ``gt/gt.txt`` and ``seqinfo.ini``.
        frame_rate: Hz.
        frames: detections of every frame, with embeddings.
        network_ms: mean time of the network; None for synthetic detections.
        read: account of the images, in those of which that cannot be read nobody is detected; None
            for synthetic detections.
    """

    folder: Path
    frame_rate: float
    frames: list[Detections]
    network_ms: float | None
    read: Account | None = None


def compare_association(
    sequences: Mapping[str, DetectedSequence],
    *,
    score_threshold: float = SCORE_THRESHOLD,
    repeats: int = 3,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Any]:
    """Run JDE's association (presets ``reference`` and ``paper``), SORT and ByteTrack.

    All run in turn in one process, see ``run_passes``.

    Args:
        sequences: by density, such as "low" and "high".
        score_threshold: detections above it go to all trackers, others to none; no tracker of ours
            drops more of them by itself.
        repeats: timed passes.
        progress: phase "densities", and a message for each.

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
    makers: dict[str, Maker] = {
        "JDE": ours("reference", score_threshold=score_threshold),
        "JDE (paper's text)": ours("paper", score_threshold=score_threshold),
    }
    makers |= dict(zip(_PEERS, others.values(), strict=True))
    rows = []
    progress.start("densities", len(sequences))
    for done, (density, sequence) in enumerate(sequences.items(), start=1):
        progress.message(f"{density} density")
        above = [people[people.scores > score_threshold] for people in sequence.frames]
        sequence = sequence._replace(frames=above)
        inputs = {density: (sequence.frame_rate, sequence.frames)}
        passes = run_passes(makers, inputs, repeats)
        rows += [_row(density, name, sequence, passes[name, density]) for name in makers]
        progress.advance("densities", done)
    progress.finish("densities")
    return {
        "benchmark": "table1",
        "machine": manifest(),
        "settings": {
            "sequences": {density: sequence.folder.name for density, sequence in sequences.items()},
            "frames": {density: len(sequence.frames) for density, sequence in sequences.items()},
            "score_threshold": score_threshold,
            "repeats": repeats,
            "embedding_noise": EMBEDDING_NOISE,
        },
        "read": {
            density: {one.read.many: one.read.to_dict()}
            for density, one in sequences.items()
            if one.read is not None
        },
        "rows": rows,
    }


def detect(
    session: Session, sequence: str | Path, score_threshold: float = SCORE_THRESHOLD
) -> DetectedSequence:
    """Run a model over a sequence with ground truth.

    In an image that cannot be read nobody is detected, for all trackers alike.

    Args:
        session: a JDE model with embeddings. It stays open.
        sequence: folder of a MOT sequence with images.
        score_threshold: detections have a score above it, 0 to 1.

    Raises:
        SessionError: the model has no embeddings, or fails.
        SourceError: images are missing, or not one can be read.
    """
    if not has_embeddings(session):
        raise SessionError("the model outputs no embeddings, which JDE's association needs")
    detector = Detector(session, score_threshold=score_threshold)
    [buffer] = detector.buffers(1)
    found: dict[int, Detections] = {}
    milliseconds = []
    with open_source(sequence) as source:
        for frame in source:
            fit = buffer.fill(frame.image)
            begin = time.perf_counter()
            buffer.submit()
            outputs = session.wait()
            milliseconds.append(1e3 * (time.perf_counter() - begin))
            found[frame.index] = detector.decode(outputs, fit)
        rate, read = source.frame_rate, account_of(source)
    nobody = next(iter(found.values()))[:0]
    frames = [found.get(number, nobody) for number in range(1, read.total + 1)]
    return DetectedSequence(Path(sequence), rate, frames, float(np.mean(milliseconds)), read)


def synthetic_sequence(folder: Path, people: int, frames: int, seed: int = 0) -> DetectedSequence:
    """Ground truth of a walking crowd, and detections with embeddings of those in view.

    Args:
        folder: to write ``gt/gt.txt`` and ``seqinfo.ini`` to; it is made.
        people: visible at a time.
        frames: length.
        seed: of everything.
    """
    size = (1920, 1080)
    clip = SyntheticClip(seed=seed, frames=frames, size=size, people=people, moving_camera=False)
    rng = np.random.default_rng([seed, people])
    vectors: dict[int, npt.NDArray[np.float64]] = {}
    rows, detected = [], []
    for index in range(1, frames + 1):
        truth = clip.truth(index)
        for identity, box, visible in zip(truth.ids, truth.boxes, truth.visibility, strict=True):
            corner = ",".join(f"{value:.2f}" for value in box)
            rows.append(f"{index},{identity},{corner},{int(visible >= _VISIBLE)},1,{visible:.3f}\n")
        detected.append(_detect(truth, vectors, rng))
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={clip.frame_rate:g}\n"
        f"seqLength={frames}\nimWidth={size[0]}\nimHeight={size[1]}\nimExt=.jpg\n"
    )
    return DetectedSequence(folder, clip.frame_rate, detected, None)


def synthetic_densities(
    low: int, high: int, folder: Path, frames: int, seed: int
) -> dict[str, DetectedSequence]:
    """Synthetic sequences of a low and a high density."""
    return {
        "low": synthetic_sequence(folder / "low", low, frames, seed),
        "high": synthetic_sequence(folder / "high", high, frames, seed),
    }


def _detect(
    truth: Truth, vectors: dict[int, npt.NDArray[np.float64]], rng: np.random.Generator
) -> Detections:
    """Boxes that are a little off, scores that fall with what is hidden, noisy embeddings."""
    rows = (truth.visibility >= _VISIBLE) & (rng.random(len(truth)) >= _MISSED)
    left_top, size = truth.boxes[rows, :2], truth.boxes[rows, 2:]
    corners = np.concatenate([left_top, left_top + size], axis=1)
    corners += rng.normal(0, _JITTER, corners.shape) * np.tile(size, 2)
    scores = np.clip(rng.normal(0.55 + 0.4 * truth.visibility[rows], 0.05), 0.3, 0.99)
    for identity in truth.ids[rows].tolist():
        if identity not in vectors:
            vectors[identity] = _unit(rng.standard_normal(EMBEDDING_DIM))
    noise = [_unit(rng.standard_normal(EMBEDDING_DIM)) for _ in range(len(scores))]
    embeddings = [
        _unit(vectors[identity] + EMBEDDING_NOISE * one)
        for identity, one in zip(truth.ids[rows].tolist(), noise, strict=True)
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


def _row(density: str, name: str, sequence: DetectedSequence, passes: Passes) -> dict[str, Any]:
    with scratch_folder("table1") as temporary:
        results = Path(temporary, "tracks.txt")
        results.write_text(passes.lines)
        scores = score_files({"sequence": (sequence.folder, results)}).combined.to_dict()
    paper = TABLE_1.get((name, density))
    mean = float(passes.milliseconds.mean())
    network = sequence.network_ms
    return {
        "density": density,
        "tracker": name,
        "people": float(np.mean([len(frame) for frame in sequence.frames])),
        "association_ms": summary(passes.milliseconds),
        "association_fps": 1e3 / mean,
        "fps_with_network": None if network is None else 1e3 / (network + mean),
        **{key: scores[key] for key in ("HOTA", "MOTA", "IDF1", "IDSW")},
        "paper": None if paper is None else paper._asdict(),
    }
