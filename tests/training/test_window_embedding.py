"""Embeddings trained on windows: what the windows are, and that people become alike."""

import math

import pytest
import torch

from jdetrt.errors import ConfigError, DataError
from jdetrt.training.data.sample import Batch
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.training.network.nanodet import DenseEmbedding
from jdetrt.training.window_embedding import Windows, contrast, embed_windows, gather, join, learn


@pytest.fixture(scope="module")
def network() -> JdeNetwork:
    return random_network(0, "nanodet-g", 16)


def batch_of(ids: list[int]) -> Batch:
    count = len(ids)
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.rand(1, 3, 256, 384, generator=generator),
        boxes=torch.tensor([[96.0 + 60 * n, 128.0, 30.0, 70.0] for n in range(count)]),
        ids=torch.tensor(ids),
        image_index=torch.zeros(count, dtype=torch.int64),
        ignore=torch.zeros(0, 4),
        ignore_image_index=torch.zeros(0, dtype=torch.int64),
    )


@torch.inference_mode()
def test_windows_embed_as_the_whole_picture_does(network: JdeNetwork) -> None:
    batch = batch_of([3, -1, 5])
    windows = gather(network, [batch], 6)
    assert isinstance(network.embedding, DenseEmbedding)
    found = embed_windows(network.embedding, windows.maps.float())
    whole = torch.cat([level.embedding[0].flatten(1).T for level in network(batch.images)])
    assert sorted(set(windows.ids.tolist())) == [3, 5]
    assert len(found) <= 4
    apart = torch.cdist(found, whole).amin(1) / found.norm(dim=1)
    assert float(apart.max()) < 0.01  # the windows are kept as float16
    others = torch.cdist(found, whole).median(1).values / found.norm(dim=1)
    assert float(others.min()) > 0.03


def test_joined_ids_are_the_same_for_one_data_set_alone() -> None:
    maps = torch.zeros(2, 192, 5, 5).half()
    one = Windows(maps, torch.tensor([0, 2]), 3)
    other = Windows(maps, torch.tensor([1, 4]), 5)
    joined = join([one, other, one], [7, 8, 7])
    assert joined.ids.tolist() == [0, 2, 4, 7, 0, 2]
    assert joined.identities == 8
    assert len(joined.maps) == 6


def test_contrast_by_hand() -> None:
    embeddings = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    found = contrast(embeddings, torch.tensor([4, 9, 4]))
    # The first and the third are alike (cosine 1), and both at a cosine of 0 to the second.
    one = -math.log(math.exp(10) / (math.exp(10) + math.exp(0)))
    assert float(found) == pytest.approx(one, abs=1e-6)
    worse = contrast(embeddings, torch.tensor([4, 4, 9]))
    first = -math.log(math.exp(0) / (math.exp(0) + math.exp(10)))
    second = -math.log(0.5)
    assert float(worse) == pytest.approx((first + second) / 2, rel=1e-4)


def test_people_become_alike(network: JdeNetwork) -> None:
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(24, 192, 1, 1, generator=generator).repeat_interleave(6, 0)
    places = 2 * torch.randn(144, 192, 1, 1, generator=generator)
    places[:, :96] = 0  # half of the channels tell of the place alone
    people[:, 96:] = 0
    noise = 0.3 * torch.randn(144, 192, 5, 5, generator=generator)
    ids = torch.arange(24).repeat_interleave(6)
    maps = (people + places + noise).half()
    train = ids < 18
    own = random_network(0, "nanodet-g", 16)
    others = {n: v.clone() for n, v in own.state_dict().items() if not n.startswith("embedding.")}
    seen: list[tuple[int, float]] = []
    learn(own, Windows(maps[train], ids[train], 18), 200, report=lambda *at: seen.append(at))
    assert [step for step, _ in seen] == [100, 200]
    assert seen[-1][1] < seen[0][1]
    assert isinstance(own.embedding, DenseEmbedding)
    with torch.inference_mode():
        unseen = embed_windows(own.embedding, maps[~train].float())
        raw = maps[~train].float().mean((2, 3))
    assert _margin(unseen, ids[~train]) > 2 * max(_margin(raw, ids[~train]), 0.1)
    assert all(torch.equal(own.state_dict()[name], value) for name, value in others.items())


def test_what_cannot_be_learnt(network: JdeNetwork) -> None:
    with pytest.raises(DataError, match="nobody in these images"):
        gather(network, [batch_of([-1, -1])], 0)
    with pytest.raises(DataError, match="nobody has two windows"):
        learn(network, Windows(torch.zeros(2, 192, 5, 5).half(), torch.arange(2), 2), 1)
    with pytest.raises(ConfigError, match="'nano' has another embedding branch"):
        gather(random_network(0, "nano", 16), [], 0)


def _margin(embeddings: torch.Tensor, ids: torch.Tensor) -> float:
    """Mean cosine of windows of one person, less that of two."""
    unit = torch.nn.functional.normalize(embeddings - embeddings.mean(0), dim=1)
    cosines, same = unit @ unit.T, ids[:, None] == ids
    apart = ~torch.eye(len(ids), dtype=torch.bool)
    return float(cosines[same & apart].mean() - cosines[~same].mean())
