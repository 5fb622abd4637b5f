"""ResNet-50 and -101: torchvision's layout and weights, and what is made of a network with them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jdetrt.cli import main
from jdetrt.errors import CheckpointError
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.pretrained import start_from
from jdetrt.training.learner import NetworkWithLoss
from jdetrt.training.network.model import BODIES, JdeNetwork, random_network
from jdetrt.training.network.resnet import Bottleneck, ResNet50
from jdetrt.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}  # He et al. 2016, table 1
WITH_CLASSIFIER = {"resnet50": 25_557_032, "resnet101": 44_549_160}  # as torchvision states them
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DIM = 16
SLIM = (16, 12, 8)


@pytest.fixture
def slim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small pyramid on ResNet-50, where it is not what is tested."""
    monkeypatch.setattr(ResNet50, "widths", SLIM)


def torchvision_shapes(body: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's state dict, classifier included."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        shapes[f"{conv}.weight"] = (outputs, inputs, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = (outputs,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for row, blocks in enumerate(BLOCKS[body], 1):
        width = 32 * 2**row
        for block in range(blocks):
            prefix = f"layer{row}.{block}"
            add(f"{prefix}.conv1", f"{prefix}.bn1", width, inputs, 1)
            add(f"{prefix}.conv2", f"{prefix}.bn2", width, width, 3)
            add(f"{prefix}.conv3", f"{prefix}.bn3", 4 * width, width, 1)
            if block == 0:
                add(f"{prefix}.downsample.0", f"{prefix}.downsample.1", 4 * width, inputs, 1)
            inputs = 4 * width
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A ResNet-50 of torchvision, random to the last batch norm."""
    generator = torch.Generator().manual_seed(8)
    state = {}
    for name, shape in torchvision_shapes("resnet50").items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(9)
        elif len(shape) == 4:
            deviation = (2 / np.prod(shape[1:])) ** 0.5
            state[name] = torch.empty(shape).normal_(0, float(deviation), generator=generator)
        elif name.endswith("running_var"):
            state[name] = torch.empty(shape).uniform_(0.5, 2, generator=generator)
        elif name.endswith("weight") and len(shape) == 1:
            state[name] = torch.empty(shape).uniform_(0.2, 0.8, generator=generator)
        else:
            state[name] = torch.empty(shape).normal_(0, 0.1, generator=generator)
    return state


@pytest.fixture(scope="module")
def published_file(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchvision") / "resnet50.pth"
    torch.save(published, path)
    return path


def convolve(state: dict[str, Tensor], conv: str, norm: str, x: Tensor, stride: int) -> Tensor:
    weight = state[f"{conv}.weight"]
    x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
    mean, variance, scale, bias = (
        state[f"{norm}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + bias


def bottleneck(state: dict[str, Tensor], prefix: str, x: Tensor, stride: int) -> Tensor:
    """Written out; the stride is that of the 3x3 convolution."""
    y = convolve(state, f"{prefix}conv1", f"{prefix}bn1", x, 1).clamp(min=0)
    y = convolve(state, f"{prefix}conv2", f"{prefix}bn2", y, stride).clamp(min=0)
    y = convolve(state, f"{prefix}conv3", f"{prefix}bn3", y, 1)
    if f"{prefix}downsample.0.weight" in state:
        x = convolve(state, f"{prefix}downsample.0", f"{prefix}downsample.1", x, stride)
    return (x + y).clamp(min=0)


def written_out(state: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """Maps /8, /16 and /32 of torchvision's ResNet-50."""
    x = convolve(state, "conv1", "bn1", images, 2).clamp(min=0)
    x = functional.pad(x, (1, 1, 1, 1))  # nothing is below 0 here
    x = x.unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))
    maps = []
    for row, blocks in enumerate(BLOCKS["resnet50"], 1):
        for block in range(blocks):
            stride = 2 if row > 1 and block == 0 else 1
            x = bottleneck(state, f"layer{row}.{block}.", x, stride)
        maps.append(x)
    return maps[1:]


@pytest.mark.parametrize("body", BLOCKS)
def test_names_shapes_and_counts_are_torchvisions(body: str) -> None:
    with torch.device("meta"):
        network = JdeNetwork(body, DIM)
    expected = torchvision_shapes(body)
    numbers = {k: v for k, v in expected.items() if "running" not in k and "tracked" not in k}
    count = sum(int(np.prod(shape)) for shape in numbers.values())
    assert count == WITH_CLASSIFIER[body]
    assert sum(p.numel() for p in network.body.parameters()) == count - 2048 * 1000 - 1000
    classifier = {name: expected.pop(name) for name in ("fc.weight", "fc.bias")}
    assert len(classifier) == 2
    assert {k: tuple(v.shape) for k, v in network.body.state_dict().items()} == expected


