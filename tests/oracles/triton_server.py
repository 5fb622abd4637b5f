"""A real Triton server, with ONNX Runtime in its Python backend."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


class Triton:
    """A server on free ports of the loopback interface.

    Args:
        repository: its model repository.
        folder: for its backends and its log.
        options: more of the command line.
    """

    def __init__(self, repository: Path, folder: Path, *options: str) -> None:
        home = Path(sys.prefix, "triton")
        server = home / "pytriton/tritonserver"
        if not (server / "bin/tritonserver").exists():
            pytest.skip("no Triton server here; scripts/triton.sh installs it")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
        backends = folder / "backends"
        if not backends.exists():
            shutil.copytree(server / "backends", backends)
            shutil.copy(stub, backends / "python")
        libraries = home / "nvidia_pytriton.libs"
        self.http, self.grpc, self.metrics = _free_ports(3)
        self.log = folder / "triton.log"
        self._command = [
            str(server / "bin/tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={backends}",
            *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--exit-timeout-secs=2"),
            *(f"--http-port={self.http}", f"--grpc-port={self.grpc}"),
            *(f"--metrics-port={self.metrics}", "--metrics-address=127.0.0.1"),
            *options,
        ]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(home),
            "LD_LIBRARY_PATH": f"{libraries}:{sysconfig.get_config_var('LIBDIR')}",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its models are there."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                pytest.fail(self.log.read_text()[-3000:])
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/health/ready"):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def metric(self, name: str, model: str) -> float:
        """The value of a metric of a model."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as answer:
            text = answer.read().decode()
        line = next(x for x in text.splitlines() if x.startswith(f'{name}{{model="{model}"'))
        return float(line.rpartition(" ")[2])


Serve = Callable[..., Triton]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running(repository: Path, folder: Path, *options: str) -> Iterator[Triton]:
    """Run a server while the context lasts."""
    server = Triton(repository, folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
