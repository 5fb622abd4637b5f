"""Kill -9 at every rename of every command that writes: what stands there afterwards must open.

::

    python tests/oracles/killed.py -o benchmarks/results/kill-9.json

Each command writes an older good result first. Then it runs with other settings, in a child process
that kills itself right before it renames for the first time, right after it, before the second
time, and so on (and around each deletion of a result). Each time what stands at its outputs is
read. In the end it runs once more without being killed, over all that was left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from fake_tensorrt import Scenario, fake_tensorrt
from tiny_network import TinyBody, ship_tiny

from jdetrt import shipped
from jdetrt.cli import main as jdetrt
from jdetrt.engine.model import Model
from jdetrt.engine.tensorrt.builder import build as builder
from jdetrt.engine.tensorrt.compat import load
from jdetrt.engine.tensorrt.device import Device, platform_name
from jdetrt.engine.tensorrt.plan import Host, Plan
from jdetrt.files import write_json
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.training.data.datasets import open_data_set
from jdetrt.training.network import model
from jdetrt.types import Detections

_HIDDEN = ".jdetrt-"
_OTHERS = ("os.symlink", "os.link", "os.remove", "os.rmdir")  # beside os.rename
_ORIN = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")
_RECIPE = """
batch = 4
mixed_precision = false
frozen_norms = "all"
[network]
body = "tiny"
size = [64, 64]
embedding_dim = 8
[synthetic]
clips = 1
frames = 8
people = 3
size = [64, 64]
[schedule]
epochs = {epochs}
burn_in = 0
"""


@dataclass(frozen=True)
class Case:
    """A command, twice.

    Attributes:
        name: of the command.
        old: its arguments for the older result.
        new: those of the run that is killed.
        outputs: what it writes, each with what opens it; relative to the working folder.
        until: the older run is killed once this file is there; None for one that ends by itself.
    """

    name: str
    old: Sequence[str]
    new: Sequence[str]
    outputs: dict[str, Callable[[Path], object]]
    until: str | None = None


@dataclass
class Outcome:
    """Outcome of a case.

    Attributes:
        command: its name.
        kills: how often it was killed.
        opened: how often each output opened afterwards, all kills together.
        failed: what did not open, and why.
        leftovers: hidden files and folders that the killed runs left.
        after_next_run: those that stand there after a run that ended well.
        code: exit status of that run.
    """

    command: str
    kills: int = 0
    opened: int = 0
    failed: list[str] = field(default_factory=list)
    leftovers: int = 0
    after_next_run: list[str] = field(default_factory=list)
    code: int = 0


# ---- what opens an output ------------------------------------------------------------------


def _json(path: Path) -> object:
    return json.loads(path.read_text())


def _text(path: Path) -> object:
    text = path.read_text()
    assert text.endswith("\n"), "cut short"
    return text


def _model(path: Path) -> object:
    import onnx

    onnx.checker.check_model(onnx.load(path), full_check=True)
    return Model(path).metadata


def _checkpoint(path: Path) -> object:
    from jdetrt.training.checkpoints.checkpoint import load

    return load(path)


def _state(path: Path) -> object:
    import torch

    return torch.load(path, weights_only=True)


def _source(path: Path) -> object:
    with open_source(path) as source:
        frames = sum(1 for _ in source)
    assert frames, "no frames"
    return frames


def _image(path: Path) -> object:
    image = cv2.imread(str(path))
    assert image is not None, "is no image"
    return image


def _plan(path: Path) -> object:
    plan = Plan(path)
    plan.check(Host.here(load("tensorrt"), _ORIN))
    return plan.sidecar


def _data_set(path: Path) -> object:
    (listing,) = path.glob("*.train")
    data_set = open_data_set(listing)
    return [data_set[index] for index in range(len(data_set))]


# ---- the commands --------------------------------------------------------------------------


def _track(name: str, *more: str, **outputs: Callable[[Path], object]) -> Case:
    files = {"mot": "t.txt", "jsonl": "t.jsonl", "kitti": "k.txt", "video": "v.avi", "images": "F"}
    words = ["track", "clip", *more, "-q"]
    for option in outputs:
        words += [f"--{option}", files[option]]
    opened = {files[option]: opens for option, opens in outputs.items()}
    return Case(name, [*words, "--max-frames", "3"], words, opened)


_DETECTIONS = ("--detections", "clip/det/det.txt", "--preset", "iou")
_TRACK = {"mot": _text, "jsonl": _text, "kitti": _text, "video": _source, "images": _source}
_CALIBRATE = ["calibrate", "nano", "-o", "i.onnx", "--cpu-output", "c.onnx", "--source", "clip"]
_CALIBRATE += ["--calibration-cache", "cache", "--report", "R", "--json", "i.json"]
_CALIBRATE += ["--method", "min-max", "--all-layers", "--compare-frames", "2", "-q"]
_SWEEP = ["bench", "sweep", "--model", "nano", "--source", "clip", "--sizes", "128x96"]
_SWEEP += ["--top-k", "50", "--cool-down", "0", "--max-frames", "2", "--warm-up", "1"]
_SWEEP += ["-o", "sweep.json", "--repeats"]
_EXPORT = ["export", "nano", "-o", "m.onnx", "--size", "64x64", "--top-k"]
_BUILD = ["build", "nano", "-o", "m.plan", "--timing-cache", "timings", "-q", "--workspace"]
_LATENCY = [
    "bench",
    "latency",
    "clip",
    "--model",
    "nano",
    "--warm-up",
    "1",
    "--repeats",
    "1",
    "--json",
    "b.json",
]
_CONVERT = ["data", "convert", "ethz"]
_VERIFY = ["verify", "nano", "--against", "nano", "--source", "clip"]
_REPORT = ["-o", "p.html", "--markdown", "p.md", "--png", "p.png"]

QUICK = (
    _track("track --detections", *_DETECTIONS, jsonl=_text, images=_source),
    Case(
        "build", [*_BUILD, "100"], [*_BUILD, "200"], {"m.plan": _plan, "timings": Path.read_bytes}
    ),
    Case(
        "data convert",
        [*_CONVERT, "raw", "-o", "out"],
        [*_CONVERT, "raw2", "-o", "out"],
        {"out": _data_set},
    ),
)
SLOW = (
    _track("track", "--model", "nano", **_TRACK),
    Case(
        "track --save-config",
        ["track", "clip", "-q", "--max-frames", "1", "--save-config", "c.toml"],
        ["track", "clip", "-q", "--max-frames", "2", "--save-config", "c.toml", "--nms-iou", "0.6"],
        {"c.toml": lambda path: msgspec.toml.decode(path.read_bytes())},
    ),
    Case("export", [*_EXPORT, "40"], [*_EXPORT, "50"], {"m.onnx": _model}),
    Case(
        "calibrate",
        [*_CALIBRATE, "--max-frames", "2"],
        [*_CALIBRATE, "--max-frames", "3"],
        {
            "i.onnx": _model,
            "c.onnx": _model,
            "cache": _text,
            "i.json": _json,
            "R/report.json": _json,
            "R/frames.json": _json,
            "R/ranges.json": _json,
            "R/index.html": _text,
        },
    ),
    Case(
        "train --resume",
        ["train", "tiny.toml", "-o", "run", "--workers", "0", "--device", "cpu"],
        ["train", "tiny.toml", "-o", "run", "--workers", "0", "--device", "cpu", "--resume"],
        {
            "run/last.safetensors": _checkpoint,
            "run/best.safetensors": _checkpoint,
            "run/state.pt": _state,
            "run/log.csv": _text,
            "run/recipe.json": _json,
        },
        until="run/state.pt",
    ),
    Case("bench sweep", [*_SWEEP, "1"], [*_SWEEP, "2"], {"sweep.json": _json}),
    Case(
        "bench report",
        ["bench", "report", "sweep1.json", *_REPORT],
        ["bench", "report", "sweep2.json", *_REPORT],
        {"p.html": _text, "p.md": _text, "p.png": _image},
    ),
    Case(
        "bench latency",
        [*_LATENCY, "--max-frames", "2"],
        [*_LATENCY, "--max-frames", "3"],
        {"b.json": _json},
    ),
    Case(
        "demo",
        ["demo", "-o", "demo", "--max-frames", "3"],
        ["demo", "-o", "demo", "--max-frames", "5"],
        {"demo/clip": _source, "demo/tracks/clip.txt": Path.read_text, "demo/tracks.mp4": _source},
    ),
    *(
        Case(name, [*words, first], [*words, second], {output: _json})
        for name, words, first, second, output in (
            (
                "score",
                ["score", ".", "T", "--json", "s.json", "--rules"],
                "MOT16",
                "MOT17",
                "s.json",
            ),
            ("inspect", ["inspect", "--json", "n.json"], "nano", "nano:64x64", "n.json"),
            ("data check", ["data", "check", "--json", "d.json"], "clip", "clip2", "d.json"),
            (
                "data anchors",
                ["data", "anchors", "clip", "--json", "a.json", "--size"],
                "128x96",
                "64x64",
                "a.json",
            ),
            (
                "evaluate detection",
                ["evaluate", "detection", "nano", "--json", "e.json"],
                "clip",
                "clip2",
                "e.json",
            ),
            (
                "verify",
                [*_VERIFY, "--json", "v.json", "--max-frames"],
                "1",
                "2",
                "v.json",
            ),
            (
                "bench association",
                ["bench", "association", "--targets", "3", "--json", "as.json", "--max-frames"],
                "3",
                "4",
                "as.json",
            ),
        )
    ),
)


# ---- the harness ---------------------------------------------------------------------------


def prepare(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make what the commands read, and stand-ins of nano and of TensorRT."""
    _load_kernels()
    patch.setattr(model, "BODIES", {**model.BODIES, "tiny": TinyBody})
    patch.setattr(shipped, "FOLDER", folder / "shipped")
    tensorrt: Any = fake_tensorrt("10.3.0", Scenario())
    tensorrt.__spec__ = ModuleSpec("tensorrt", None)  # torch looks whether it is there
    patch.setitem(sys.modules, "tensorrt", tensorrt)
    patch.setattr(builder, "current_device", lambda: _ORIN)
    if not (folder / "shipped").exists():
        # In a process of its own: a fork of one with threads of torch may wait for them for ever.
        assert _in_child(lambda: _make(folder)) == 0


