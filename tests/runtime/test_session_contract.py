"""The protocol of a session, held by every session of this package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import VERSIONS, fake_tensorrt
from fake_trt_runtime import Network, write_plan
from tiny_network import SIZE as TINY
from tiny_network import save_tiny

from jdetrt.config import ExportConfig
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.tensorrt import compat
from jdetrt.engine.tensorrt import session as tensorrt_session
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.session import TensorRtSession
from jdetrt.errors import SessionError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.torch_session import open_checkpoint
from jdetrt.runtime.detector import Detector, check_model, network_size
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Session

Open = Callable[[Path, pytest.MonkeyPatch], Session]

ORIN = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a checkpoint and its export."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        checkpoint = save_tiny(folder / "tiny.safetensors", patch)
        export_onnx(checkpoint, folder / "tiny.onnx", ExportConfig(top_k=20))
        yield folder


def _onnxruntime(models: Path, patch: pytest.MonkeyPatch) -> Session:
    return OrtSession(models / "tiny.onnx", provider="cpu")


def _torch(models: Path, patch: pytest.MonkeyPatch) -> Session:
    return open_checkpoint(models / "tiny.safetensors")


def _tensorrt(models: Path, patch: pytest.MonkeyPatch) -> Session:
    cuda = FakeCuda()
    network = Network(cuda)
    module: Any = fake_tensorrt(VERSIONS[1], network.scenario())
    patch.setitem(sys.modules, module.__name__, module)
    trt = compat.load("tensorrt")
    network.install(trt)
    patch.setattr(tensorrt_session, "current_device", lambda: ORIN)
    patch.setattr(tensorrt_session, "open_cuda", lambda **_: cuda)
    return TensorRtSession(write_plan(models / "model.plan", trt, ORIN, network))


def _fake(models: Path, patch: pytest.MonkeyPatch) -> Session:
    def mean(feeds: Mapping[str, Array]) -> dict[str, Array]:
        level = feeds["images"].mean()
        return {
            "boxes": np.full((1, 3, 4), level, np.float32),
            "scores": np.full((1, 3), level, np.float32),
        }

    return FakeSession(mean, size=TINY, seconds=0.001, metadata={"body": "none"})


@pytest.fixture(params=[_onnxruntime, _torch, _tensorrt, _fake], ids=lambda f: f.__name__[1:])
def session(
    request: pytest.FixtureRequest, models: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    opened: Session = request.param(models, monkeypatch)
    yield opened
    opened.close()


def feeds(session: Session, seed: int = 0) -> dict[str, Array]:
    shape = (1, 3, *network_size(session).shape)
    return {"images": np.random.default_rng(seed).random(shape, np.float32)}


def same(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_it_describes_its_inputs_outputs_and_metadata(session: Session) -> None:
    assert isinstance(session, Session)
    check_model(session)
    assert [spec.name for spec in session.inputs] == ["images"]
    outputs = session.infer(feeds(session))
    assert list(outputs) == [spec.name for spec in session.outputs]
    for spec in session.outputs:
        array = outputs[spec.name]
        assert array.dtype == spec.dtype
        assert array.ndim == len(spec.shape)
        for size, stated in zip(array.shape, spec.shape, strict=True):
            assert stated in (-1, size)
    assert all(isinstance(key, str) for key in session.metadata)
    assert all(isinstance(value, str) for value in session.metadata.values())


def test_submit_and_wait_give_what_infer_gives_and_the_arrays_are_the_callers(
    session: Session,
) -> None:
    first = session.infer(feeds(session, 1))
    copies = {name: array.copy() for name, array in first.items()}
    session.submit(feeds(session, 2))
    second = session.wait()
    assert not same(first, second)
    assert same(first, copies)
    for array in second.values():
        array[...] = 0  # writing into them harms nobody
    assert same(session.infer(feeds(session, 1)), copies)


def test_a_run_is_timed(session: Session) -> None:
    assert session.last_run_seconds is None
    session.infer(feeds(session))
    assert session.last_run_seconds is not None
    assert 0 < session.last_run_seconds < 60


@pytest.mark.parametrize(
    "change",
    [
        lambda images: {},
        lambda images: {"pictures": images},
        lambda images: {"images": images, "more": images},
        lambda images: {"images": images.astype(np.float64)},
        lambda images: {"images": images[:, :, 1:]},
        lambda images: {"images": images[0]},
    ],
    ids=["nothing", "another name", "one too many", "dtype", "shape", "rank"],
)
def test_wrong_feeds_are_refused_and_do_no_harm(
    session: Session, change: Callable[[Array], dict[str, Array]]
) -> None:
    right = feeds(session)
    before = {name: array.copy() for name, array in session.infer(right).items()}
    for call in (session.infer, session.submit):
        with pytest.raises(SessionError):
            call(change(right["images"]))
    assert same(session.infer(right), before)


def test_runs_are_waited_for_in_their_order(session: Session) -> None:
    with pytest.raises(SessionError, match="submit"):
        session.wait()
    expected = session.infer(feeds(session, 3))
    session.submit(feeds(session, 3))
    with pytest.raises(SessionError, match="wait"):
        session.submit(feeds(session, 4))
    assert same(session.wait(), expected)
    with pytest.raises(SessionError, match="submit"):
        session.wait()


def test_closing_twice_and_with_a_run_open(session: Session) -> None:
    with session as same_one:
        assert same_one is session
        session.submit(feeds(session))
    session.close()
    for call in (session.infer, session.submit):
        with pytest.raises(SessionError, match="closed"):
            call(feeds(session))
    with pytest.raises(SessionError):
        session.wait()


def test_a_block_that_fails_closes_it(session: Session) -> None:
    with suppress(ZeroDivisionError), session:
        raise ZeroDivisionError
    with pytest.raises(SessionError, match="closed"):
        session.infer(feeds(session))


def test_it_serves_a_detector(session: Session) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    with Detector(session, score_threshold=0.0) as detector:
        detections = detector.detect(image)
        candidates = detector.candidates(image)
        assert len(detections) <= len(candidates)
        detector.submit(image)
        np.testing.assert_array_equal(detector.wait().boxes, detections.boxes)
