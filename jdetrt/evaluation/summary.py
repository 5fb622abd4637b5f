"""Summary: scores of detection, embedding and tracking from one pass over a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jdetrt.account import Account
from jdetrt.config import TrackerConfig
from jdetrt.errors import DataError
from jdetrt.evaluation.detection import DetectionTest
from jdetrt.evaluation.embedding import EmbeddingTest
from jdetrt.evaluation.inference import infer
from jdetrt.evaluation.perturbed import margin, score_perturbed, score_tracks, without_gaps
from jdetrt.runtime.decode import Candidates, candidates
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sources.images import sequence_info
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.types import Session

if TYPE_CHECKING:
    from jdetrt.training.data.sample import Sample

__all__ = ["FAR", "PERTURBED_KEY", "QuickScore", "quick_score"]

FAR = 0.1  # paper section 4.1
PERTURBED_KEY = "shaken"  # in JSON, as earlier versions wrote it


@dataclass(frozen=True, slots=True)
class QuickScore:
    """Scores of a model on one sequence.

    Attributes:
        ap50: average precision at an IoU of 0.5, 0 to 1.
        tpr: true positive rate of the embeddings at a false accept rate of 0.1, 0 to 1.
        coverage: share of the identified people who have an embedding.
        mota: percent.
        idf1: percent.
        hota: percent.
        idsw: ID switches.
        fp: false positives of the tracks.
        fn: people without a track.
        perturbed: ``mota``, ``idf1`` and ``hota`` of each run over perturbed boxes
            (`jdetrt.evaluation.perturbed`); None where none was asked for. Its
            name in JSON is `PERTURBED_KEY`.
    """

    ap50: float
    tpr: float
    coverage: float
    mota: float
    idf1: float
    hota: float
    idsw: int
    fp: int
    fn: int
    perturbed: dict[str, list[float]] | None = None

    def in_percent(self) -> dict[str, Any]:
        """Numbers by their name, those that are fractions in percent, as training logs them."""
        fractions = {name: 100 * getattr(self, name) for name in ("ap50", "tpr", "coverage")}
        return {**self.to_dict(), **fractions}

    def to_dict(self) -> dict[str, Any]:
        """Numbers by their name in JSON; those that are None are left out."""
        numbers = asdict(self)
        numbers[PERTURBED_KEY] = numbers.pop("perturbed")
        return {name: value for name, value in numbers.items() if value is not None}


def quick_score(
    session: Session,
    sequence: str | Path,
    *,
    size: tuple[int, int] | None = None,
    tracker: TrackerConfig | None = None,
    perturbed_runs: int = 0,
    images: Account | None = None,
) -> QuickScore:
    """Run a model over a sequence once and measure everything; this picks checkpoints.

    Args:
        session: a JDE model with embeddings, such as a ``TorchSession`` of a network in training.
        sequence: folder of a MOT sequence with images and ground truth.
        size: network width and height, for a model that leaves them free.
        tracker: its settings; by default as in ``jdetrt track``.
        perturbed_runs: number of further runs with perturbed boxes.
        images: counts them. In one that cannot be read nobody is tracked, which costs tracking
            scores; detection and embeddings are measured on the others.

    Raises:
        DataError: images or ground truth are missing, wrong, or without two identified people.
        SessionError: the model fails, or gives no embeddings.
        MissingDependencyError: TrackEval is not installed.
    """
    from jdetrt.training.data.datasets import open_data_set, readable  # which loads torch

    folder = Path(sequence)
    info = sequence_info(folder) or read_seqinfo(folder)
    data = open_data_set(folder)
    if len(data) != info.length:
        raise DataError(
            f"{folder}: seqinfo.ini states {info.length} images, but the folder has {len(data)}"
        )
    detection, embedding = DetectionTest(), EmbeddingTest(session, fars=[FAR])
    settings = tracker_config(session) if tracker is None else tracker
    threshold = settings.score_threshold
    least = margin(threshold) if perturbed_runs else threshold
    indices: list[int] = []
    found: list[Candidates] = []

    def samples() -> Iterator[Sample]:
        for index, sample in readable(data, Account("image") if images is None else images):
            indices.append(index)
            yield sample

    for image in infer(session, samples(), size=size):
        detection.add(image)
        embedding.add(image)
        found.append(candidates(image.outputs, image.letterbox, score_threshold=least))
    frames = without_gaps(dict(zip(indices, found, strict=True)), len(data))
    tracked = score_tracks(frames, folder, settings, info.frame_rate)
    perturbed = None
    if perturbed_runs:
        perturbed = score_perturbed(frames, folder, settings, info.frame_rate, runs=perturbed_runs)
    identity = embedding.scores()
    return QuickScore(
        ap50=detection.scores().ap50,
        tpr=identity.tpr[FAR],
        coverage=identity.coverage,
        mota=tracked.mota,
        idf1=tracked.idf1,
        hota=tracked.hota,
        idsw=tracked.idsw,
        fp=tracked.fp,
        fn=tracked.fn,
        perturbed=perturbed,
    )
