"""Train the embeddings of ``nanodet-g`` alone, on windows of its early maps around people.

The rest of the network stays as it is, so its maps need to be computed once for each view of a
picture; what is kept of them are 5 x 5 cells around where a person's embedding is read, all that
this embedding depends on. A step of training then costs a thousandth of one on images.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from jdetrt.errors import ConfigError, DataError
from jdetrt.training.data.sample import Batch
from jdetrt.training.losses.distance_targets import assign_distances
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.nanodet import DenseEmbedding

__all__ = ["Windows", "contrast", "embed_windows", "gather", "join", "learn"]

_SIDE = 5  # cells; two 3x3 convolutions see no more
_VIEWS = 2  # cells of a person in a picture that are kept, the ones with the best scores
_NEIGHBOURS = 8  # people of following ids that are drawn together: often of one picture
_GROUPS = 20  # of these in a batch
_DRAWN = 3  # windows of a person in a batch
_TEMPERATURE = 0.1  # Khosla et al. 2020, arXiv 2004.11362, section 4
_BURN_IN = 50  # steps
_DECAY = 0.99  # of the averaged weights
_BRIGHTER = 0.15  # standard deviation of the factor that a window is multiplied by
_CUT = 0.15  # chance, for each side of a window, that its outermost cells are somebody else's


@dataclass(frozen=True, slots=True)
class Windows:
    """Early maps around people.

    Attributes:
        maps: ``[n, 192, 5, 5]`` float16.
        ids: ``[n]`` int64, from 0.
        identities: more than the largest id.
    """

    maps: Tensor
    ids: Tensor
    identities: int


@torch.inference_mode()
def gather(network: JdeNetwork, batches: Iterable[Batch], identities: int) -> Windows:
    """Compute the early maps of images, and keep what is around people.

    Args:
        network: of body ``nanodet-g``, with trained detection; it stays as it is.
        batches: images of any sizes; who has no id is left out.
        identities: of the data set that they come from.

    Raises:
        ConfigError: the network is of another body.
        DataError: there is nobody with an id.
    """
    _branch(network)
    maps, ids = [], []
    reach = _SIDE // 2
    for batch in batches:
        found = network.body(batch.images)
        levels = [F.pad(one, (reach,) * 4) for one in DenseEmbedding.early(*found[:2])]
        scores = [
            level(one, None)[1][:, 0]
            for level, one in zip(network.levels, found[:-4:-1], strict=True)
        ]
        cells: dict[tuple[int, int], list[tuple[float, int, int, int]]] = {}
        for level, target in enumerate(assign_distances(batch)):
            for picture, row, column in torch.nonzero(target.ids >= 0).tolist():
                person = int(target.ids[picture, row, column])
                score = float(scores[level][picture, row, column])
                cells.setdefault((picture, person), []).append((score, level, row, column))
        for (picture, person), where in cells.items():
            for _, level, row, column in sorted(where, reverse=True)[:_VIEWS]:
                part = levels[level][picture, :, row : row + _SIDE, column : column + _SIDE]
                maps.append(part.half().clone())
                ids.append(person)
    if not maps:
        raise DataError("nobody in these images has an id")
    return Windows(torch.stack(maps), torch.tensor(ids), identities)


def join(sets: Sequence[Windows], same: Sequence[int]) -> Windows:
    """Put windows together.

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
    return Windows(torch.cat([one.maps for one in sets]), torch.cat(ids), count)


