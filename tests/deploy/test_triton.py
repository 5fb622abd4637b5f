"""Model repositories, served by a real Triton; the session that asks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from triton_server import Triton, running

from jdetrt.deploy.triton import TritonOptions, write_triton_repository
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.engine.triton import TOKEN, TritonSession
from jdetrt.engine.triton_url import TritonUrl
from jdetrt.errors import ConfigError, SessionError
from jdetrt.runtime.detector import Detector
from jdetrt.shipped import resolve
from jdetrt.types import Array

pytest.importorskip("tritonclient")
SIZE = (192, 128)


@pytest.fixture(scope="module")
def repository(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for input in ("float32", "uint8", "jpeg"):
        options = TritonOptions(
            name=f"jde-{input}", runtime="python", input=input, threads=1, queue_delay_us=50_000
        )
        write_triton_repository([model], folder, options)
    return folder


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with running(repository, tmp_path_factory.mktemp("triton")) as server:
        yield server


def ask(server: Triton, settings: str = "") -> TritonSession:
    return TritonSession(f"grpc://127.0.0.1:{server.grpc}/jde-float32{settings}")


def images(count: int) -> Array:
    """Noise with the values of a letterboxed image: whole 255ths."""
    rng = np.random.default_rng(count)
    levels = rng.integers(0, 256, (count, 3, *SIZE[::-1]))
    return np.asarray(levels / np.float32(255), np.float32)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("input", ["float32", "uint8"])
def test_same_outputs_as_in_process(scheme: str, input: str, model: Path, triton: Triton) -> None:
    port = triton.grpc if scheme == "grpc" else triton.http
    batch = images(2)
    with (
        open_session(f"{scheme}://127.0.0.1:{port}/jde-{input}") as there,
        OrtSession(model, threads=1) as here,
    ):
        assert there.metadata == here.metadata
        assert there.inputs[0].shape == here.inputs[0].shape
        expected = here.infer({"images": batch})
        got = there.infer({there.inputs[0].name: batch})
    assert set(got) == {"boxes", "scores", "embeddings"}
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)


def test_bytes_that_are_sent(triton: Triton) -> None:
    ramp = np.linspace(0, 1, SIZE[0], dtype=np.float32)
    batch = np.broadcast_to(ramp, (1, 3, SIZE[1], SIZE[0])).copy()
    sent = {}
    for input in ("float32", "uint8", "jpeg"):
        with TritonSession(f"grpc://127.0.0.1:{triton.grpc}/jde-{input}?jpeg=95") as session:
            outputs = session.infer({session.inputs[0].name: batch})
            sent[input] = session.sent_bytes
        assert outputs["boxes"].shape == (1, 128, 4)
    assert sent["float32"] == 4 * sent["uint8"] == batch.nbytes
    assert sent["jpeg"] < sent["uint8"] / 5


def test_shared_memory(model: Path, triton: Triton) -> None:
    batch = images(1)
    url = f"grpc://127.0.0.1:{triton.grpc}/jde-float32?shared_memory=on"
    with TritonSession(url) as there, OrtSession(model, threads=1) as here:
        expected = here.infer({"images": batch})
        for _ in range(3):
            got = there.infer({"images": batch})
            np.testing.assert_array_equal(got["scores"], expected["scores"])


def test_many_clients_are_batched(triton: Triton) -> None:
    """Eight at once: fewer runs of the network than requests, and each gets its own answer."""
    before = [
        triton.metric(name, "jde-float32")
        for name in ("nv_inference_count", "nv_inference_exec_count")
    ]
    url = f"grpc://127.0.0.1:{triton.grpc}/jde-float32"
    wrong: list[int] = []
    ready = threading.Barrier(8)

    def client(seed: int) -> None:
        batch = np.full((1, 3, *SIZE[::-1]), seed / 8, np.float32)
        with TritonSession(url) as session:
            ready.wait()
            answers = [session.infer({"images": batch})["scores"] for _ in range(6)]
        if any(not np.allclose(answers[0], other, atol=1e-5) for other in answers):
            wrong.append(seed)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    requests, runs = (
        triton.metric(name, "jde-float32") - value
        for name, value in zip(
            ("nv_inference_count", "nv_inference_exec_count"), before, strict=True
        )
    )
    assert requests == 48
    assert runs < 48


def test_server_that_comes_back_is_used_again(small: Path, tmp_path: Path) -> None:
    with running(small, tmp_path) as server, ask(server, "?timeout=2") as session:
        first = session.infer({"images": images(1)})
        server.kill()
        session.submit({"images": images(1)})
        time.sleep(0.3)
        server.start()
        second = session.wait()
        np.testing.assert_array_equal(first["scores"], second["scores"])
        assert session.retries > 0


def test_second_server_takes_over(triton: Triton, small: Path, tmp_path: Path) -> None:
    with running(small, tmp_path) as server:
        url = f"grpc://127.0.0.1:{server.grpc},127.0.0.1:{triton.grpc}/jde-float32?timeout=2"
        with TritonSession(url) as session:
            session.infer({"images": images(1)})
            server.kill()
            assert session.infer({"images": images(1)})["scores"].shape == (1, 128)


def test_closing_gives_up_at_once(small: Path, tmp_path: Path) -> None:
    with running(small, tmp_path) as server:
        session = TritonSession(f"grpc://127.0.0.1:{server.grpc}/jde-float32?retry=1000")
        server.kill()
        session.submit({"images": images(1)})
        session.close()  # else it would wait for a quarter of an hour


def test_detector_has_several_frames_under_way(triton: Triton) -> None:
    with TritonSession(f"grpc://127.0.0.1:{triton.grpc}/jde-uint8") as session:
        detector = Detector(session)
        assert detector.depth == 4
        image = np.zeros((128, 192, 3), np.uint8)
        for _ in range(4):
            detector.submit(image)
        for _ in range(4):
            detector.wait()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_such_model(scheme: str, triton: Triton) -> None:
    port = triton.grpc if scheme == "grpc" else triton.http
    with pytest.raises(SessionError, match="no model 'cellar'"):
        TritonSession(f"{scheme}://127.0.0.1:{port}/cellar")


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_server_without_tls(scheme: str, triton: Triton) -> None:
    port = triton.grpc if scheme == "grpcs" else triton.http
    with pytest.raises(SessionError) as caught:
        TritonSession(f"{scheme}://127.0.0.1:{port}/jde-float32?retry=2&timeout=2")
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nobody_there(scheme: str) -> None:
    with pytest.raises(SessionError, match="is the server running"):
        TritonSession(f"{scheme}://127.0.0.1:9/jde?retry=0.3&timeout=1")


def test_something_else_than_a_jde_model(triton: Triton) -> None:
    with pytest.raises(SessionError, match="jde-jpeg-image"):
        open_session(f"grpc://127.0.0.1:{triton.grpc}/jde-jpeg-image")


def test_every_written_configuration_is_read_by_protobuf(repository: Path) -> None:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    paths = sorted(repository.glob("*/config.pbtxt"))
    assert len(paths) == 7
    for path in paths:
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        assert config.name == path.parent.name
        assert config.max_batch_size == 8


def test_fixed_batch_of_one_is_served_without_batching(tmp_path: Path) -> None:
    write_triton_repository([resolve("nano")], tmp_path)
    text = (tmp_path / "jde" / "config.pbtxt").read_text()
    assert "max_batch_size: 0" in text
    assert "dims: [1, 3, 320, 576]" in text
    assert "dynamic_batching" not in text
    assert (tmp_path / "jde/1/model.onnx").read_bytes() == resolve("nano").read_bytes()
    compose = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    assert compose["services"]["triton"]["ports"][1] == "8001:8001"
    kinds = [x["kind"] for x in yaml.safe_load_all((tmp_path / "kubernetes.yaml").read_text())]
    assert kinds == ["Deployment", "Service", "HorizontalPodAutoscaler"]


@pytest.mark.parametrize("options", [{"name": "../x"}, {"name": ""}, {"max_batch": 0}])
def test_wrong_options(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        write_triton_repository([resolve("nano")], tmp_path, TritonOptions(**options))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_two_networks_are_no_model(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="one ONNX model"):
        write_triton_repository([resolve("nano"), model], tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "grpc://host",
        "grpc:///jde",
        "grpc://host:99999/jde",
        "grpc://host:8001/jde/latest",
        "grpc://user:secret@host/jde",
        "grpc://host/jde?timeout=0",
        "grpc://host/jde?timeout=nan",
        "grpc://host/jde?quality=3",
        "grpc://host/jde?shared_memory=yes",
        "ftp://host/jde",
    ],
)
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(SessionError) as caught:
        TritonUrl.parse(text)
    assert "secret" not in str(caught.value)


def test_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, triton: Triton) -> None:
    monkeypatch.setenv(TOKEN, "abc")
    with TritonSession(f"http://127.0.0.1:{triton.http}/jde-float32") as session:
        assert session._headers == {"authorization": "Bearer abc"}
        session.infer({"images": images(1)})


def test_tracks_are_those_of_a_run_in_process(model: Path, triton: Triton, tmp_path: Path) -> None:
    """The command line with the address of the server in place of the file: the same text."""
    from click.testing import CliRunner

    from jdetrt.cli.track import command
    from jdetrt.synthetic.clip import SyntheticClip, write_sequence

    scene = SyntheticClip(seed=3, frames=15, size=(384, 256), people=3)
    clip = write_sequence(tmp_path / "clip", scene)
    texts = []
    for name in (str(model), f"grpc://127.0.0.1:{triton.grpc}/jde-uint8"):
        tracks = tmp_path / "tracks.txt"
        arguments = [str(clip), "--model", name, "--mot", str(tracks), "-q"]
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.output
        texts.append(tracks.read_text())
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) > 10
