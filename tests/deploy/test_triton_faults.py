"""Faults of a real Triton and of a front before it: one sentence each, which says what to do."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import jdetrt
from triton_server import Triton, running

from jdetrt.deploy.triton import TritonOptions, write_triton_repository
from jdetrt.engine.open import open_session
from jdetrt.engine.triton import TOKEN, TritonSession
from jdetrt.errors import SessionError
from jdetrt.shipped import resolve
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.types import Array

pytest.importorskip("tritonclient")
SIZE = (192, 128)


def image() -> Array:
    return np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32)


def sentence(error: pytest.ExceptionInfo[SessionError]) -> str:
    """The message, which is on one line and not a screen full."""
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.fixture(scope="module")
def triton(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server of good models, of some without metadata, and of one with a queue of one."""
    folder = tmp_path_factory.mktemp("repository")
    kinds = {"jde": "float32", "bare": "float32", "bare-uint8": "uint8", "busy": "float32"}
    for name, input in kinds.items():
        options = TritonOptions(name=name, runtime="python", input=input, threads=1, max_batch=1)
        write_triton_repository([model], folder, options)
        config = folder / name / "config.pbtxt"
        text = config.read_text()
        if name == "busy":
            text = text.replace("max_queue_size: 16", "max_queue_size: 1")
            assert "max_queue_size: 1\n" in text
        if name.startswith("bare"):  # as one that was written by hand
            text = text.replace('"jdetrt"', '"something"')
        config.write_text(text)
    with running(folder, tmp_path_factory.mktemp("triton")) as server:
        yield server


class Front(NamedTuple):
    """A server with TLS that asks for a token and passes requests on; the files of its folder."""

    https: int
    grpcs: int
    certificate: Path
    other: Path


@pytest.fixture(scope="module")
def front(triton: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("front")
    for name in ("server", "other"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
            ],
            check=True,
            capture_output=True,
        )
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        https, grpcs = one.getsockname()[1], two.getsockname()[1]
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi")
    )
    check = 'if ($http_authorization != "Bearer good") { return 401; }'
    tls = f"ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;"
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        "events {}\n"
        "http { access_log off; client_max_body_size 50m; client_body_buffer_size 50m;\n"
        f"{paths} uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{https} ssl; {tls} {check}"
        f" location / {{ proxy_pass http://127.0.0.1:{triton.http}; }} }}\n"
        f"server {{ listen 127.0.0.1:{grpcs} ssl http2; {tls} {check}"
        f" location / {{ grpc_pass grpc://127.0.0.1:{triton.grpc}; }} }}\n"
        "}\n"
    )
    with subprocess.Popen([program, "-e", folder / "error.log", "-c", folder / "nginx.conf"]) as it:
        try:
            _wait_for(https, it)
            yield Front(https, grpcs, folder / "server.pem", folder / "other.pem")
        finally:
            it.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("nginx does not answer")


def secure(front: Front, scheme: str, settings: str = "") -> str:
    return f"{scheme}://127.0.0.1:{getattr(front, scheme)}/jde?retry=5&timeout=5{settings}"


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_right_certificate_and_token(
    scheme: str, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "good")
    with TritonSession(secure(front, scheme, f"&ca={front.certificate}")) as session:
        assert session.infer({"images": image()})["scores"].shape == (1, 128)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("authority", [None, "other"])
def test_certificate_of_nobody_known(scheme: str, authority: str | None, front: Front) -> None:
    settings = "" if authority is None else f"&ca={front.other}"
    begin = time.monotonic()
    with pytest.raises(SessionError, match="no secure connection") as caught:
        TritonSession(secure(front, scheme, settings))
    assert "?ca=FILE" in sentence(caught)
    assert time.monotonic() - begin < 60  # and not for ever


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_file_of_certificates_that_cannot_be_used(
    scheme: str, content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SessionError, match="cannot be read as certificates") as caught:
        TritonSession(f"{scheme}://127.0.0.1:9/jde?ca={path}")
    assert str(path) in sentence(caught)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("token", ["bad", None])
def test_wrong_token_and_none(
    scheme: str, token: str | None, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    if token is not None:
        monkeypatch.setenv(TOKEN, token)
    with pytest.raises(SessionError, match="asks for a valid token") as caught:
        TritonSession(secure(front, scheme, f"&ca={front.certificate}"))
    assert TOKEN in sentence(caught)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_full_queue(scheme: str, triton: Triton) -> None:
    """Sixteen requests at once for a queue of one, without patience."""
    port = triton.grpc if scheme == "grpc" else triton.http
    messages: list[str] = []
    ready = threading.Barrier(16)

    def ask() -> None:
        with TritonSession(f"{scheme}://127.0.0.1:{port}/busy?retry=0.001") as session:
            ready.wait()
            try:
                for _ in range(5):
                    session.infer({"images": image()})
            except SessionError as err:
                messages.append(str(err))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert messages
    for message in messages:
        assert re.search("queue stayed full .*--instances.*retry", message), message


def test_full_queue_passes_with_patience(triton: Triton) -> None:
    answers: list[Array] = []

    def ask() -> None:
        with TritonSession(f"grpc://127.0.0.1:{triton.grpc}/busy") as session:
            answers.extend(session.infer({"images": image()})["scores"] for _ in range(2))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_images_of_a_size_that_nobody_states(scheme: str, triton: Triton) -> None:
    port = triton.grpc if scheme == "grpc" else triton.http
    with pytest.raises(SessionError, match="does not state their size") as caught:
        open_session(f"{scheme}://127.0.0.1:{port}/bare-uint8")
    assert "jdetrt deploy triton" in sentence(caught)


def test_model_without_metadata_is_noted(triton: Triton, tmp_path: Path) -> None:
    clip = write_sequence(tmp_path / "clip", SyntheticClip(frames=2, size=(96, 64)))
    url = f"grpc://127.0.0.1:{triton.grpc}/bare"
    done = jdetrt("track", clip, "--model", url, "--mot", tmp_path / "t.txt")
    assert done.code == 0
    assert "the model records no tracker settings" in done.err


def test_wrong_name_on_the_command_line(triton: Triton, tmp_path: Path) -> None:
    clip = write_sequence(tmp_path / "clip", SyntheticClip(frames=2, size=(96, 64)))
    url = f"grpc://127.0.0.1:{triton.grpc}/cellar"
    done = jdetrt("track", clip, "--model", url, "-q")
    assert done.code == 1
    assert "no model 'cellar'" in done.err
    assert done.err.count("\n") == 1


def test_model_of_another_size_in_the_middle(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    options = TritonOptions(name="jde", runtime="python", threads=1)
    write_triton_repository([model], folder, options)
    with (
        running(folder, tmp_path) as server,
        TritonSession(f"grpc://127.0.0.1:{server.grpc}/jde?timeout=20") as session,
    ):
        session.infer({"images": image()})
        server.kill()
        write_triton_repository([resolve("nano")], folder, options)  # 576x320
        server.start()
        with pytest.raises(SessionError, match="of another size") as caught:
            session.infer({"images": image()})
        sentence(caught)
