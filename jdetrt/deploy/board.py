"""Boards of a fleet: their settings, and commands run on them over SSH or in a container."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import IO, Annotated

import msgspec
from msgspec import Meta

from jdetrt.config import Positive, Section
from jdetrt.documents import read_toml
from jdetrt.errors import ConfigError, JdetrtError
from jdetrt.files import atomic_path

__all__ = ["Board", "BoardError", "Connection", "read_boards"]

Name = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^\w[\w.-]*\Z")]
_SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
)
_LAST_LINES = 3  # of what a failed command said


class BoardError(JdetrtError):
    """A board cannot be reached, or a command on it failed."""


class Board(Section, frozen=True):
    """Settings of a board; one of ``host`` and ``container``."""

    host: str | None = None  # as ssh takes it: user@address, or a name of ~/.ssh/config
    ssh: tuple[str, ...] = ()  # more options of ssh, such as "-p", "2222"
    container: tuple[str, ...] = ()  # command in front, such as "docker", "exec", "-i", "jetson"
    folder: str = "jdetrt"  # on the board, relative to the home folder
    command: str = "jdetrt"  # that runs jdetrt there, such as ".venv/bin/jdetrt"
    build: tuple[str, ...] = ()  # options of `jdetrt build`
    timeout: Positive = 3600.0  # seconds that one command may take

    def __post_init__(self) -> None:
        if (self.host is None) == (not self.container):
            raise ValueError("give either host (for ssh) or container (a command in front)")
        if self.host is not None and self.host.startswith("-"):
            raise ValueError(f"host {self.host!r}: a name, not an option")


class _Fleet(Section, frozen=True):
    board: dict[Name, Board]


def read_boards(path: Path) -> dict[str, Board]:
    """Read a TOML file of boards, ``[board.NAME]``. Raises ConfigError."""
    boards = read_toml(path, _Fleet, ConfigError).board
    if not boards:
        raise ConfigError(f"{path}: has no [board.NAME]")
    return dict(boards)


class Connection:
    """Runs shell commands on a board, and copies files with them.

    Args:
        name: of the board, for messages.
        board: its settings.
    """

    def __init__(self, name: str, board: Board) -> None:
        self.name = name
        self.board = board

    def run(self, script: str, *, stdin: IO[bytes] | None = None) -> str:
        """Run a shell script in the folder of the board and return what it printed.

        Raises:
            BoardError: the board does not answer, the script fails or takes too long; with the
                last lines that it said.
        """
        return self._run(script, stdin).stdout.decode("utf-8", "replace")

    def send(self, file: Path, name: str) -> None:
        """Copy a file into the folder of the board; it appears there whole or not at all."""
        target = shlex.quote(name)
        with file.open("rb") as content:
            self.run(f"cat > {target}.part && mv {target}.part {target}", stdin=content)

    def fetch(self, name: str, file: Path) -> None:
        """Copy a file from the folder of the board; it appears whole or not at all."""
        with atomic_path(file) as temporary, temporary.open("wb") as content:
            self._run(f"cat {shlex.quote(name)}", None, content)

    def sha256(self, name: str) -> str | None:
        """Hexadecimal SHA-256 of a file on the board; None where it is not there."""
        quoted = shlex.quote(name)
        words = self.run(f"[ ! -f {quoted} ] || sha256sum {quoted}").split()
        return words[0] if words else None

    def _run(
        self, script: str, stdin: IO[bytes] | None, stdout: IO[bytes] | int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        board = self.board
        folder = shlex.quote(board.folder)
        script = f"mkdir -p {folder} && cd {folder} && {script}"
        if board.host is not None:
            command = [*_SSH, *board.ssh, "--", board.host, script]
        else:
            command = [*board.container, "sh", "-c", script]
        try:
            done = subprocess.run(
                command,
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=board.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise BoardError(f"{self.name}: no end after {board.timeout:g} s; given up") from err
        except OSError as err:
            raise BoardError(f"{self.name}: {command[0]} cannot be run ({err.strerror})") from err
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = " / ".join(said[-_LAST_LINES:]) or f"exit code {done.returncode}"
            unreachable = board.host is not None and done.returncode == 255
            raise BoardError(f"{self.name}: {'no connection: ' if unreachable else ''}{reason}")
        return done


class BoardState(msgspec.Struct, kw_only=True):
    """Outcome of a build on a board, as it is kept beside its plan.

    Attributes:
        model: SHA-256 of the ONNX model.
        options: of `jdetrt build`.
        plan: SHA-256 of the plan.
        gpu, tensorrt: of the board, as the plan's sidecar has them.
        date: of the build.
        fps: of the short benchmark; None without one.
    """

    model: str
    options: tuple[str, ...]
    plan: str
    gpu: str | None
    tensorrt: str
    date: str
    fps: float | None = None
