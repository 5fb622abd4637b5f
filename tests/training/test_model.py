import pytest
import torch

from jdetrt.errors import ConfigError
from jdetrt.training.network.model import JdeNetwork, random_network


def test_parameter_count_is_the_references() -> None:
    with torch.device("meta"):
        network = JdeNetwork()
    count = sum(parameter.numel() for parameter in network.parameters())
    # 65.66 M without classifier; with Darknet-53's 52 body convolutions 40 584 928 of them.
    assert count == 65_664_808
    assert sum(p.numel() for p in network.body.parameters()) == 40_584_928


def test_unknown_body() -> None:
    with pytest.raises(ConfigError, match=r"unknown body 'vgg'; there are: .*darknet53"):
        JdeNetwork("vgg")


def test_random_weights_depend_on_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = random_network(1), random_network(1), random_network(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(
        first.get_parameter("levels.0.embedding.weight"),
        other.get_parameter("levels.0.embedding.weight"),
    )


def test_random_activations_neither_vanish_nor_explode() -> None:
    torch.manual_seed(0)
    network = random_network(5)
    with torch.inference_mode():
        images = torch.rand(1, 3, 96, 160)
        assert all(0.1 < float(x.std()) < 10 for x in network.body(images))
        for maps in network(images):
            assert 0.1 < float(maps.embedding.std()) < 10
            assert 0.01 < float(maps.detection.std()) < 1


def test_shapes() -> None:
    with torch.device("meta"):
        network = JdeNetwork("darknet53", embedding_dim=128)
        maps = network(torch.empty(2, 3, 64, 96))
    assert [(m.detection.shape, m.embedding.shape) for m in maps] == [
        ((2, 24, 2, 3), (2, 128, 2, 3)),
        ((2, 24, 4, 6), (2, 128, 4, 6)),
        ((2, 24, 8, 12), (2, 128, 8, 12)),
    ]
