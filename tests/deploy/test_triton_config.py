"""Written configurations, read by the server's own parser."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest
from tiny_network import TinyBody
from triton_server import running

from jdetrt.config import ExportConfig
from jdetrt.deploy.triton import TritonOptions, write_triton_repository
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network import model as networks

pytest.importorskip("tritonclient")
SIZE = (128, 96)


def darknet(folder: Path, body: str) -> Path:
    """A network with the heads of the paper and Darknet-53, or a small body in its place."""
    saved = folder / "network.safetensors"
    checkpoint.save(saved, networks.random_network(3, body, 512), size=SIZE, identities=9)
    path = folder / "network.onnx"
    export_onnx(saved, path, ExportConfig(size=SIZE, top_k=128, dynamic_batch=True))
    return path


@pytest.mark.parametrize(
    "body", ["nano", "tiny", pytest.param("darknet53", marks=pytest.mark.slow)]
)
def test_server_accepts_every_configuration(
    body: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of the Python backend are served; others end at the backend, which is not there."""
    monkeypatch.setattr(networks, "BODIES", {**networks.BODIES, "tiny": TinyBody})
    path = model if body == "nano" else darknet(tmp_path, body)
    folder = tmp_path / "models"
    for runtime, input in (("auto", "float32"), ("python", "jpeg")):
        options = TritonOptions(
            name=runtime, runtime=runtime, input=input, threads=1, preferred=(3, 5)
        )
        write_triton_repository([path], folder, options)
    wrong = folder / "wrong"
    wrong.mkdir()
    (wrong / "config.pbtxt").write_text('name: "wrong"\nbackend: 7\n')
    with running(folder, tmp_path, "--exit-on-error=false", "--strict-readiness=false") as server:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.http}/v2/repository/index", method="POST"
        )
        with urllib.request.urlopen(request) as answer:
            index = {one["name"]: one for one in json.load(answer)}
        log = server.log.read_text()
    served = {name for name, one in index.items() if one.get("state") == "READY"}
    assert served == {"python", "python-image", "python-network"}
    assert "unable to find backend library for backend 'onnxruntime'" in index["auto"]["reason"]
    # What the parser does not take, it says: of the wrong one, and of no other.
    assert re.findall("Poll failed for model directory '(.*?)'", log) == ["wrong"]
