"""Training set of a recipe: its data sets and its rendered clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jdetrt.errors import ConfigError
from jdetrt.synthetic.clip import SyntheticClip
from jdetrt.training.data.datasets import DataSet, Mixture, open_data_set
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import Recipe, SyntheticConfig

__all__ = ["SyntheticImages", "open_training_set"]


def open_training_set(
    recipe: Recipe,
    root: str | Path,
    *,
    cache: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> DataSet:
    """Open all data sets of a recipe, in its order, and render its synthetic clips.

    Args:
        recipe: the data sets.
        root: folder that their paths are relative to.
        cache: keep all images in memory, decoded.
        say: gets a line for each data set with boxes of other classes, which are left out.

    Raises:
        DataError: a data set is missing or malformed.
        ConfigError: the recipe names no data, or rendered people for another class.
    """
    root = Path(root)
    data_sets: list[DataSet] = [
        open_data_set(
            root / one.path,
            None if one.root is None else root / one.root,
            min_visibility=one.min_visibility,
            repeat=one.repeat,
            cache=cache,
            alone=one.without_id == "alone",
            label=recipe.network.label,
            say=say,
        )
        for one in recipe.data
    ]
    if recipe.synthetic.clips:
        if recipe.network.label is not None:
            raise ConfigError(
                f"synthetic.clips: show people, not '{recipe.network.label.name}'; set it to 0"
            )
        data_sets.append(SyntheticImages(recipe.synthetic))
    return Mixture(data_sets)


class SyntheticImages:
    """Frames of several rendered clips, in memory; every other clip has a moving camera.

    Identities of different clips are different people.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        self.identities = 0
        self._samples: list[Sample] = []
        self._frames = config.frames
        for number in range(config.clips):
            clip = SyntheticClip(
                seed=config.seed + number,
                frames=config.frames,
                size=config.size,
                people=config.people,
                moving_camera=number % 2 == 1,
            )
            known: dict[int, int] = {}
            for frame, truth in clip:
                boxes = truth.boxes.copy()
                boxes[:, 2:] += boxes[:, :2]
                visible = truth.visibility >= max(config.min_visibility, 1e-6)
                ids = [
                    known.setdefault(i, self.identities + len(known))
                    for i in truth.ids[visible].tolist()
                ]
                self._samples.append(
                    Sample(
                        frame.image,
                        boxes[visible].astype(np.float32),
                        np.array(ids, np.int64),
                        boxes[~visible & (truth.visibility > 0)].astype(np.float32),
                    )
                )
            self.identities += len(known)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """One frame."""
        return self._samples[index]

    def successor(self, index: int) -> int | None:
        """Index of the next frame of the same clip, None for its last."""
        return None if (index + 1) % self._frames == 0 else index + 1
