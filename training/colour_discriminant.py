"""Fit the embeddings of `BoxEmbedding` in closed form: what tells people apart, not their views.

A linear discriminant analysis (Fisher 1936; Fukunaga, "Introduction to Statistical Pattern
Recognition", chapter 10) of the colours at the points of boxes, each person being a class. The rest
of the network stays as it is, so the colours of a view of an image need to be computed once; and
there are no steps, rates or random weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jdetrt.config import STRIDES
from jdetrt.errors import ConfigError, DataError
from jdetrt.training.data.sample import Batch
from jdetrt.training.network.box_embedding import COLOURS, POINTS, BoxEmbedding, cell_means, read
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.nanodet import NanoDetG

__all__ = ["Views", "fit", "gather", "join"]

_SMALLEST = (5.0, 14.0)  # width and height in pixels of people who are gathered
_BOXES = 2  # of a person in an image
# Standard deviations of boxes: of the centre in sides, of the sides and of the scale as logarithms.
_CENTRE, _SIDES, _SCALE = 0.04, 0.07, 0.25
_RIDGE = 0.2  # added to the scatter within, times its mean variance


@dataclass(frozen=True, slots=True)
class Views:
    """Colours of people, before they are reduced.

    Attributes:
        colours: ``[n, POINTS, channels]`` float16, of the early map.
        ids: ``[n]`` int64, from 0.
        identities: more than the largest id.
    """

    colours: Tensor
    ids: Tensor
    identities: int


@torch.inference_mode()
def gather(network: JdeNetwork, batches: Iterable[Batch], identities: int, seed: int = 0) -> Views:
    """Read the colours of people at boxes that are about as wrong as a detector's.

    Args:
        network: of body ``nanodet-g``, with trained detection; it stays as it is.
        batches: images of any sizes; who has no id, or is tiny, is left out.
        identities: of the data set that they come from.
        seed: of the boxes.

    Raises:
        ConfigError: the network is of another body.
        DataError: there is nobody with an id.
    """
    body, _ = _parts(network)
    random = np.random.default_rng(seed)
    colours, ids = [], []
    for batch in batches:
        early = body.early(batch.images.contiguous(memory_format=torch.channels_last))
        maps = cell_means(torch.nn.functional.avg_pool2d(early, 2))
        cells = [(one.shape[3], one.shape[2]) for one in maps]
        known = (batch.ids >= 0) & (batch.boxes[:, 2:] >= torch.tensor(_SMALLEST)).all(1)
        for image in range(len(batch.images)):
            here = torch.nonzero(known & (batch.image_index == image))[:, 0].repeat(_BOXES)
            if len(here):
                boxes, levels = _boxes(batch.boxes[here], random)
                of_image = [one[image : image + 1] for one in maps]
                colours.append(read(of_image, boxes[None], levels[None], cells)[0].half())
                ids.append(batch.ids[here])
    if not colours:
        raise DataError("nobody in these images has an id")
    return Views(torch.cat(colours), torch.cat(ids), identities)


def join(sets: Sequence[Views], same: Sequence[int]) -> Views:
    """Put views together.

    Args:
        sets: one at least.
        same: of each set, the number of its data set: ids of sets with one number are the same.
    """
    first: dict[int, int] = {}
    count, ids = 0, []
    for one, number in zip(sets, same, strict=True):
        if number not in first:
            first[number] = count
            count += one.identities
        ids.append(one.ids + first[number])
    return Views(torch.cat([one.colours for one in sets]), torch.cat(ids), count)


@torch.no_grad()
def fit(network: JdeNetwork, views: Views) -> None:
    """Fit the embedding branch of a network, in place.

    Its colours are the principal components of the early map, all of variance 1. Its embeddings are
    the directions of the largest scatter of all views in units of that within a person, each
    scaled by the square root of this ratio, so that cosines go by what tells most.

    Args:
        network: of body ``nanodet-g``.
        views: from `gather`, of the same network; several of each person.

    Raises:
        ConfigError: the network is of another body.
        DataError: nobody has two views.
    """
    _, branch = _parts(network)
    raw = views.colours.double()
    _, people = torch.unique(views.ids, return_inverse=True)
    counts = torch.bincount(people)
    if counts.max() < 2:
        raise DataError("nobody has two views: there is nothing that could be alike")
    cells = raw.flatten(0, 1)
    mean, deviation = cells.mean(0), cells.std(0) + 1e-3
    variances, axes = torch.linalg.eigh(torch.cov(((cells - mean) / deviation).T))
    variances, axes = variances[-COLOURS:].clamp(min=1e-6), axes[:, -COLOURS:]
    weight = (axes / variances.sqrt()).T / deviation
    branch.colours.weight.copy_(weight[:, :, None, None])
    assert branch.colours.bias is not None
    branch.colours.bias.copy_(-weight @ mean)

    colours = (raw - mean) @ weight.T
    inputs = torch.cat([colours.relu(), (-colours).relu()], dim=2).flatten(1)
    centre = inputs.mean(0)
    means = torch.zeros(len(counts), inputs.shape[1], dtype=inputs.dtype)
    means = means.index_add(0, people, inputs) / counts[:, None]
    apart = (inputs - means[people])[counts[people] > 1]
    within = apart.T @ apart / len(apart)
    within += _RIDGE * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
    root = torch.linalg.inv(torch.linalg.cholesky(within))
    ratios, directions = torch.linalg.eigh(root @ torch.cov(inputs.T) @ root.T)
    dim = network.embedding_dim
    weight = (root.T @ directions[:, -dim:] * ratios[-dim:].clamp(min=0).sqrt()).T
    branch.reader.output.weight.copy_(weight)
    branch.reader.output.bias.copy_(-weight @ centre)


def _boxes(people: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Boxes that are a little wrong, x1 y1 x2 y2, and the levels that they are read from."""
    noise = torch.from_numpy(random.standard_normal((len(people), 5)).astype(np.float32))
    sides = people[:, 2:] * torch.exp(_SIDES * noise[:, 2:4])
    centre = people[:, :2] + _CENTRE * noise[:, :2] * people[:, 2:]
    # A level finds best whose cells are an eighth of a box high.
    steps = torch.log2(sides[:, 1] / (POINTS * STRIDES[-1])) + _SCALE * noise[:, 4]
    levels = 2 - steps.round().clamp(0, 2).long()
    return torch.cat([centre - sides / 2, centre + sides / 2], dim=1), levels


def _parts(network: JdeNetwork) -> tuple[NanoDetG, BoxEmbedding]:
    if not isinstance(network.body, NanoDetG) or not isinstance(network.embedding, BoxEmbedding):
        raise ConfigError(f"the body '{network.body_name}' has another embedding branch")
    return network.body, network.embedding