def _load_kernels() -> None:
    """Load the tracker's kernels here, and not in every child anew."""
    tracker, boxes = Tracker("iou"), np.array([[0, 0, 30, 60], [50, 0, 80, 60]], np.float32)
    for _ in range(4):
        tracker.update(Detections(boxes, np.ones(2, np.float32)))


def _make(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ship_tiny(folder / "shipped", patch)
    for name, frames in (("clip", 4), ("clip2", 3)):
        clip = SyntheticClip(frames=frames, size=(320, 192), people=3)
        write_sequence(folder / name, clip)
    (folder / "T").mkdir()
    rows = (folder / "clip" / "gt" / "gt.txt").read_text().splitlines()
    for name in ("clip", "clip2"):
        (folder / "T" / f"{name}.txt").write_text(
            "".join(f"{','.join(row.split(',')[:6])},1,-1,-1,-1\n" for row in rows if row[0] < "4")
        )
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    for number, name in enumerate(("nano", "darknet53"), start=1):
        shutil.copy(results / f"sweep-{name}-epyc-2core.json", folder / f"sweep{number}.json")
    (folder / "tiny.toml").write_text(_RECIPE.format(epochs=2))
    for name, count in (("raw", 2), ("raw2", 3)):
        for number in range(count):
            image = folder / name / "bahnhof" / f"image_0000000{number}_0.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(next((folder / "clip" / "img1").iterdir()), image)
        (folder / name / "bahnhof" / "annot.idl").write_text(
            ";\n".join(
                f'"left/image_0000000{number}_0.png": (5, 10, 25, 40):-1' for number in range(count)
            )
            + "."
        )


def kill_everywhere(case: Case, folder: Path) -> Outcome:
    """Run a case in ``folder``, which `prepare` made."""
    work = folder / "work"
    work.mkdir()
    for path in folder.iterdir():
        if path.name not in ("work", "shipped", "tmp"):
            (work / path.name).symlink_to(path)
    tmp = folder / "tmp"
    outcome = Outcome(case.name)
    given = {path.name for path in work.iterdir()}
    status = _run(case.old, work, tmp, until=case.until)
    assert status == (0 if case.until is None else -signal.SIGKILL), (case.name, status)
    older = folder / "older"
    _copy(work, older, given)
    while True:
        status = _run(case.new, work, tmp, outcome.kills + 1)
        if status != -signal.SIGKILL:
            break
        outcome.kills += 1
        for name, opens in case.outputs.items():
            reason = _refusal(opens, work / name)
            outcome.opened += reason is None
            outcome.failed += [f"kill {outcome.kills}, {name}: {reason}"] * (reason is not None)
        for path in list(work.iterdir()):
            if path.name not in given and _HIDDEN not in path.name:
                _remove(path)
        _copy(older, work, set())
    outcome.leftovers = len(list(_leftovers(work, tmp)))
    if not outcome.leftovers:  # they went with the folders that were put back
        _run(case.new, work, tmp, 1)
        outcome.leftovers = len(list(_leftovers(work, tmp)))
    outcome.code = _run(case.new, work, tmp)
    outcome.after_next_run = sorted(path.name for path in _leftovers(work, tmp))
    for name, opens in case.outputs.items():
        opens(work / name)
    for each in (work, older, tmp):
        shutil.rmtree(each, ignore_errors=True)
    return outcome


def _refusal(opens: Callable[[Path], object], path: Path) -> str | None:
    try:
        opens(path)
    except Exception as err:  # whatever a damaged file makes it raise
        return f"{type(err).__name__}: {err}"
    return None


def _leftovers(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            if _HIDDEN in path.name and not any(_HIDDEN in above.name for above in path.parents):
                yield path


def _copy(source: Path, target: Path, without: set[str]) -> None:
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.name in without or _HIDDEN in path.name:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, target / path.name, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(path, target / path.name, follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _run(
    arguments: Sequence[str],
    work: Path,
    tmp: Path,
    kill_at: int | None = None,
    until: str | None = None,
) -> int:
    """Exit status of a command in a child process, which may be killed at its n-th event."""

    def command() -> None:
        tmp.mkdir(exist_ok=True)
        os.chdir(work)
        os.environ.update(TMPDIR=str(tmp), XDG_CACHE_HOME=str(tmp))
        tempfile.tempdir = None
        log = os.open("child.log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        if kill_at is not None or until is not None:
            _watch(kill_at, until)
        jdetrt(list(arguments))

    return _in_child(command)


def _in_child(call: Callable[[], None]) -> int:
    """Exit status of a call in a child process; below zero for the signal that killed it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a test may have left a thread
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code: Any = 0
    try:
        call()
    except SystemExit as end:
        code = end.code or 0
    except BaseException as err:
        sys.stderr.write(f"{err!r}\n")
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _watch(kill_at: int | None, until: str | None) -> None:
    count, just_changed = 0, False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count, just_changed
        if event == "os.kill":
            return
        changes = event == "os.rename" or (event in _OTHERS and _is_result(args))
        count += changes + just_changed  # right before it, and right after the one before
        just_changed = changes
        if count >= (kill_at or sys.maxsize) or (until is not None and Path(until).exists()):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _is_result(args: tuple[Any, ...]) -> bool:
    """Tell whether a change is of what others see: no hidden file, nothing within a folder."""
    paths = [os.fsdecode(arg) for arg in args if isinstance(arg, str | bytes | os.PathLike)]
    return not any(_HIDDEN in path for path in paths) and args[-1] == -1


def main() -> None:
    """Run all and write the table; what stands in it already is not run again."""
    assert sys.argv[1] == "-o"
    output = Path(sys.argv[2])
    rows = json.loads(output.read_text())["rows"] if output.exists() else []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        prepare(Path(folder), patch)
        for case in (*QUICK, *SLOW):
            if all(row["command"] != case.name for row in rows):
                rows.append(asdict(kill_everywhere(case, Path(folder))))
                write_json(output, _table(rows))


def _table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "benchmark": "kill-9",
        "platform": platform_name(),
        "commands": len(rows),
        "kills": sum(row["kills"] for row in rows),
        "opened": sum(row["opened"] for row in rows),
        "failed": sum(len(row["failed"]) for row in rows),
        "leftovers": sum(row["leftovers"] for row in rows),
        "after_next_run": sum(len(row["after_next_run"]) for row in rows),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
