"""Builds on boards over real SSH: sshd on the loopback, and a stand-in for jdetrt behind it."""

from __future__ import annotations

import getpass
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jdetrt.deploy.board import Board, BoardError, Connection, read_boards
from jdetrt.deploy.fleet import build_fleet, fleet_status
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.plan import FileFacts, Host, Sidecar
from jdetrt.errors import ConfigError
from jdetrt.inputs import sha256
from jdetrt.shipped import resolve
from jdetrt.types import TensorSpec

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
# In place of `jdetrt build`: a plan of a few bytes, and a sidecar as write_plan makes it.
STAND_IN = """#!{python}
import json, os, sys, time
from pathlib import Path
words = sys.argv[1:]
with open("calls", "a") as calls:
    calls.write(" ".join(words) + "\\n")
if words[0] == "bench":
    print(json.dumps({{"rows": [{{"system_fps": 31.5}}]}}))
    sys.exit()
if os.path.exists("broken"):
    sys.exit("out of memory")
time.sleep(float(os.environ.get("SLEEP", "0")))
plan = Path(words[words.index("-o") + 1])
plan.write_bytes(b"ftrt" + Path(words[1]).read_bytes()[:64] + os.getcwd().encode())
sidecar = json.loads({sidecar!r})
import hashlib
sidecar["plan"] = {{
    "name": plan.name,
    "sha256": hashlib.sha256(plan.read_bytes()).hexdigest(),
    "bytes": plan.stat().st_size,
}}
Path(str(plan) + ".json").write_text(json.dumps(sidecar))
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Options of ssh for a server of our own, with a key of its own."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd on this machine (Debian's package: openssh-server)")
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\n"
    )
    server = subprocess.Popen([SSHD, "-D", "-f", str(folder / "config")])
    options = (
        *("-p", str(port), "-i", f"{folder}/user", "-o", "IdentitiesOnly=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"),
        *("-o", "LogLevel=ERROR"),
    )
    end = time.monotonic() + 20
    probe = ["ssh", *options, "-o", "BatchMode=yes", f"{getpass.getuser()}@127.0.0.1", "true"]
    while subprocess.run(probe, check=False, capture_output=True).returncode:
        if time.monotonic() > end or server.poll() is not None:
            pytest.fail("sshd does not answer")
        time.sleep(0.2)
    yield options
    server.terminate()
    server.wait()


@pytest.fixture
def boards(ssh: tuple[str, ...], tmp_path: Path) -> dict[str, Board]:
    """Three boards, each a folder behind the same server."""
    command = tmp_path / "jdetrt"
    command.write_text(STAND_IN.format(python=sys.executable, sidecar=_sidecar()))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return {
        name: Board(
            host=f"{getpass.getuser()}@127.0.0.1",
            ssh=ssh,
            folder=str(tmp_path / "boards" / name),
            command=str(command),
            build=("--precision", "fp16"),
            timeout=30.0,
        )
        for name in ("one", "two", "three")
    }


def _sidecar() -> str:
    """The sidecar of a plan, as it is written today."""
    facts = FileFacts(name="", sha256="", bytes=0)
    sidecar = Sidecar(
        host=Host(
            backend="tensorrt",
            tensorrt="10.3.0",
            platform="Linux aarch64",
            gpu="Orin",
            compute_capability="8.7",
            cuda="12.6",
            l4t="36.4",
        ),
        model=facts,
        plan=facts,
        options=BuildOptions(precision="fp16"),
        typing="weak",
        precision="fp16",
        inputs=(TensorSpec("images", "float32", (1, 3, 320, 576)),),
        outputs=(TensorSpec("boxes", "float32", (1, 100, 4)),),
        calibration=None,
        workspace_mib=None,
        fallback=(),
        metadata={},
        build_seconds=1.0,
    )
    return msgspec.json.encode(sidecar).decode()


def test_fleet(boards: dict[str, Board], tmp_path: Path) -> None:
    """One board fails: the others build; the next call does what is left, and no more."""
    model, plans = resolve("nano"), tmp_path / "plans"
    broken = Path(boards["two"].folder) / "broken"
    broken.parent.mkdir(parents=True)
    broken.touch()
    first = build_fleet(model, boards, plans)
    assert [report.state for report in first] == ["built", "failed", "built"]
    assert "two: out of memory" in str(first[1].error)
    assert not (plans / "two").exists()
    assert sha256(plans / "one" / "model.plan") != sha256(plans / "three" / "model.plan")
    broken.unlink()
    second = build_fleet(model, boards, plans)
    assert [report.state for report in second] == ["up to date", "built", "up to date"]
    for name, board in boards.items():
        calls = (Path(board.folder) / "calls").read_text().splitlines()
        assert calls[-1] == "build model.onnx -o model.plan --precision fp16"
        assert len(calls) == (2 if name == "two" else 1)
    assert {report.state for report in fleet_status(model, boards, plans)} == {"up to date"}


def test_status_tells_what_differs(boards: dict[str, Board], tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    build_fleet(resolve("nano"), {"one": boards["one"], "two": boards["two"]}, plans)
    (Path(boards["one"].folder) / "model.plan").write_bytes(b"another")
    away = Board(host="127.0.0.1", ssh=("-p", "9"), timeout=20.0)
    reports = fleet_status(resolve("nano"), {**boards, "four": away}, plans)
    states = {report.board: report.state for report in reports}
    assert states == {
        "one": "other plan",
        "two": "up to date",
        "three": "not built",
        "four": "unreachable",
    }
    newer = fleet_status(resolve("nano:864x480"), {"two": boards["two"]}, plans)
    assert newer[0].state == "older model"


def test_short_benchmark(boards: dict[str, Board], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"frames")
    report = build_fleet(resolve("nano"), {"one": boards["one"]}, tmp_path / "plans", clip=clip)[0]
    assert report.result is not None
    assert report.result.fps == 31.5
    assert (Path(boards["one"].folder) / "clip.mp4").read_bytes() == b"frames"


def test_container_takes_the_place_of_ssh(tmp_path: Path) -> None:
    board = Board(container=("env", "PLACE=here"), folder=str(tmp_path / "a b"))
    connection = Connection("local", board)
    assert connection.run('echo "$PLACE"').strip() == "here"
    (tmp_path / "file").write_bytes(bytes(range(256)))
    connection.send(tmp_path / "file", "copy it")
    assert connection.sha256("copy it") == sha256(tmp_path / "file")
    connection.fetch("copy it", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == bytes(range(256))


def test_command_without_end(tmp_path: Path) -> None:
    board = Board(container=("env",), folder=str(tmp_path), timeout=0.3)
    with pytest.raises(BoardError, match="slow: no end"):
        Connection("slow", board).run("sleep 20")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "board"),
        ("[board.a]", "host"),
        ("[board.a]\nhost = 'h'\ncontainer = ['docker']", "host"),
        ("[board.a]\nhost = '-oProxyCommand=x'", "not an option"),
        ("[board.'../a']\nhost = 'h'", "board"),
        ("[board.a]\nhost = 'h'\ntimeout = 0", "timeout"),
    ],
)
def test_wrong_boards(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "boards.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_boards(path)
