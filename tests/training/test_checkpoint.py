"""Weight files: ours, the reference's and Darknet's, and everything that is none of them."""

import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from jdetrt.config import IouConfig
from jdetrt.errors import CheckpointError, OutputError
from jdetrt.file_kind import CHECKPOINT_FORMAT, DARKNET_SIZES
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.darknet_weights import file_sizes
from jdetrt.training.checkpoints.reference import write_reference
from jdetrt.training.network.model import JdeNetwork, random_network

pytestmark = pytest.mark.usefixtures("one_thread")

# The reference's layers, from its cfg: (filters, kernel, stride) of a convolution (None: 24 or
# 512 filters without batch norm), "shortcut", "up", or the layers that a route joins.
_BLOCKS = [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)]
LINEAR = {81: 24, 83: 512, 96: 24, 98: 512, 111: 24, 113: 512}


def reference_cfg() -> list[Any]:
    layers: list[Any] = [(32, 3, 1)]
    for filters, repeats in _BLOCKS:
        layers.append((filters, 3, 2))
        layers += [(filters // 2, 1, 1), (filters, 3, 1), "shortcut"] * repeats
    for number, width in enumerate((512, 256, 128)):
        if number:
            layers += [
                [len(layers) - 7],
                (width, 1, 1),
                "up",
                [len(layers) + 2, (61, 36)[number - 1]],
            ]
        layers += [(width, 1, 1), (2 * width, 3, 1)] * 3
        bottleneck = len(layers) - 2
        layers += [(24, 1, 1), [bottleneck], (512, 3, 1)]
        layers += [[len(layers) - 3, len(layers) - 1], "yolo"]
    return layers


def reference_forward(model: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """Run the network layer by layer from a reference state dict, as its cfg file says."""
    outputs: list[Tensor] = []
    found = []
    x = images
    for i, layer in enumerate(reference_cfg()):
        if layer == "shortcut":
            x = outputs[i - 3] + outputs[i - 1]
        elif layer == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        elif layer == "yolo":
            found.append(x)
        elif isinstance(layer, list):
            x = torch.cat([outputs[j] for j in layer], 1)
        else:
            _, kernel, stride = layer
            weight = model[f"module_list.{i}.conv_{i}.weight"]
            bias = model.get(f"module_list.{i}.conv_{i}.bias")
            x = nn.functional.conv2d(x, weight, bias, stride, (kernel - 1) // 2)
            if i not in LINEAR:
                norm = {
                    part: model[f"module_list.{i}.batch_norm_{i}.{part}"][:, None, None]
                    for part in ("weight", "bias", "running_mean", "running_var")
                }
                x = (x - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5)
                x = x * norm["weight"] + norm["bias"]
                x = torch.where(x > 0, x, 0.1 * x)
        outputs.append(x)
    assert len(outputs) == 116
    return found


@pytest.fixture(scope="module")
def network() -> JdeNetwork:
    """Random, its batch norms too, so that a mix-up of any two tensors shows."""
    network = random_network(11)
    generator = torch.Generator().manual_seed(12)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.num_batches_tracked.fill_(7)
    return network


@pytest.fixture(scope="module")
def reference_file(network: JdeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "latest.pt"
    write_reference(path, network, identities=520, epoch=3)
    return path


@pytest.fixture(scope="module")
def reference_model(reference_file: Path) -> dict[str, Tensor]:
    content: dict[str, Any] = torch.load(reference_file, weights_only=True)
    assert set(content) == {"epoch", "model", "optimizer"}
    model: dict[str, Tensor] = content["model"]
    return model


def equal(first: JdeNetwork, second: JdeNetwork, prefix: str = "") -> bool:
    other = second.state_dict()
    return all(
        torch.equal(tensor, other[name])
        for name, tensor in first.state_dict().items()
        if name.startswith(prefix)
    )


def test_reference_layout(reference_model: dict[str, Tensor]) -> None:
    expected = {"classifier.weight": (520, 512), "classifier.bias": (520,)}
    channels: list[int] = []
    inputs = 3
    for i, layer in enumerate(reference_cfg()):
        if layer == "yolo":
            expected |= {f"module_list.{i}.yolo_{i}.{s}": (1,) for s in ("s_c", "s_r", "s_id")}
        elif isinstance(layer, tuple):
            filters, kernel, _ = layer
            expected[f"module_list.{i}.conv_{i}.weight"] = (filters, inputs, kernel, kernel)
            if i in LINEAR:
                expected[f"module_list.{i}.conv_{i}.bias"] = (filters,)
            else:
                prefix = f"module_list.{i}.batch_norm_{i}"
                for part in ("weight", "bias", "running_mean", "running_var"):
                    expected[f"{prefix}.{part}"] = (filters,)
                expected[f"{prefix}.num_batches_tracked"] = ()
            inputs = filters
        elif isinstance(layer, list):
            inputs = sum(channels[j] for j in layer)
        channels.append(inputs)
    assert len(expected) == 455
    assert {name: tuple(tensor.shape) for name, tensor in reference_model.items()} == expected


def test_network_is_the_references(network: JdeNetwork, reference_model: dict[str, Tensor]) -> None:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = reference_forward(reference_model, images)
        for maps, both in zip(network(images), expected, strict=True):
            torch.testing.assert_close(maps.detection, both[:, :24], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(maps.embedding, both[:, 24:], rtol=1e-4, atol=1e-4)


def test_reference_round_trip(network: JdeNetwork, reference_file: Path) -> None:
    loaded, info = checkpoint.load(reference_file)
    assert (info.kind, info.keys, info.identities, info.epoch) == ("reference", 455, 520, 3)
    assert info.config.size is None
    assert not loaded.training
    assert equal(network, loaded)


def test_old_torch_format_and_bare_state_dict(
    network: JdeNetwork, reference_model: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "bare.anything"
    bare = {k: v for k, v in reference_model.items() if "num_batches" not in k}
    bare["classifier.weight"] = torch.zeros(14455, 512)  # another number of identities
    torch.save(bare, path, _use_new_zipfile_serialization=False)
    loaded, info = checkpoint.load(path)
    assert info.identities == 14455
    assert info.epoch is None
    assert torch.equal(
        loaded.get_parameter("levels.2.embedding.weight"),
        network.get_parameter("levels.2.embedding.weight"),
    )


def test_own_round_trip(network: JdeNetwork, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    tracker = IouConfig(score_threshold=0.3)
    checkpoint.save(path, network, size=(864, 480), tracker=tracker, identities=520, epoch=30)
    loaded, info = checkpoint.load(path)
    assert (info.kind, info.config.size, info.identities, info.epoch) == (
        "jdetrt",
        (864, 480),
        520,
        30,
    )
    assert info.config.tracker == tracker
    assert equal(network, loaded)
    with path.open("r+b") as file:
        file.truncate(100_000_000)
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        checkpoint.load(path)


def test_half_round_trip(tmp_path: Path) -> None:
    network = random_network(5, "nano", 16)
    random = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=random)
            assert name.endswith(("weight", "bias", "running_mean", "running_var"))
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    checkpoint.save(full, network, size=(128, 96))
    checkpoint.save(half, network, size=(128, 96), half=True)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    stored = safetensors.torch.load_file(half)
    loaded, info = checkpoint.load(half)
    assert info == checkpoint.load(full)[1]
    for name, tensor in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        if tensor.ndim == 4:
            assert stored[name].dtype == torch.float16
            want = tensor.numpy().astype(np.float16).astype(np.float32)
            np.testing.assert_array_equal(found.numpy(), want)
        else:
            assert torch.equal(found, tensor)
    assert network.get_parameter("embedding.output.weight").dtype == torch.float32


def test_a_weight_beyond_half_precision_is_not_saved(tmp_path: Path) -> None:
    network = random_network(5, "nano", 16)
    weights = next(iter(network.parameters()))
    weights.data.view(-1)[0] = -7e4
    with pytest.raises(CheckpointError, match="has a weight of 70000, more than float16"):
        checkpoint.save(tmp_path / "half.safetensors", network, half=True)
    assert not any(tmp_path.iterdir())


def test_saving_to_a_folder_fails_plainly(network: JdeNetwork, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        write_reference(tmp_path, network, identities=1)


def darknet_bytes(model: dict[str, Tensor], layers: int) -> bytes:
    """A Darknet file of the first layers, written the way its own code reads it."""
    pieces = [struct.pack("<5i", 0, 2, 0, 32013312, 0)]
    for i, layer in enumerate(reference_cfg()[:layers]):
        if not isinstance(layer, tuple):
            continue
        if i in LINEAR:
            parts = [f"conv_{i}.bias"]
        else:
            norm = ("bias", "weight", "running_mean", "running_var")
            parts = [f"batch_norm_{i}.{part}" for part in norm]
        tensors = [model[f"module_list.{i}.{part}"] for part in (*parts, f"conv_{i}.weight")]
        pieces += [tensor.numpy().astype("<f4").tobytes() for tensor in tensors]
    return b"".join(pieces)


def test_darknet_files(
    network: JdeNetwork, reference_model: dict[str, Tensor], tmp_path: Path
) -> None:
    body = tmp_path / "darknet53.conv.74"
    body.write_bytes(darknet_bytes(reference_model, 75))
    assert file_sizes() == DARKNET_SIZES
    assert body.stat().st_size == file_sizes()[0] == 162_482_580  # as published
    loaded, info = checkpoint.load(body)
    assert (info.kind, info.complete) == ("darknet-body", False)
    assert equal(network, _counters_set(loaded), "body.")
    assert not equal(network, loaded, "levels.")

    whole = tmp_path / "jde.weights"
    whole.write_bytes(darknet_bytes(reference_model, 116))
    loaded, info = checkpoint.load(whole)
    assert (info.kind, info.complete) == ("darknet", True)
    assert equal(network, _counters_set(loaded))

    with whole.open("r+b") as file:
        file.truncate(200_000_000)
    with pytest.raises(CheckpointError, match=r"has 200000000 bytes, .* 162482580 .* 262869684"):
        checkpoint.load(whole)


def _counters_set(network: JdeNetwork) -> JdeNetwork:
    """Darknet keeps no batch counters."""
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(7)
    return network


class Code:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["zip", "old", "pickle2", "pickle5"])
def test_pickles_that_want_to_run_code(how: str, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "latest.pt"
    content = {"epoch": 1, "model": Code(trap), "optimizer": []}
    if how.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(how[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(CheckpointError, match=r"none of its code was run"):
        checkpoint.load(path)
    assert not trap.exists()


def test_the_code_is_named(tmp_path: Path) -> None:
    torch.save({"model": Code(tmp_path / "trap")}, tmp_path / "latest.pt")
    with pytest.raises(CheckpointError, match=r"wants to run or build '\w+\.mkdir'"):
        checkpoint.load(tmp_path / "latest.pt")


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 4, 3), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.conv\.Conv2d"):
        checkpoint.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><head>", r"text file \('<!DOCTYPE html"),
        (b"\xff\xd8\xff\xe0 an image", "is an image"),
        (b"\x08\x08\x12\x07pytorch\x1a\x05", "is an ONNX model"),
        (bytes(5000), "cut short or belongs to another network"),
        (b"PK\x03\x04" + bytes(100), "cut short or damaged"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "cut short or damaged"),
        (struct.pack("<Q", 1 << 31) + b'{"a":', "cut short or damaged"),
        (struct.pack("<Q", 2) + b"{}", "not a checkpoint of jdetrt"),
    ],
)
def test_files_of_other_kinds(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "latest.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)


def test_no_file_and_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        checkpoint.load(tmp_path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoint.load(os.devnull)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.weights"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="has 1099511627776 bytes"):
        checkpoint.load(path)


@pytest.mark.parametrize("half", [0.3, 0.9])
def test_truncated_reference_file(half: float, reference_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "latest.pt"
    with reference_file.open("rb") as file:
        path.write_bytes(file.read(int(reference_file.stat().st_size * half)))
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        checkpoint.load(path)


def test_other_tensors_are_named(reference_model: dict[str, Tensor], tmp_path: Path) -> None:
    state = stretched(reference_model)
    state["module_list.0.conv_0.weight"] = torch.zeros(1).expand(64, 3, 3, 3)
    state["module_list.5.conv_5.weight"] = torch.full((1,), torch.nan).expand(128, 64, 3, 3)
    state["module_list.6.conv_6.weight"] = "a word"
    del state["module_list.113.conv_113.bias"]
    state["module_list.116.conv_116.weight"] = torch.zeros(1)
    torch.save({"epoch": 0, "model": state, "optimizer": []}, tmp_path / "latest.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "latest.pt")
    message = str(caught.value)
    assert "1 tensors missing: module_list.113.conv_113.bias" in message
    assert "1 tensors unexpected: module_list.116.conv_116.weight" in message
    assert "module_list.0.conv_0.weight is 64x3x3x3, expected 32x3x3x3" in message
    assert "module_list.6.conv_6.weight is str, not a tensor" in message
    assert (
        "1 tensors with NaN or infinite values (as float32): module_list.5.conv_5.weight" in message
    )


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {1: 2}, {"model": 3}])
def test_other_torch_files(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "latest.pt")
    with pytest.raises(CheckpointError, match="expected a dict with the weights under 'model'"):
        checkpoint.load(tmp_path / "latest.pt")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"body": "vgg"}', "unknown body 'vgg'"),
        ('{"body": 3}', "'config' in its metadata"),
        ('{"wings": 2}', "'config' in its metadata"),
        ("not JSON", "'config' in its metadata"),
        ("{}", "372 tensors missing"),
    ],
)
def test_own_files_with_other_contents(config: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    metadata = {"format": CHECKPOINT_FORMAT, "config": config}
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


@pytest.mark.parametrize("first", [0x08, 0x80, 0x50])
def test_a_header_length_that_looks_like_another_kind(first: int, tmp_path: Path) -> None:
    # 0x80 starts a pickle, 0x08 an ONNX model, 0x50 ("P") a zip archive.
    path = tmp_path / "own.safetensors"
    header = b'{"__metadata__":{"format":"' + b"x" * 600 + b'"}}'
    header += b" " * ((first - len(header)) % 256)
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert path.read_bytes()[0] == first
    with pytest.raises(CheckpointError, match="is a safetensors file, but not"):
        checkpoint.load(path)


def test_half_precision_weights_become_float32(
    network: JdeNetwork, reference_model: dict[str, Tensor], tmp_path: Path
) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in reference_model.items()}
    torch.save(halves, tmp_path / "half.pt")
    loaded, _ = checkpoint.load(tmp_path / "half.pt")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    weight = loaded.get_parameter("levels.1.embedding.weight")
    assert np.allclose(
        weight.detach(), network.get_parameter("levels.1.embedding.weight").detach(), atol=1e-3
    )


def stretched(reference_model: dict[str, Tensor]) -> dict[str, Any]:
    """All names and shapes, one element each: a small file."""
    return {
        name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for name, tensor in reference_model.items()
    }


FIRST = "module_list.0.conv_0.weight"
VARIANCE = "module_list.0.batch_norm_0.running_var"
COUNTER = "module_list.0.batch_norm_0.num_batches_tracked"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (FIRST, torch.zeros(32, 3, 3, 3, dtype=torch.int32), f"{FIRST} is int32"),
        (FIRST, torch.zeros(32, 3, 3, 3, dtype=torch.complex64), f"{FIRST} is complex64"),
        (FIRST, torch.zeros(32, 3, 3, 3, dtype=torch.bool), f"{FIRST} is bool"),
        (FIRST, torch.zeros(32, 3, 3, 3).to_sparse(), f"{FIRST} is sparse"),
        (FIRST, torch.zeros(32, 3, 3, 3, device="meta"), f"{FIRST} is sparse, quantised or with"),
        (
            FIRST,
            torch.full((32, 3, 3, 3), 1e300, dtype=torch.float64),
            rf"infinite values \(as float32\): {FIRST}",
        ),
        (VARIANCE, torch.full((32,), -1e-3), f"1 tensors with negative variances: {VARIANCE}"),
        (COUNTER, torch.tensor(1.0), f"{COUNTER} is float32"),
    ],
)
def test_numbers_of_other_kinds(
    name: str, value: Tensor, message: str, reference_model: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(stretched(reference_model) | {name: value}, tmp_path / "latest.pt")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "latest.pt")


def test_quantised_tensors_are_refused(reference_model: dict[str, Tensor], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer torch wants it to be made in another way
        value = torch.quantize_per_tensor(torch.zeros(32, 3, 3, 3), 0.1, 0, torch.qint8)
        torch.save(stretched(reference_model) | {FIRST: value}, tmp_path / "latest.pt")
    with pytest.raises(CheckpointError, match=f"{FIRST} is sparse, quantised"):
        checkpoint.load(tmp_path / "latest.pt")


def test_files_of_data_parallel(
    network: JdeNetwork, reference_model: dict[str, Tensor], tmp_path: Path
) -> None:
    state = {f"module.{name}": tensor for name, tensor in reference_model.items()}
    torch.save({"epoch": 2, "model": state}, tmp_path / "latest.pt")
    loaded, info = checkpoint.load(tmp_path / "latest.pt")
    assert equal(network, loaded)
    assert (info.keys, info.identities, info.epoch) == (455, 520, 2)


@pytest.mark.parametrize("member", ["data/0", "data.pkl"])
def test_compressed_archives_are_not_unpacked(
    member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"model": {FIRST: torch.zeros(4)}}, tmp_path / "plain.pt")
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(bomb, "w") as archive:
        for name in plain.namelist():
            large = name.endswith(member)
            content = bytes(1 << 24) if large else plain.read(name)
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if large else zipfile.ZIP_STORED)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch got to see it"))
    with pytest.raises(CheckpointError, match=r"zip archive that torch\.save did not write"):
        checkpoint.load(bomb)


def test_values_that_are_no_tensors_can_be_mended(tmp_path: Path) -> None:
    torch.save({"model": {}, "loss": np.float64(0.5)}, tmp_path / "latest.pt")
    with pytest.raises(CheckpointError, match=r"torch\.save\(checkpoint\['model'\], file\)"):
        checkpoint.load(tmp_path / "latest.pt")


def test_torchscript_is_called_so(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        trace: Any = torch.jit.trace
        torch.jit.save(trace(nn.ReLU(), torch.zeros(1)), tmp_path / "latest.pt")
    with pytest.raises(CheckpointError, match="is a TorchScript program"):
        checkpoint.load(tmp_path / "latest.pt")


@pytest.mark.parametrize("size", [(100, 64), (32, 8224)])
def test_a_recorded_size_that_cannot_be(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    config = f'{{"size": [{size[0]}, {size[1]}]}}'
    metadata = {"format": CHECKPOINT_FORMAT, "config": config}
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match=f"{path}: network size {size[0]}x{size[1]}"):
        checkpoint.load(path)


def test_darknet_files_name_their_own_layers(
    reference_model: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "darknet53.conv.74"
    content = np.frombuffer(darknet_bytes(reference_model, 75), "<f4").copy()
    content[-1] = np.nan  # the last convolution of the body
    content[5 + 3 * 32] = -1  # after the header: biases, scales and means of layer 0
    path.write_bytes(content.tobytes())
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert "NaN or infinite values (as float32): layer 73, weights" in str(caught.value)
    assert "negative variances: layer 0, rolling variance" in str(caught.value)
