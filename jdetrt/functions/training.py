"""Start a training run: its recipe, its data, its scores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt import shipped
from jdetrt.account import counted
from jdetrt.errors import ConfigError, requiring
from jdetrt.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from jdetrt.config import LabelConfig, NetworkConfig
    from jdetrt.training.network.model import JdeNetwork
    from jdetrt.training.progress import Report
    from jdetrt.training.recipe import Recipe
    from jdetrt.training.train import Trained

__all__ = ["train"]


def train(
    recipe: str | Path | Recipe | None,
    output: str | Path,
    *,
    data_root: str | Path = ".",
    start: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    learning_rate: float | None = None,
    data: Sequence[str | Path] = (),
    label: LabelConfig | None = None,
    validate: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 2,
    cache: bool = False,
    report: Callable[[Report], None] | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Trained:
    """Train a network. For several GPUs run the program with ``torchrun``.

    Args:
        recipe: a recipe, the path of a TOML file, or the name of a recipe that ships
            (``"paper"``, ``"nano"``); None with ``resume`` for the one that the run began with, and
            with ``data`` for one that teaches the built-in model.
        output: folder of the run; gets the checkpoints, the log and the state to resume from.
        data_root: folder that the paths of the recipe are relative to.
        start: weights to start from, in place of the recipe's.
        epochs: number of epochs, in place of the recipe's; so are the next three.
        batch: images a step, over all devices.
        size: width and height of the network input, in training and validation.
        learning_rate: of the optimiser.
        data: data sets to train on (`jdetrt.training.data.paths.find`), in place of the recipe's.
        label: class to train in place of people: its number in the labels, and its name.
        validate: MOT sequence to score the network on; ``best.safetensors`` is the checkpoint with
            the highest AP.
        resume: continue the run in ``output``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
        workers: processes that prepare images.
        cache: keep all images in memory.
        report: called with the losses every few steps, and with the scores after each validation;
            in the first process.
        announce: called with a sentence on the data before the first epoch, in the first process;
            by default it is a message of ``progress``.
        progress: gets a phase for each epoch.

    Returns:
        Number of epochs, checkpoints and best score.

    Raises:
        ConfigError: the recipe does not fit the data or the state.
        DataError: there are too few images, or one cannot be read.
        TrainingError: the loss is no longer a finite number.
        CheckpointError: the weights to start from cannot be used, or there is no state to resume.
        OutputError: the output cannot be written.
        MissingDependencyError: torch is not installed.
    """
    with requiring("train", "Training a network"):
        from jdetrt.export.torch_session import TorchSession
        from jdetrt.training.closed_form import fit_network
        from jdetrt.training.data.datasets import labels_account
        from jdetrt.training.data.training_set import open_training_set
        from jdetrt.training.distributed import processes
        from jdetrt.training.recipe import changed, open_recipe, starter
        from jdetrt.training.run_folder import check, prepare, read_recipe
        from jdetrt.training.train import train as run

    output = Path(output)
    if recipe is None:
        check(output, resume=resume)
        if not (resume or data):
            raise ConfigError("train: give a recipe, or data for the built-in one")
        settings = read_recipe(output) if resume else starter(_built_in())
    else:
        settings = open_recipe(str(recipe)) if isinstance(recipe, (str, Path)) else recipe
    settings = changed(
        settings,
        start=start,
        epochs=epochs,
        batch=batch,
        size=size,
        learning_rate=learning_rate,
        data=data,
        label=label,
    )
    with processes(device) as process:
        check(output, resume=resume)
        score = None if validate is None else _validation_scorer(settings, Path(validate))
        data_set = open_training_set(settings, Path(data_root), cache=cache, say=progress.message)
        if process.first:
            if not resume:
                prepare(output, settings)
            say = announce or progress.message
            say(
                f"{counted(len(data_set), 'image')} per epoch, "
                f"{counted(data_set.identities, 'identity', 'identities')}, "
                f"{settings.network.body} on {process.device}"
            )
            labels = labels_account(data_set)
            if labels.left_out or labels.by_design:
                say(f"Labels: {labels.summary()}")
            for note in labels.notes:
                say(note)
        if settings.closed_form:
            if process.world > 1 or validate is not None or resume:
                raise ConfigError(
                    "closed_form: such a run takes minutes, in one process and to its end; leave "
                    "out --resume, --validate and torchrun"
                )
            return fit_network(
                settings, data_set, output, TorchSession, workers=workers, progress=progress
            )
        return run(
            settings,
            data_set,
            output,
            process,
            workers=workers,
            resume=resume,
            validate=score,
            report=report if report is not None and process.first else lambda _: None,
            progress=progress if process.first else NO_PROGRESS,
        )


def _built_in() -> NetworkConfig:
    """Configuration of the built-in model."""
    from jdetrt.training.checkpoints.checkpoint import load as load_checkpoint

    return load_checkpoint(shipped.resolve_checkpoint(shipped.NANO))[1].config


def _validation_scorer(
    recipe: Recipe, sequence: Path
) -> Callable[[JdeNetwork], Mapping[str, float]]:
    """Make a function that scores a network in training on a sequence, as `quick_score` does."""
    from jdetrt.evaluation.summary import quick_score
    from jdetrt.export.torch_session import TorchSession
    from jdetrt.runtime.sources.images import sequence_info
    from jdetrt.runtime.sources.seqinfo import read_seqinfo
    from jdetrt.training.network.anchors import grids, network_anchors
    from jdetrt.training.score_calibration import calibrate_for

    size = recipe.validation_size or recipe.network.size
    assert size is not None
    grids(*size)  # complain now rather than after the first epoch
    if sequence_info(sequence) is None:
        read_seqinfo(sequence)  # which says what is wrong

    def score(network: JdeNetwork) -> Mapping[str, float]:
        if recipe.network.scores:
            network = copy.deepcopy(network)
            calibrate_for(network, recipe.network.scores, size)
        anchors = network_anchors(recipe.network)  # of the size of training, as in an export
        with TorchSession(network, size, anchors, tracker=recipe.network.tracker) as session:
            return quick_score(session, sequence).in_percent()

    return score
