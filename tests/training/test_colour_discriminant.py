"""Embeddings fitted in closed form: what is gathered, and that people become alike."""

import pytest
import torch

from jdetrt.errors import ConfigError, DataError
from jdetrt.training.colour_discriminant import Views, fit, gather, join
from jdetrt.training.data.sample import Batch
from jdetrt.training.network.box_embedding import POINTS, BoxEmbedding
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.training.network.nanodet import embed_cells


@pytest.fixture(scope="module")
def network() -> JdeNetwork:
    return random_network(0, "nanodet-g", 16)


def batch_of(ids: list[int], height: float = 70.0) -> Batch:
    count = len(ids)
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.rand(1, 3, 256, 384, generator=generator),
        boxes=torch.tensor([[96.0 + 60 * n, 128.0, 30.0, height] for n in range(count)]),
        ids=torch.tensor(ids),
        image_index=torch.zeros(count, dtype=torch.int64),
        ignore=torch.zeros(0, 4),
        ignore_image_index=torch.zeros(0, dtype=torch.int64),
    )


def test_people_with_an_id_are_gathered_twice(network: JdeNetwork) -> None:
    views = gather(network, [batch_of([3, -1, 5]), batch_of([4], height=9.0)], 6)
    assert views.ids.tolist() == [3, 5, 3, 5]
    assert views.colours.shape == (4, POINTS, 64)
    assert views.identities == 6
    # The two boxes of a person differ, by less than people do.
    first, other, again, _ = views.colours.float()
    assert 0 < float((first - again).norm()) < float((first - other).norm())


def test_joined_ids_are_the_same_for_one_data_set_alone() -> None:
    colours = torch.zeros(2, POINTS, 64).half()
    one = Views(colours, torch.tensor([0, 2]), 3)
    other = Views(colours, torch.tensor([1, 4]), 5)
    joined = join([one, other, one], [7, 8, 7])
    assert joined.ids.tolist() == [0, 2, 4, 7, 0, 2]
    assert joined.identities == 8
    assert len(joined.colours) == 6


def test_people_become_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(40, 1, 64, generator=generator).repeat_interleave(6, 0)
    places = 2 * torch.randn(240, 1, 64, generator=generator)
    places[..., :32] = 0  # half of the channels tell of the place alone
    people[..., 32:] = 0
    noise = 0.3 * torch.randn(240, POINTS, 64, generator=generator)
    ids = torch.arange(40).repeat_interleave(6)
    colours = (people + places + noise).half()
    train = ids < 30
    own = random_network(0, "nanodet-g", 16)
    others = {n: v.clone() for n, v in own.state_dict().items() if not n.startswith("embedding.")}
    fit(own, Views(colours[train], ids[train], 30))
    branch = own.embedding
    assert isinstance(branch, BoxEmbedding)
    weight, bias = branch.colours.weight[:, :, 0, 0], branch.colours.bias
    with torch.inference_mode():
        reduced = torch.nn.functional.linear(colours.float(), weight, bias)
        variance = reduced[train].flatten(0, 1).var(0)
        unseen = branch.reader.embed(reduced[~train])
        raw = colours[~train].float().mean(1)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-3, atol=1e-3)
    assert _margin(unseen, ids[~train]) > 2 * max(_margin(raw, ids[~train]), 0.1)
    assert all(torch.equal(own.state_dict()[name], value) for name, value in others.items())


@torch.inference_mode()
def test_every_cell_has_the_embedding_of_its_box(network: JdeNetwork) -> None:
    heads = network(torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    branch = network.embedding
    assert isinstance(branch, BoxEmbedding)
    found = embed_cells(branch.reader, heads)
    assert [tuple(one.embedding.shape) for one in found] == [
        (2, 16, 2, 3),
        (2, 16, 4, 6),
        (2, 16, 8, 12),
    ]
    assert all(torch.equal(a.detection, b.detection) for a, b in zip(found, heads, strict=True))
    whole = torch.cat([one.embedding.flatten(2) for one in found], dim=2)
    maps = [one.embedding[1:] for one in heads]
    alone = embed_cells(
        branch.reader,
        [
            h._replace(detection=h.detection[1:], embedding=m)
            for h, m in zip(heads, maps, strict=True)
        ],
    )
    torch.testing.assert_close(
        torch.cat([one.embedding.flatten(2) for one in alone], dim=2), whole[1:]
    )


def test_what_cannot_be_fitted(network: JdeNetwork) -> None:
    with pytest.raises(DataError, match="nobody in these images"):
        gather(network, [batch_of([-1, -1])], 0)
    with pytest.raises(DataError, match="nobody has two views"):
        fit(network, Views(torch.zeros(2, POINTS, 64).half(), torch.arange(2), 2))
    with pytest.raises(ConfigError, match="'nano' has another embedding branch"):
        gather(random_network(0, "nano", 16), [], 0)


def _margin(embeddings: torch.Tensor, ids: torch.Tensor) -> float:
    """Mean cosine of views of one person, less that of two."""
    unit = torch.nn.functional.normalize(embeddings - embeddings.mean(0), dim=1)
    cosines, same = unit @ unit.T, ids[:, None] == ids
    apart = ~torch.eye(len(ids), dtype=torch.bool)
    return float(cosines[same & apart].mean() - cosines[~same].mean())