def learn(
    network: JdeNetwork,
    windows: Windows,
    steps: int,
    *,
    seed: int = 0,
    rate: float = 2e-3,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Train the embedding branch of a network from random weights, in place.

    AdamW with a cosine; the averaged weights are kept.

    Args:
        network: of body ``nanodet-g``.
        windows: from `gather`, of the same network; several of each person.
        steps: how many.
        seed: of everything that is drawn by lot.
        rate: the highest learning rate.
        report: called with the number of steps done and the loss, each hundred steps.

    Raises:
        ConfigError: the network is of another body.
        DataError: nobody has two windows.
    """
    branch = _branch(network)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    ids = windows.ids.numpy()
    known, counts = np.unique(ids, return_counts=True)
    if counts.max() < 2:
        raise DataError("nobody has two windows: there is nothing that could be alike")
    rows = np.split(np.argsort(ids, kind="stable"), np.cumsum(counts)[:-1])
    _begin(branch, windows.maps)
    kept = copy.deepcopy(branch)
    optimiser = torch.optim.AdamW(branch.parameters(), rate, weight_decay=0.05)
    for step in range(steps):
        share = 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.02
        for group in optimiser.param_groups:
            group["lr"] = rate * share * min(1.0, (step + 1) / _BURN_IN)
        starts = random.integers(0, len(known), _GROUPS)[:, None] + np.arange(_NEIGHBOURS)
        people = np.unique(starts[starts < len(known)])
        drawn = [random.permutation(rows[person])[:_DRAWN] for person in people]
        chosen = np.concatenate(drawn)
        maps = _vary(windows.maps[chosen].float(), random)
        loss = contrast(embed_windows(branch, maps), windows.ids[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        weight = min(_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(kept.parameters(), branch.parameters(), strict=True):
                mean.lerp_(value, 1 - weight)
        if report is not None and (step + 1) % 100 == 0:
            report(step + 1, float(loss.detach()))
    branch.load_state_dict(kept.state_dict())


def embed_windows(branch: DenseEmbedding, maps: Tensor) -> Tensor:
    """Embeddings ``[n, D]``, not normalised, of windows ``[n, 192, 5, 5]`` float32.

    They are those of the windows' middles in whole maps, but at the border of a picture, where
    convolutions pad with zeros what here are shades of zeros.
    """
    x = branch.shades(maps)
    for block in branch.around:
        assert isinstance(block, nn.Sequential)
        conv = block[0]
        assert isinstance(conv, nn.Conv2d)
        x = block[1](F.conv2d(x, conv.weight, conv.bias))
    embedded: Tensor = branch.output(x)[:, :, 0, 0]
    return embedded


def contrast(embeddings: Tensor, ids: Tensor) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    Args:
        embeddings: ``[n, D]``, of any length but 0.
        ids: ``[n]``; who occurs once is a negative of all others only.
    """
    unit = F.normalize(embeddings, dim=1)
    itself = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    logits = (unit @ unit.T / _TEMPERATURE).masked_fill(itself, -math.inf)
    logs = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    same = (ids[:, None] == ids) & ~itself
    counts = same.sum(1)
    each = -logs.masked_fill(~same, 0.0).sum(1) / counts.clamp(min=1)
    return each[counts > 0].mean()


def _begin(branch: DenseEmbedding, maps: Tensor) -> None:
    """Random weights, the first ones for maps of any scale."""
    for module in branch.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    some = maps[:: max(1, len(maps) // 4000)].float()
    first = branch.shades[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.weight /= some.std((0, 2, 3))[:, None, None] + 1e-3
        first.bias -= first.weight[:, :, 0, 0] @ some.mean((0, 2, 3))


def _vary(maps: Tensor, random: np.random.Generator) -> Tensor:
    """Brighter or darker; at some sides, what somebody else's window has there."""
    factors = 1 + _BRIGHTER * random.standard_normal(len(maps))
    maps = maps * torch.from_numpy(factors).float()[:, None, None, None]
    for axis in (2, 3):
        for at in (0, _SIDE - 1):
            hit = np.flatnonzero(random.random(len(maps)) < _CUT)
            line = maps.select(axis, at)
            line[hit] = line[random.permutation(hit)].clone()
    return maps


def _branch(network: JdeNetwork) -> DenseEmbedding:
    branch = network.embedding
    if not isinstance(branch, DenseEmbedding):
        raise ConfigError(f"the body '{network.body_name}' has another embedding branch")
    return branch
