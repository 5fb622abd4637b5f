"""Hand-over to DeepStream: the parser compiled against stand-in headers, the files read back."""

import ast
import configparser
import ctypes
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from jdetrt.config import AnyTrackerConfig
from jdetrt.deploy.deepstream import write_deepstream_folder
from jdetrt.errors import ConfigError, SessionError
from jdetrt.runtime.decode import candidates
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.shipped import resolve
from jdetrt.types import Array

STUB = Path(__file__).parent / "deepstream_stub"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deepstream")
    write_deepstream_folder(resolve("nano"), folder)
    return folder


@pytest.fixture(scope="module")
def parser(folder: Path) -> ctypes.CDLL:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = folder / "parser.so"
    source = [str(folder / "nvdsinfer_jde.cpp"), str(STUB / "call.cpp")]
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{STUB}"]
    subprocess.run([compiler, *flags, *source, "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def parse(
    parser: ctypes.CDLL, boxes: Array, scores: Array, threshold: float, elements: int | None = None
) -> Array | None:
    rows = np.zeros((len(scores), 5), np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    count = parser.parse(
        boxes.ctypes.data_as(pointer),
        scores.ctypes.data_as(pointer),
        len(scores),
        *(576, 320),
        ctypes.c_float(threshold),
        rows.ctypes.data_as(pointer),
        boxes.size if elements is None else elements,
    )
    return None if count < 0 else rows[:count]


def test_parser_gives_the_candidates_of_our_decoding(parser: ctypes.CDLL) -> None:
    rng = np.random.default_rng(4)
    corner = rng.uniform(-60, 560, (500, 2))
    boxes = np.hstack([corner, corner + rng.uniform(1, 200, (500, 2))]).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, 500)).astype(np.float32)[::-1].copy()
    got = parse(parser, boxes, scores, 0.3)
    fit = Letterbox.fit((576, 320), (576, 320))  # network pixels are source pixels
    outputs = {"boxes": boxes[None], "scores": scores[None]}
    ours = candidates(outputs, fit, score_threshold=0.3)
    clipped = np.clip(ours.boxes, 0, np.array([576, 320, 576, 320], np.float32))
    has_area = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    clipped = clipped[has_area]
    expected = np.hstack([clipped[:, :2], clipped[:, 2:] - clipped[:, :2]])
    assert got is not None
    assert len(got) > 100
    np.testing.assert_array_equal(got[:, :4], expected)
    np.testing.assert_array_equal(got[:, 4], ours.scores[has_area])


def test_threshold_is_exclusive_and_nan_is_no_detection(parser: ctypes.CDLL) -> None:
    boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (3, 1))
    got = parse(parser, boxes, np.array([0.5, 0.4, np.nan], np.float32), 0.4)
    assert got is not None
    assert got[:, 4].tolist() == [0.5]


def test_outputs_that_do_not_belong_together_are_refused(parser: ctypes.CDLL) -> None:
    boxes = np.zeros((3, 4), np.float32)
    assert parse(parser, boxes, np.ones(3, np.float32), 0.4, elements=8) is None


def test_settings(folder: Path) -> None:
    config = configparser.ConfigParser()
    config.read(folder / "config_infer_jde.txt")
    settings = config["property"]
    assert settings["infer-dims"] == "3;320;576"
    assert float(settings["net-scale-factor"]) == pytest.approx(1 / 255, rel=1e-12)
    assert settings["maintain-aspect-ratio"] == settings["symmetric-padding"] == "1"
    assert (folder / settings["onnx-file"]).read_bytes() == resolve("nano").read_bytes()
    tracker = msgspec.json.decode(
        (folder / "tracker.json").read_bytes(),
        type=AnyTrackerConfig,
    )
    assert float(config["class-attrs-all"]["pre-cluster-threshold"]) == tracker.score_threshold


def test_probe_is_python_of_names_that_exist(folder: Path) -> None:
    import importlib

    tree = ast.parse((folder / "probe.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jdetrt"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, name.name) for name in node.names)


def test_fixed_batch_is_not_for_several_streams(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--dynamic-batch"):
        write_deepstream_folder(resolve("nano"), tmp_path, batch=4)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    """Those of the model are read as everywhere else: one sentence, and nothing is written."""
    import onnx

    broken = onnx.load(resolve("nano"))
    next(x for x in broken.metadata_props if x.key == "tracker").value = "{"
    onnx.save(broken, tmp_path / "model.onnx")
    with pytest.raises(SessionError, match="tracker settings"):
        write_deepstream_folder(tmp_path / "model.onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
