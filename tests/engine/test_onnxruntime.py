"""OrtSession against models made here with the onnx package: NumPy says what they must give."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.errors import SessionError
from jdetrt.types import Session, TensorSpec

SHAPE = (1, 3, 32, 64)


def _images(value: float = 0.5) -> dict[str, Any]:
    return {"images": np.full(SHAPE, value, np.float32)}


def _save(
    path: Path,
    *,
    outputs: Sequence[str] = ("boxes", "scores", "embeddings"),
    batch: int | str = "N",
    external: bool = False,
) -> Path:
    """boxes = mean of the picture, three times four of them; scores and embeddings likewise."""
    shapes = {"boxes": (1, 3, 4), "scores": (1, 3), "embeddings": (1, 3, 8), "other": (1, 3)}
    axes = [1, 2, 3] if batch == "N" else [0, 1, 2, 3]
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], axes=axes, keepdims=0)]
    initializers = []
    for name in outputs:
        factor = np.arange(np.prod(shapes[name]), dtype=np.float32).reshape(shapes[name])
        initializers.append(numpy_helper.from_array(factor, f"{name}_factor"))
        nodes.append(helper.make_node("Mul", ["mean", f"{name}_factor"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, *SHAPE[1:]])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in outputs],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"width": "64", "height": "32"})
    onnx.save_model(
        model, path, save_as_external_data=external, size_threshold=0, location="weights.bin"
    )
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _save(tmp_path / "model.onnx")


def test_says_what_the_model_takes_and_gives(model: Path) -> None:
    with OrtSession(model) as session:
        assert isinstance(session, Session)
        assert session.inputs == (TensorSpec("images", "float32", (-1, 3, 32, 64)),)
        assert [spec.name for spec in session.outputs] == ["boxes", "scores", "embeddings"]
        assert session.outputs[0] == TensorSpec("boxes", "float32", (1, 3, 4))
        assert session.metadata == {"width": "64", "height": "32"}
        assert session.provider == "cpu"


def test_infer_gives_what_numpy_gives(model: Path) -> None:
    picture = np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    with OrtSession(model, threads=1) as session:
        outputs = session.infer({"images": picture})
        first = {name: array.copy() for name, array in outputs.items()}
        session.infer(_images(0.0))
    expected = picture.mean() * np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    np.testing.assert_allclose(outputs["boxes"], expected, rtol=1e-5)
    for name, array in outputs.items():  # the arrays are ours: a later run leaves them alone
        np.testing.assert_array_equal(array, first[name])
    assert session.last_run_seconds is not None
    assert session.last_run_seconds > 0.0


def test_submit_returns_while_the_run_goes_on(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OrtSession(model) as session:
        run, go_on = session._run, threading.Event()

        def held(feeds: Any) -> Any:
            assert go_on.wait(10)
            return run(feeds)

        monkeypatch.setattr(session, "_run", held)
        session.submit(_images())  # would wait for ever if it ran the model itself
        with pytest.raises(SessionError, match="open already"):
            session.submit(_images())
        go_on.set()
        assert set(session.wait()) == {"boxes", "scores", "embeddings"}


def test_wait_without_submit_is_an_error(model: Path) -> None:
    with OrtSession(model) as session:
        with pytest.raises(SessionError, match="no run is open"):
            session.wait()
        session.infer(_images())
        with pytest.raises(SessionError, match="no run is open"):
            session.wait()


def test_close_ends_the_open_run_and_the_thread(model: Path) -> None:
    before = set(threading.enumerate())
    session = OrtSession(model)
    session.submit(_images())
    session.close()
    session.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(SessionError, match="closed"):
        session.submit(_images())


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"takes 'images', got nothing"),
        ({"image": np.zeros(SHAPE, np.float32)}, r"takes 'images', got 'image'"),
        ({"images": np.zeros(SHAPE)}, r"expected float32 \(n, 3, 32, 64\), got float64 \(1, 3"),
        ({"images": np.zeros((1, 3, 64, 32), np.float32)}, r"got float32 \(1, 3, 64, 32\)"),
        ({"images": np.zeros((3, 32, 64), np.float32)}, r"got float32 \(3, 32, 64\)"),
    ],
)
def test_feeds_are_checked_before_the_run(model: Path, feeds: Any, message: str) -> None:
    with OrtSession(model) as session:
        with pytest.raises(SessionError, match=message):
            session.submit(feeds)
        session.infer(_images())  # and the session is still good


def test_a_run_that_fails_leaves_the_session_usable(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OrtSession(model) as session:
        # Two pictures pass the check of a free batch, then a Mul refuses (2,) times (1, 3, 4).
        with pytest.raises(SessionError, match="failed to run the model"):
            session.infer({"images": np.zeros((2, *SHAPE[1:]), np.float32)})
        session.infer(_images())


def _broken(folder: Path, kind: str) -> Path:
    path = folder / "broken.onnx"
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is a letter, not a model\n" * 50)
    elif kind == "truncated":
        data = _save(folder / "whole.onnx").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(5 << 30)  # sparse: 5 GiB of nothing
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "weights missing":
        _save(path, external=True)
        (folder / "weights.bin").unlink()
    elif kind == "weights cut short":
        _save(path, external=True)
        os.truncate(folder / "weights.bin", 4)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "not an ONNX model, or is cut short"),
        ("truncated", "not an ONNX model, or is cut short"),
        ("huge", "not an ONNX model, or is cut short"),
        ("pipe", "not a regular file"),
        ("weights missing", "weights are in a second file"),
        ("weights cut short", "weights are in a second file"),
    ],
)
def test_a_bad_file_is_refused_by_name(
    tmp_path: Path, kind: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _broken(tmp_path, kind)
    with pytest.raises(SessionError, match=message) as caught:
        OrtSession(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")  # ONNX Runtime itself stays silent


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"model\xff.onnx")
    try:
        path.write_bytes(b"anything")
    except OSError as err:
        pytest.skip(f"this file system takes no such name: {err}")
    with pytest.raises(SessionError, match=r"names in UTF-8, .*; rename it"):
        OrtSession(path)


def test_weights_beside_the_model_are_found(tmp_path: Path) -> None:
    with OrtSession(_save(tmp_path / "model.onnx", external=True)) as session:
        assert session.infer(_images(1.0))["scores"].tolist() == [[0.0, 1.0, 2.0]]


def test_open_session_refuses_what_is_not_a_jde_model(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    path = _save(tmp_path / "other.onnx", outputs=("other", "scores"))
    with pytest.raises(SessionError, match=r"other\.onnx.*no output 'boxes'.*'other', 'scores'"):
        open_session(path)
    path = _save(tmp_path / "batch.onnx", batch=4)
    with pytest.raises(SessionError, match="exactly 4 images"):
        open_session(path)
    assert set(threading.enumerate()) == before
    open_session(_save(tmp_path / "good.onnx", outputs=("boxes", "scores"))).close()


def test_a_missing_provider_is_refused_with_what_is_there(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SessionError, match=r"'tensorrt' is not in .* which has: cpu\."):
        OrtSession(model, provider="tensorrt")
    with pytest.raises(SessionError, match="expected auto, cpu, cuda, tensorrt"):
        OrtSession(model, provider="gpu")
    with pytest.raises(SessionError, match="expected 1 or more, got 0"):
        OrtSession(model, threads=0)


def test_a_silent_fall_back_to_the_cpu_is_found(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """CUDA is listed, but does not start: ONNX Runtime then gives a session on the CPU."""
    real = ort.InferenceSession
    asked: list[list[str]] = []

    def drops_cuda(path: str, options: Any, *, providers: list[str], **rest: Any) -> Any:
        asked.append(providers)
        return real(path, options, providers=["CPUExecutionProvider"], **rest)

    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    monkeypatch.setattr(ort, "InferenceSession", drops_cuda)
    with pytest.raises(SessionError, match=r"'cuda' is installed, but .* could not start it"):
        OrtSession(model, provider="cuda")
    with (
        caplog.at_level(logging.WARNING),
        OrtSession(model, provider="auto") as session,
    ):
        assert session.provider == "cpu"
    assert "runs on the CPU" in caplog.text
    assert asked == [listed, listed]
