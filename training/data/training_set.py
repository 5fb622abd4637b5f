"""The training set of a recipe."""

from __future__ import annotations

from pathlib import Path

from jdetrt.training.data.datasets import DataSet, Mixture, open_data_set
from jdetrt.training.data.synthetic import SyntheticPictures
from jdetrt.training.recipe import Recipe

__all__ = ["open_training_set"]


def open_training_set(recipe: Recipe, root: str | Path, *, cache: bool = False) -> DataSet:
    """Open all data sets of a recipe, in its order, and render its synthetic clips.

    Args:
        recipe: names the data sets.
        root: folder that their paths are relative to.
        cache: keep all pictures in memory, decoded.

    Raises:
        DataError: a data set is missing or malformed.
        ConfigError: the recipe names no data.
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
        )
        for one in recipe.data
    ]
    if recipe.synthetic.clips:
        data_sets.append(SyntheticPictures(recipe.synthetic))
    return Mixture(data_sets)
