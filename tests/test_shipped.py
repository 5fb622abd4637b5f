"""The names of shipped models: which files they are, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jdetrt import shipped
from jdetrt.api import load
from jdetrt.config import FusedConfig
from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError
from jdetrt.export.sizes import load_sized
from jdetrt.export.torch_session import TorchSession
from jdetrt.inputs import sha256
from jdetrt.runtime.settings import tracker_config
from jdetrt.shipped import resolve, resolve_checkpoint
from jdetrt.training.recipe import open_recipe
from jdetrt.types import Size


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models of two sizes and a checkpoint, all empty; and files that have like names."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    (tmp_path / "models").mkdir()
    for name in ("nano-576x320.onnx", "nano-864x480.onnx", "nano.safetensors", "README.md"):
        (tmp_path / "models" / name).touch()
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano:1x1").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nano", "nano-576x320.onnx"),
        ("nano:576x320", "nano-576x320.onnx"),
        ("nano:864x480", "nano-864x480.onnx"),
        ("nano:864X480", "nano-864x480.onnx"),
    ],
)
def test_names(folder: Path, name: str, file: str) -> None:
    assert resolve(name) == folder / file
    if name != "nano":
        assert resolve_checkpoint(name) == folder / file


def test_the_checkpoint(folder: Path) -> None:
    assert resolve_checkpoint("nano") == folder / "nano.safetensors"


@pytest.mark.parametrize(
    "path", ["./nano", "nano.onnx", "nanometre", "models/nano", "", "NANO", "./nano:1x1", "x:nano"]
)
def test_everything_else_is_a_path(folder: Path, path: str) -> None:
    for find in (resolve, resolve_checkpoint):
        assert find(path) == Path(path)
        assert find(Path("nano")) == Path("nano")


@pytest.mark.parametrize("name", ["nano:640x352", "nano:1x1", "nano:large", "nano:../nano-576x320"])
def test_a_size_that_does_not_ship(folder: Path, name: str) -> None:
    for find in (resolve, resolve_checkpoint):
        with pytest.raises(ConfigError) as caught:
            find(name)
        message = str(caught.value)
        assert message.startswith(f"{name}: is not built in at the size {name[5:]}; ")
        assert "576x320, 864x480." in message
        assert "jdetrt export nano -o nano.onnx --size WIDTHxHEIGHT" in message


def test_an_installation_without_models(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, find in (
        ("nano", resolve),
        ("nano:576x320", resolve),
        ("nano", resolve_checkpoint),
        ("nano:576x320", resolve_checkpoint),
    ):
        with pytest.raises(ConfigError, match=rf"^{name}: does not come with .*name a file"):
            find(name)


def test_the_models_of_this_checkout_have_sizes_for_names() -> None:
    assert (shipped.FOLDER / "README.md").is_file()
    for size, path in shipped.sizes().items():
        width, height = map(int, size.split("x"))
        assert width % 32 == height % 32 == 0
        assert resolve(f"nano:{size}") == path


def test_the_settings_of_the_tracker_are_in_all_files_alike() -> None:
    """In the models' metadata and the checkpoint's, where sessions of either find them."""
    found = []
    for path in shipped.sizes().values():
        with open_session(path) as session:
            found.append(tracker_config(session))
    with load(resolve_checkpoint("nano"), size=(64, 32)) as detector:
        found.append(detector.tracker_config)
    assert len(found) == 4
    assert all(config == found[0] for config in found)
    assert isinstance(found[0], FusedConfig)
    assert found[0] == open_recipe("nanodet-embedding").network.tracker


def test_the_models_name_the_checkpoint_beside_them() -> None:
    digest = sha256(resolve_checkpoint("nano"))
    for path in shipped.sizes().values():
        with open_session(path) as session:
            assert session.metadata["checkpoint_sha256"] == digest


def test_one_size_has_the_weights_of_the_checkpoint() -> None:
    checkpoint = resolve_checkpoint("nano")
    for size, path in shipped.sizes().items():
        assert OnnxFile(path).files == ((path, checkpoint) if size == "640x480" else (path,))
    files = [checkpoint, *shipped.sizes().values()]
    assert sum(path.stat().st_size for path in files) < 24e6


@pytest.mark.parametrize("size", [(576, 320), (640, 480)])
def test_a_model_is_what_the_checkpoint_exports_to(size: tuple[int, int]) -> None:
    """Weights that are shared, and scores calibrated for the size."""
    image = np.random.default_rng(0).random((1, 3, size[1], size[0]), np.float32)
    network, info, _ = load_sized(resolve_checkpoint("nano"), Size(*size))
    assert info.config.scores
    with open_session(resolve(f"nano:{size[0]}x{size[1]}")) as model:
        count = model.outputs[0].shape[1]
        with TorchSession(network, size, top_k=count) as checkpoint:
            outputs, expected = (one.infer({"images": image}) for one in (model, checkpoint))
    np.testing.assert_allclose(outputs["scores"], expected["scores"], atol=2e-3)
    best = outputs["scores"][0] > 0.2 * outputs["scores"].max()
    np.testing.assert_allclose(outputs["boxes"][0, best], expected["boxes"][0, best], atol=0.5)
