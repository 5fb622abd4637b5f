"""Recipes of training runs: frozen, typed settings, read from TOML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, to_builtins
from msgspec.structs import replace

from jdetrt.config import (
    ANY_ASPECT,
    BelowOne,
    Count,
    Fraction,
    LabelConfig,
    NetworkConfig,
    Positive,
    Section,
    load,
)
from jdetrt.documents import convert
from jdetrt.errors import ConfigError
from jdetrt.types import Size

__all__ = [
    "RECIPES",
    "AugmentConfig",
    "DataConfig",
    "LossConfig",
    "OptimiserConfig",
    "Recipe",
    "ScheduleConfig",
    "SyntheticConfig",
    "TargetsConfig",
    "changed",
    "open_recipe",
    "starter",
]

_LONGEST_NAME = 1000
_SHIPPED = Path(__file__).parent / "recipes"
RECIPES = tuple(sorted(path.stem for path in _SHIPPED.glob("[!_]*.toml")))

Degrees = Annotated[float, Meta(ge=0.0, le=180.0)]
Range = tuple[Positive, Positive]


class AugmentConfig(Section, frozen=True):
    """Random variation of training images.

    The defaults are the reference's (utils/datasets.py); from ``hue`` on it is ours and off.
    A chance is the probability that an image gets the effect.

    Raises:
        ValueError: the lower end of a range is above its upper end.
    """

    saturation: BelowOne = 0.5  # times 1 - this to 1 + this
    value: BelowOne = 0.5
    rotation: Degrees = 5.0  # to either side
    scale: Range = (0.5, 1.2)
    translation: Fraction = 0.1  # of the other side of the image, as in the reference
    shear: Annotated[float, Meta(ge=0.0, lt=90.0)] = 2.0  # degrees, along each axis
    flip: Fraction = 0.5  # chance

    # A box stays if what the affine map leaves of it exceeds these; as in the reference.
    min_side: Annotated[float, Meta(ge=0.0)] = 4.0  # network pixels
    min_area: Fraction = 0.1  # of the area before the map, scaling included
    max_aspect: Positive = 10.0  # longer side / shorter side, below this

    hue: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.0  # turns of the colour circle, either way
    mosaic: Fraction = 0.0  # chance of a 2 x 2 mosaic of four images
    crop: Fraction = 0.0  # chance of a window of the image in place of the letterbox
    zoom: Range = (0.6, 2.5)  # of such a window and of the parts of a mosaic; letterbox = 1
    copy_paste: Fraction = 0.0  # chance of people pasted from another image
    paste_people: Annotated[int, Meta(ge=1, le=64)] = 4  # at most
    erase: Fraction = 0.0  # chance, for each person, of an object in front
    min_seen: Fraction = 0.3  # of a person after cutting, pasting or erasing; less is ignored
    blur: Fraction = 0.0  # chance
    noise: Fraction = 0.0  # chance
    grey: Fraction = 0.0  # chance
    jpeg: Fraction = 0.0  # chance of compression artefacts

    def __post_init__(self) -> None:
        for name in ("scale", "zoom"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the lower end {low} is above the upper end {high}")


class TargetsConfig(Section, frozen=True):
    """Thresholds that make an anchor foreground or background.

    Raises:
        ValueError: the background reaches above where the foreground begins.
    """

    foreground_iou: Fraction = 0.5  # paper section 3.3
    background_iou: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.4  # paper section 3.3
    # Give a person whom no anchor overlaps enough the anchor that overlaps them most (ours).
    force_best: bool = False

    def __post_init__(self) -> None:
        if self.background_iou > self.foreground_iou:
            raise ValueError(
                f"background_iou {self.background_iou} is above foreground_iou "
                f"{self.foreground_iou}"
            )


class LossConfig(Section, frozen=True):
    """The losses, and how they are balanced."""

    confidence: Literal["cross-entropy", "focal"] = "cross-entropy"  # paper section 3.3
    box: Literal["smooth-l1", "giou"] = "smooth-l1"  # paper section 3.3
    identity: Literal["cross-entropy", "triplet", "upper-bound"] = "cross-entropy"  # section 3.4
    # Paper section 3.5 and table 3.
    balance: Literal["uncertainty", "uniform", "fixed", "loss-norm", "mgda-ub"] = "uncertainty"

    # Lin et al. 2017, section 4.1; below 1 its gradient would be unbounded.
    focal_gamma: Annotated[float, Meta(ge=1.0, le=10.0)] = 2.0
    focal_alpha: Fraction = 0.25  # weight of the foreground; the same section
    margin: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.3  # triplet; (ours) the paper omits it
    similarity_scale: Positive = 16.0  # upper bound: cosines times this (ours)
    # Balance "fixed": weights of confidence, box and identity. The first two are equal, as in
    # paper section 3.5; the values are about those that "uncertainty" starts with (ours).
    fixed_weights: tuple[Positive, Positive, Positive] = (45.0, 45.0, 5.0)
    norm_momentum: BelowOne = 0.99  # balance "loss-norm": of the moving average (ours)


class DataConfig(Section, frozen=True):
    """One data set to train on."""

    path: str  # a list file, a folder of images, a MOT sequence or a pattern of several
    root: str | None = None  # of the paths in a list file
    min_visibility: Fraction = 0.0  # MOT Challenge: less visible people are ignored
    repeat: Annotated[int, Meta(ge=1)] = 1  # times that each image comes up in an epoch
    # People without an id: of unknown identity ("unknown", as in the reference), or each a separate
    # identity that appears in this image alone ("alone", ours).
    without_id: Literal["unknown", "alone"] = "unknown"


class SyntheticConfig(Section, frozen=True):
    """Rendered clips to train on beside the data (jdetrt.synthetic.clip)."""

    clips: Count = 0
    frames: Annotated[int, Meta(ge=1)] = 40  # of each clip
    people: Annotated[int, Meta(ge=1)] = 12  # in each clip
    size: Size = Size(640, 360)
    seed: Count = 1
    min_visibility: Fraction = 0.2  # less visible people are ignored


class OptimiserConfig(Section, frozen=True):
    """Optimiser and learning rates."""

    name: Literal["sgd", "adamw"] = "sgd"  # paper section 4.2
    learning_rate: Positive = 1e-2  # paper section 4.2
    body_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0  # share of it that the body gets
    classifier_rate: Positive = 1.0  # times it for the classifier of identities (ours)
    momentum: BelowOne = 0.9  # reference train.py; of AdamW, the first beta
    weight_decay: Annotated[float, Meta(ge=0.0, le=1.0)] = 1e-4  # reference train.py
    max_gradient: Annotated[float, Meta(ge=0.0)] = 0.0  # norm that gradients are cut to; 0: never
    ema: BelowOne = 0.0  # decay of the averaged weights that are kept; 0: none


class ScheduleConfig(Section, frozen=True):
    """Length of the training, and decay of the learning rate."""

    epochs: Annotated[int, Meta(ge=1)] = 30  # paper section 4.2
    burn_in: Count = 1000  # steps of a rate rising with the 4th power; reference
    burn_in_epochs: Annotated[int, Meta(ge=1)] = 1  # that they take at most, up to half; reference
    fall: Literal["steps", "cosine"] = "steps"
    # Epochs, as shares of all, after which the rate is a tenth; reference train.py (the paper has
    # the 15th and the 23rd of 30).
    steps: tuple[Fraction, ...] = (0.5, 0.75)
    final: Fraction = 0.02  # of a cosine: the share of the rate at the end


class Recipe(Section, frozen=True):
    """Settings of a training run. The defaults are the reference's, and through it the paper's."""

    data: tuple[DataConfig, ...] = ()
    synthetic: SyntheticConfig = SyntheticConfig()
    network: NetworkConfig = NetworkConfig(size=(1088, 608))
    sizes: tuple[Size, ...] = ()  # network sizes; each batch draws one of them
    start: str | None = None  # "imagenet" or a weight file; None for random weights
    batch: Annotated[int, Meta(ge=1)] = 32  # images a step, over all devices; reference README
    accumulate: Annotated[int, Meta(ge=1)] = 1  # parts that a batch is computed in
    seed: Count = 0
    # On GPUs, and on CPUs that multiply bfloat16 (ours; the reference and recipe paper: float32).
    mixed_precision: bool = True
    # "scales": scales of all batch norms are frozen, statistics move (reference); "body": the
    # body's batch norms are frozen with their statistics; "all": the pyramid's too.
    frozen_norms: Literal["none", "scales", "body", "all"] = "scales"
    # Frozen weights, as patterns of their names: "network.body.stem.*".
    frozen: tuple[str, ...] = ()
    # Initial score of the anchors; None leaves it at random, as in the reference.
    prior: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augment: AugmentConfig = AugmentConfig()
    targets: TargetsConfig = TargetsConfig()
    loss: LossConfig = LossConfig()
    # Nothing is trained by steps: embeddings are fitted in closed form to one view of each image an
    # epoch, and the scores calibrated at these network sizes (jdetrt.training.closed_form).
    closed_form: tuple[Size, ...] = ()
    validate_every: Annotated[int, Meta(ge=1)] = 1  # epochs
    validation_size: Size | None = None  # network size; None for that of the network


def starter(network: NetworkConfig) -> Recipe:
    """Recipe that teaches the built-in model with data of your own, which `changed` names.

    Args:
        network: configuration of the built-in model.
    """
    return replace(open_recipe("_starter"), network=network)


def open_recipe(name: str | Path) -> Recipe:
    """Read a recipe: one of `RECIPES` by its name, or a TOML file.

    A file may build on another recipe, named by ``base``: a name, or a path relative to the file.
    Its own tables are merged into those of the base key by key, everything else replaces it.

    Raises:
        ConfigError: there is no such recipe or file, or it has an unknown or wrong key.
    """
    path = _recipe_path(name)
    try:
        return convert(_settings(path), Recipe)
    except ValueError as err:
        raise ConfigError(f"{path}: {err}") from err


def changed(
    recipe: Recipe,
    *,
    start: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    learning_rate: float | None = None,
    data: Sequence[str | Path] = (),
    label: LabelConfig | None = None,
) -> Recipe:
    """Change the settings that are most often changed; None leaves one as it is.

    Args:
        recipe: it stays as it is.
        start: weights to start from.
        epochs: of the schedule, whose other settings are shares of it.
        batch: images a step.
        size: width and height of the network input, in training and validation; it replaces
            ``sizes``.
        learning_rate: of the optimiser.
        data: paths of data sets in place of the recipe's.
        label: class to train in place of people. Boxes of any width and height are then tracked.

    Raises:
        ConfigError: a value is out of range.
    """
    changes: dict[str, Any] = {"start": start, "batch": batch}
    if epochs is not None:
        changes["schedule"] = {"epochs": epochs}
    if learning_rate is not None:
        changes["optimiser"] = {"learning_rate": learning_rate}
    network: dict[str, Any] = {}
    if size is not None:
        network["size"] = size
        changes |= {"sizes": (), "validation_size": size}
    if label is not None:
        network["label"] = to_builtins(label)
        if recipe.network.tracker is not None:
            network["tracker"] = {"max_aspect": ANY_ASPECT}
    if network:
        changes["network"] = network
    if data:
        paths = [str(Path(path).absolute()) for path in data]
        changes["data"] = [{"path": path} for path in paths]
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        return recipe
    try:
        return convert(_merged(to_builtins(recipe), given), Recipe)
    except ValueError as err:
        raise ConfigError(f"recipe: {err}") from err


def _recipe_path(name: str | Path, folder: Path = Path()) -> Path:
    shipped = _SHIPPED / f"{name}.toml"
    if isinstance(name, str) and "/" not in name and shipped.is_file():
        return shipped
    path = folder / name
    if not path.exists():
        raise ConfigError(f"{path}: no such file; recipes of jdetrt: {', '.join(RECIPES)}")
    return path


def _settings(path: Path, derived: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Settings of a file and of those it builds on; ``derived`` are the files that build on it."""
    if path in derived:
        raise ConfigError(f"{path}: is its own base; name another")
    settings = load(path, dict[str, Any])
    base = settings.pop("base", None)
    if base is None:
        return settings
    if not isinstance(base, str) or not 0 < len(base) <= _LONGEST_NAME or "\0" in base:
        got = repr(base)[:60]
        raise ConfigError(f"{path}: base: expected the name or path of a recipe, got {got}")
    return _merged(_settings(_recipe_path(base, path.parent), (*derived, path)), settings)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        merged[key] = value
    return merged
