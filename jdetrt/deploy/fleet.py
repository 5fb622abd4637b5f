"""Builds for many boards: each builds its own plan, which is fetched and kept here."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

import msgspec

from jdetrt.deploy.board import Board, BoardError, BoardState, Connection
from jdetrt.documents import decode_json, read_json
from jdetrt.engine.model import Model
from jdetrt.engine.tensorrt.plan import Plan, sidecar_path
from jdetrt.errors import ConfigError, JdetrtError
from jdetrt.file_kind import FileKind
from jdetrt.files import write_json, write_text
from jdetrt.inputs import sha256
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["BoardReport", "build_fleet", "fleet_status"]

_MODEL, _PLAN, _CLIP = "model.onnx", "model.plan", "clip"  # names on a board
_RECORD = "board.json"
_AT_ONCE = 16  # boards


class BoardReport(msgspec.Struct, kw_only=True):
    """Report on a board.

    Attributes:
        board: its name.
        state: of `build_fleet` "built", "up to date" or "failed"; of `fleet_status` "up to date",
            "older model", "other plan" (there than was built), "not built" or "unreachable".
        error: why, where it failed.
        result: of the last build; None where there was none.
    """

    board: str
    state: str
    error: str | None = None
    result: BoardState | None = None


class _Row(msgspec.Struct):
    system_fps: float


class _Latency(msgspec.Struct):
    """Part of the result of `jdetrt bench latency`."""

    rows: list[_Row]


def build_fleet(
    model: str | Path,
    boards: Mapping[str, Board],
    folder: Path,
    *,
    clip: Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> list[BoardReport]:
    """Build a model on every board, all at once, and fetch the plans.

    A board whose plan of this model and these options is here and there is left alone, so that a
    call that was broken off goes on where it was. A board that fails stops no other.

    Args:
        model: an ONNX model.
        boards: by name.
        folder: for the plans: ``folder/BOARD/model.plan`` with its sidecar and ``board.json``.
        clip: a video that every board tracks for a short benchmark; None for none.
        progress: told of each board that is done.

    Returns:
        A report for each board, in their order.

    Raises:
        ConfigError: the model is no ONNX model.
        SessionError: it cannot be read.
    """
    opened = _onnx(model)
    progress.start("Boards", len(boards))
    done = count(1)

    def build(name: str, board: Board) -> BoardReport:
        try:
            return _build(opened, Connection(name, board), folder / name, clip)
        except JdetrtError as err:
            return BoardReport(board=name, state="failed", error=str(err))
        finally:
            progress.advance("Boards", next(done))

    reports = _each(boards, build)
    progress.finish("Boards")
    return reports


def fleet_status(model: str | Path, boards: Mapping[str, Board], folder: Path) -> list[BoardReport]:
    """Compare what runs on the boards with what should.

    Args:
        model: the ONNX model that should run.
        boards: by name.
        folder: of `build_fleet`.

    Raises:
        ConfigError, SessionError: as `build_fleet`.
    """
    opened = _onnx(model)

    def status(name: str, board: Board) -> BoardReport:
        record = _record(folder / name)
        try:
            there = Connection(name, board).sha256(_PLAN)
        except BoardError as err:
            return BoardReport(board=name, state="unreachable", error=str(err), result=record)
        if record is None or there is None:
            state = "not built"
        elif record.plan != there:
            state = "other plan"
        elif (record.model, record.options) != (opened.sha256, board.build):
            state = "older model"
        else:
            state = "up to date"
        return BoardReport(board=name, state=state, result=record)

    return _each(boards, status)


def _onnx(model: str | Path) -> Model:
    opened = Model(model, ConfigError)
    if opened.kind is not FileKind.ONNX:
        raise ConfigError(
            f"{opened.path}: expected an ONNX model of `jdetrt export`; each board builds its own "
            "plan of it"
        )
    return opened


def _each(
    boards: Mapping[str, Board], work: Callable[[str, Board], BoardReport]
) -> list[BoardReport]:
    with ThreadPoolExecutor(min(_AT_ONCE, len(boards))) as pool:
        return list(pool.map(work, boards, boards.values()))


def _build(model: Model, board: Connection, folder: Path, clip: Path | None) -> BoardReport:
    record = _record(folder)
    options = board.board.build
    if (
        record is not None
        and (record.model, record.options) == (model.sha256, options)
        and (clip is None or record.fps is not None)
        and _hash(folder / _PLAN) == record.plan == board.sha256(_PLAN)
    ):
        return BoardReport(board=board.name, state="up to date", result=record)
    for file in model.files:  # beside the model those of its weights, by the names that it knows
        name = _MODEL if file == model.path else file.name
        if board.sha256(name) != sha256(file):
            board.send(file, name)
    words = [*shlex.split(board.board.command), "build", _MODEL, "-o", _PLAN, *options]
    board.run(f"{shlex.join(words)} >&2")
    plan = folder / _PLAN
    board.fetch(sidecar_path(Path(_PLAN)).name, sidecar_path(plan))
    board.fetch(_PLAN, plan)
    host = Plan(plan).sidecar.host
    state = BoardState(
        model=model.sha256,
        options=options,
        plan=sha256(plan),
        gpu=host.gpu,
        tensorrt=host.tensorrt,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        fps=None if clip is None else _benchmark(board, clip, folder),
    )
    write_json(folder / _RECORD, msgspec.to_builtins(state))
    return BoardReport(board=board.name, state="built", result=state)


def _benchmark(board: Connection, clip: Path, folder: Path) -> float:
    """Track a clip on the board; its JSON is kept beside the plan."""
    name = f"{_CLIP}{clip.suffix}"
    if board.sha256(name) != sha256(clip):
        board.send(clip, name)
    command = shlex.split(board.board.command)
    words = [*command, "bench", "latency", name, "--model", _PLAN, "--json", "-"]
    text = board.run(shlex.join(words))
    try:
        fps = decode_json(text, _Latency).rows[0].system_fps
    except (ValueError, IndexError) as err:
        raise BoardError(f"{board.name}: its benchmark cannot be read ({err})") from err
    write_text(folder / "latency.json", text)
    return fps


def _record(folder: Path) -> BoardState | None:
    path = folder / _RECORD
    return (
        read_json(path, BoardState, ConfigError, "the record of a build on a board")
        if path.exists()
        else None
    )


def _hash(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None