@pytest.mark.parametrize(("inputs", "stride"), [(64, 1), (64, 2), (128, 1), (128, 2)])
def test_a_bottleneck_is_the_written_out_one(inputs: int, stride: int) -> None:
    torch.manual_seed(1)
    block = Bottleneck(inputs, 32, stride)
    assert (block.downsample is None) == (inputs == 128 and stride == 1)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.normal_(module.bias, std=0.1)
    x = torch.randn(2, inputs, 6, 8)
    kept = x.clone()
    with torch.inference_mode():
        found = block.eval()(x)
    expected = bottleneck(block.state_dict(), "", x, stride)
    assert found.shape == (2, 128, 6 // stride, 8 // stride)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, kept)


def test_the_body_is_the_written_out_one(published: dict[str, Tensor]) -> None:
    body = BODIES["resnet50"]().eval()
    body.load_state_dict({k: v for k, v in published.items() if not k.startswith("fc.")})
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        for found, expected in zip(body(images), written_out(published, images), strict=True):
            scale = float(expected.std())
            torch.testing.assert_close(found / scale, expected / scale, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("body", BLOCKS)
def test_maps_of_a_random_network_have_their_shapes_and_a_steady_size(body: str) -> None:
    network = random_network(5, body, DIM)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for training in (True, False):  # with the statistics of the batch, and of the start
            features = network.train(training).body(images)
            assert all(0.3 < float(x.std()) < 1.5 for x in features)
        maps = network(images)
    assert [f.shape for f in features] == [(1, 512, 8, 12), (1, 1024, 4, 6), (1, 2048, 2, 3)]
    assert network.body.channels == (512, 1024, 2048)
    assert [(m.detection.shape, m.embedding.shape) for m in maps] == [
        ((1, 24, 2, 3), (1, DIM, 2, 3)),
        ((1, 24, 4, 6), (1, DIM, 4, 6)),
        ((1, 24, 8, 12), (1, DIM, 8, 12)),
    ]
    for level in maps:
        assert 0.1 < float(level.embedding.std()) < 10
        assert 0.01 < float(level.detection.std()) < 1


def test_a_gradient_reaches_every_parameter() -> None:
    network = random_network(0, "resnet50", DIM).train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sum(
        m.detection.square().mean() + m.embedding.square().mean() for m in network(images)
    ).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.usefixtures("slim")
def test_frozen_norms_of_the_body_stay() -> None:
    network = random_network(0, "resnet50", DIM)
    model = NetworkWithLoss(network, Recipe(frozen_norms="body"), identities=3).train()
    norms = [m for m in network.body.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1 + 3 * 16 + 4
    assert model.training
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    before = {k: v.clone() for k, v in network.body.state_dict().items() if "running" in k}
    network.body(torch.rand(1, 3, 32, 32))
    after = network.body.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.usefixtures("slim")
def test_torchvisions_normalisation_is_absorbed(
    published: dict[str, Tensor], published_file: Path
) -> None:
    network = random_network(0, "resnet50", DIM)
    levels = {k: v.clone() for k, v in network.levels.state_dict().items()}
    start_from(network, str(published_file))
    assert all(torch.equal(v, levels[k]) for k, v in network.levels.state_dict().items())
    own = network.body.state_dict()
    changed = {name for name, value in own.items() if not torch.equal(value, published[name])}
    assert changed == {"conv1.weight", "bn1.running_mean"}

    body = network.body
    assert isinstance(body, ResNet50)
    images = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(3))
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    normalised = (images - mean) / deviation
    with torch.inference_mode():
        # The stem but for its border, where the convolution has seen the padding.
        found = body.bn1(body.conv1(images))
        expected = convolve(published, "conv1", "bn1", normalised, 2)
        inside = (..., slice(2, -2), slice(2, -2))
        torch.testing.assert_close(found[inside], expected[inside], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found, expected, rtol=1e-2, atol=1e-2)
        # In the map /8 a cell sees 91 pixels: those in the middle see nothing of the border.
        eighth = body(images)[0][..., 6:10, 6:14]
        torch.testing.assert_close(
            eighth, written_out(published, normalised)[0][..., 6:10, 6:14], rtol=1e-3, atol=1e-3
        )
        # Black where torchvision pads with the mean colour is all the difference.
        padded = functional.pad(images - mean, (3, 3, 3, 3)) + mean
        kernel, norm = body.conv1.weight, body.bn1
        found = norm(functional.conv2d(padded, kernel, None, 2))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("slim")
def test_old_files_have_no_batch_counters(published: dict[str, Tensor], tmp_path: Path) -> None:
    old = {k: v for k, v in published.items() if not k.endswith("tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    network = random_network(0, "resnet50", DIM)
    start_from(network, str(tmp_path / "old.pth"))
    assert torch.equal(
        network.get_parameter("body.layer4.2.conv3.weight"), published["layer4.2.conv3.weight"]
    )
    assert int(network.get_buffer("body.bn1.num_batches_tracked")) == 0


def empty_file(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    """All names and shapes, one element each: a small file."""
    torch.save(
        {
            name: torch.zeros((), dtype=torch.float32 if shape else torch.int64).expand(shape)
            for name, shape in shapes.items()
        },
        path,
    )
    return str(path)


@pytest.mark.usefixtures("slim")
def test_files_that_do_not_fit(published_file: Path, tmp_path: Path) -> None:
    network = random_network(0, "resnet50", DIM)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shapes = torchvision_shapes("resnet50")
    del shapes["layer2.0.downsample.0.weight"]
    shapes["conv1.weight"] = (64, 1, 7, 7)
    shapes["layer9.weight"] = (1,)
    path = empty_file(tmp_path / "other.pth", shapes)
    with pytest.raises(CheckpointError) as caught:
        start_from(network, path)
    assert str(caught.value) == (
        f"{path}: its weights are not those of torchvision's resnet50: "
        "1 tensors missing: layer2.0.downsample.0.weight; "
        "1 tensors unexpected: layer9.weight; "
        "1 tensors of another shape: conv1.weight is 64x1x7x7, expected 64x3x7x7"
    )
    larger = empty_file(tmp_path / "resnet101.pth", torchvision_shapes("resnet101"))
    with pytest.raises(CheckpointError, match=r" 306 tensors unexpected: layer3\.6\.conv1"):
        start_from(network, larger)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"expected torchvision's state dict .* holds a list"):
        start_from(network, str(tmp_path / "list.pth"))
    cut = tmp_path / "cut.pth"
    cut.write_bytes(published_file.read_bytes()[:1_000_000])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        start_from(network, str(cut))
    with pytest.raises(CheckpointError, match="no such file"):
        start_from(network, str(tmp_path / "missing.pth"))
    with pytest.raises(CheckpointError, match=r"no ImageNet weights .* 'resnet50'; name a file"):
        start_from(network, "imagenet")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.fixture(scope="module")
def saved(published_file: Path) -> tuple[JdeNetwork, Path]:
    """A network under a small pyramid, and its checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResNet50, "widths", SLIM)
        network = random_network(4, "resnet50", DIM)
    start_from(network, str(published_file))
    path = published_file.with_suffix(".safetensors")
    checkpoint.save(path, network, size=(128, 64))
    return network, path


@pytest.mark.usefixtures("slim")
def test_checkpoint_round_trip(saved: tuple[JdeNetwork, Path]) -> None:
    network, path = saved
    other = random_network(7, "resnet50", DIM)
    start_from(other, str(path))
    loaded, info = checkpoint.load(path)
    assert (info.config.body, info.config.size) == ("resnet50", (128, 64))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
        assert torch.equal(tensor, other.state_dict()[name])
    with pytest.raises(CheckpointError, match="has the body 'resnet50', expected 'nano'"):
        start_from(random_network(0, "nano", DIM), str(path))


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.usefixtures("slim")
def test_export_and_inspect(
    saved: tuple[JdeNetwork, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, source = saved
    output = tmp_path / "resnet50.onnx"
    # It compares ONNX Runtime with torch, and writes nothing where they differ.
    assert run("export", source, "-o", output, "--top-k", "32", "--half-weights") == 0
    assert "resnet50" in capsys.readouterr().out
    model = onnx.load(output)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    # The names of the network, which quantisation reports go by; 53 convolutions in the body.
    stored = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    convolutions = {
        f"network.{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    assert stored == convolutions
    assert sum(name.startswith("network.body.") for name in stored) == 53
    assert kinds.count("Conv") == len(convolutions)

    assert run("inspect", source) == 0
    assert "resnet50, 16-dimensional" in capsys.readouterr().out
    assert run("inspect", output) == 0
    assert "ONNX model" in capsys.readouterr().out
