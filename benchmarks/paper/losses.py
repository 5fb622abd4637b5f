"""Table 3 of the paper in form: embedding losses and balances, trained alike.

Seven small networks (body darknet-small, whose tasks share a pyramid as the paper's do) are trained
from scratch on the same images, rendered clips or data of your own, and scored on a clip that they
have not seen. What a table like this can show on a few rendered people in a few minutes is how a
loss or a balance goes wrong, not by how many points one is better than another on real streets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from jdetrt.config import NetworkConfig
from jdetrt.evaluation.summary import QuickScore, quick_score
from jdetrt.export.torch_session import TorchSession
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import manifest
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.data.training_set import open_training_set
from jdetrt.training.distributed import processes
from jdetrt.training.network.anchors import network_anchors
from jdetrt.training.recipe import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    Recipe,
    ScheduleConfig,
    SyntheticConfig,
)
from jdetrt.training.train import train
from jdetrt.types import Size

__all__ = ["COLUMNS", "MGDA_NOTE", "PAPER", "Setting", "compare_losses", "recipe"]

Identity = Literal["cross-entropy", "triplet", "upper-bound"]
Balance = Literal["uncertainty", "uniform", "fixed", "loss-norm", "mgda-ub"]


class Setting(NamedTuple):
    """A row of the table: which embedding loss, and how the losses are balanced."""

    identity: Identity
    balance: Balance


# Paper table 3: AP, TPR at a FAR of 0.1 and MOTA in percent, ID switches. "App.Opt" is "fixed".
PAPER: dict[Setting, tuple[float, float, float, int]] = {
    Setting("triplet", "fixed"): (81.6, 42.2, 59.5, 375),
    Setting("upper-bound", "fixed"): (81.7, 44.3, 59.8, 346),
    Setting("cross-entropy", "fixed"): (82.0, 88.2, 64.3, 223),
    Setting("cross-entropy", "uniform"): (6.8, 94.8, 36.9, 366),
    Setting("cross-entropy", "mgda-ub"): (8.3, 93.5, 38.3, 357),
    Setting("cross-entropy", "loss-norm"): (80.6, 82.1, 57.9, 321),
    Setting("cross-entropy", "uncertainty"): (83.0, 90.4, 65.8, 207),
}
MGDA_NOTE = (
    "mgda-ub solves its problem for nine tasks, the three losses of each of three heads, on their "
    "gradients as they are. Its weights then favour the tasks with the smallest gradients. The "
    "paper's network came out the other way, with too much weight for the embedding; it does not "
    "say how it scaled the gradients."
)
COLUMNS = ("AP", "TPR", "MOTA", "IDs")
_SIZE = Size(320, 192)
_VALIDATION_FRAMES = 90
_FIRST_UNSEEN = 1000  # seed of the clip that is not trained on


def recipe(setting: Setting, epochs: int, seed: int, data: Sequence[DataConfig] = ()) -> Recipe:
    """Recipe of one network of the table: as in the paper, but small; on ``data`` if there are any.

    SGD with the paper's rate and steps, its losses and thresholds, on rendered clips: many short
    ones, for more people than in a few long ones. Of its augmentation, colours and flips; rendered
    people stand everywhere and come in all sizes without moving the image.
    """
    clips = 0 if data else 48
    return Recipe(
        data=tuple(data),
        synthetic=SyntheticConfig(clips=clips, frames=6, people=8, size=_SIZE, seed=1 + seed),
        network=NetworkConfig(body="darknet-small", size=_SIZE, embedding_dim=64),
        batch=8,
        seed=seed,
        frozen_norms="none",  # there are no weights to start from
        mixed_precision=False,  # the same arithmetic on every machine
        schedule=ScheduleConfig(epochs=epochs, burn_in=30),
        augment=AugmentConfig(rotation=0.0, scale=(0.9, 1.1), translation=0.0, shear=0.0),
        loss=LossConfig(identity=setting.identity, balance=setting.balance),
    )


def compare_losses(
    *,
    epochs: int = 30,
    seed: int = 0,
    data: Sequence[str | Path] = (),
    root: str | Path | None = None,
    validate: str | Path | None = None,
    workers: int = 0,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Any]:
    """Train and score a network for each row of the paper's table.

    Args:
        epochs: of each network; an epoch of rendered clips has 288 images.
        seed: of weights, order, augmentation and the clips that are trained on.
        data: data sets to train on (`jdetrt.training.data.paths.find`) in place of rendered clips;
            the triplet losses need consecutive frames in them.
        root: of the images in lists.
        validate: MOT sequence to score on, in place of a rendered clip that is not trained on.
        workers: processes that prepare images.
        progress: phase "networks", and a message for each row.

    Returns:
        JSON-ready: the machine, the settings, a row a network with ``AP``, ``TPR``, ``MOTA``
        (percent) and ``IDs``, the paper's row beside it, and for each column the rank correlation
        with the paper's.

    Raises:
        MissingDependencyError: TrackEval is not installed.
        DataError: data are missing or malformed, or have no consecutive frames.
        TrainingError: a loss is no longer a finite number.
    """
    rows = []
    base = None if root is None else str(Path(root).absolute())
    data_sets = [DataConfig(path=str(Path(path).absolute()), root=base) for path in data]
    with scratch_folder("losses") as temporary:
        sequence = Path(validate) if validate else _unseen(Path(temporary, "unseen"), seed)
        progress.start("networks", len(PAPER))
        for number, setting in enumerate(PAPER, start=1):
            progress.message(f"{number} of {len(PAPER)}: {setting.identity}, {setting.balance}")
            begun = time.perf_counter()
            score = _train_and_score(
                recipe(setting, epochs, seed, data_sets),
                sequence,
                Path(temporary, str(number)),
                workers,
            )
            rows.append(
                {
                    **setting._asdict(),
                    "AP": 100 * score.ap50,
                    "TPR": 100 * score.tpr,
                    "MOTA": score.mota,
                    "IDs": score.idsw,
                    "paper": dict(zip(COLUMNS, PAPER[setting], strict=True)),
                    "seconds": time.perf_counter() - begun,
                }
            )
            progress.advance("networks", number)
        progress.finish("networks")
    return {
        "benchmark": "losses",
        "machine": manifest(),
        "settings": {
            "epochs": epochs,
            "seed": seed,
            "recipe": msgspec.to_builtins(recipe(next(iter(PAPER)), epochs, seed, data_sets)),
            "validation": str(validate)
            if validate
            else f"{_VALIDATION_FRAMES} frames of a rendered clip that is not trained on",
        },
        "rows": rows,
        "rank_correlation": {
            column: _rank_correlation(
                [row[column] for row in rows], [row["paper"][column] for row in rows]
            )
            for column in COLUMNS
        },
    }


def _unseen(folder: Path, seed: int) -> Path:
    """Render a clip that is not trained on."""
    clip = SyntheticClip(
        seed=_FIRST_UNSEEN + seed,
        frames=_VALIDATION_FRAMES,
        size=(2 * _SIZE[0], 2 * _SIZE[1]),
        people=8,
        moving_camera=False,
    )
    return write_sequence(folder, clip)


def _train_and_score(settings: Recipe, sequence: Path, folder: Path, workers: int) -> QuickScore:
    with processes("auto") as process:
        data_set = open_training_set(settings, folder)
        trained = train(settings, data_set, folder, process, workers=workers)
    network, _ = checkpoint.load(trained.last)
    anchors = network_anchors(settings.network, _SIZE)
    with TorchSession(network.eval(), _SIZE, anchors) as session:
        return quick_score(session, sequence)


def _rank_correlation(ours: list[float], theirs: list[float]) -> float:
    """Spearman's, 1 for the same order and -1 for the opposite one; equal values share a rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(ours, theirs).statistic) if len(set(ours)) > 1 else 0.0
