"""Size of the package by function: lines of code without docstrings, comments and blank lines.

    python scripts/size.py [ROOT]                 # this checkout, or another one
    python scripts/size.py ROOT --before COMMIT   # also that commit of ROOT, counted alike

"The same function" is everything but the modules of ``SINCE``, which hold functions that did not
exist at the commit compared with (df662ef for docs/adr/0016). A module that has both old and new
functions counts as old in full, so the figure for the same function is an upper limit.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections import Counter
from pathlib import Path

PARTS = ("jdetrt", "export", "engine", "runtime", "calibration", "training", "benchmarks")
_SKIP = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}
SINCE = {
    "Python API": ("jdetrt/api.py", "jdetrt/many.py"),
    "live sources and outputs": (
        *("runtime/live/", "runtime/sources/av_capture.py", "runtime/sources/network.py"),
        *("runtime/sources/finite.py", "runtime/sources/rate.py", "runtime/sources/status.py"),
        *("runtime/sinks/mqtt.py", "runtime/sinks/metrics.py", "runtime/sinks/rotation.py"),
        *("runtime/sinks/encoder.py", "runtime/sinks/target.py", "runtime/pyav.py"),
        *("jdetrt/cli/track/site.py", "jdetrt/passwords.py", "jdetrt/machine/gstreamer.py"),
    ),
    "recordings by manifest, on many machines": (
        *("jdetrt/recordings/", "jdetrt/cli/track/manifest.py"),
    ),
    "lines and zones": (
        *("runtime/events/", "runtime/sinks/draw_regions.py", "runtime/sinks/heat_map.py"),
    ),
    "time and camera motion": (
        *("runtime/camera_motion.py", "runtime/tracking/clock.py", "runtime/tracking/fused.py"),
        *("runtime/tracking/rivals.py", "benchmarks/rates.py", "benchmarks/camera_motion.py"),
        *("benchmarks/virtual_camera.py", "jdetrt/cli/bench/rates.py"),
    ),
    "Triton, DeepStream, fleets, adopted and refitted plans": (
        *("jdetrt/deploy/", "engine/triton.py", "engine/triton_url.py", "jdetrt/cli/deploy.py"),
        *("jdetrt/cli/fleet.py", "jdetrt/cli/adopt.py", "engine/tensorrt/adopt.py"),
        *("engine/tensorrt/refit.py", "jdetrt/cli/refit.py", "calibration/layer_map.py"),
    ),
    "damaged input, accounts": (
        *("jdetrt/account.py", "jdetrt/inputs.py", "jdetrt/documents.py"),
        *("jdetrt/cli/track/accounts.py", "runtime/sources/image_header.py"),
        *("runtime/confidences.py", "training/convert/mat_structure.py"),
        *("training/convert/names.py",),
    ),
    "self-test on a GPU, times of layers, graphs with pycuda": (
        *("benchmarks/selftest/", "jdetrt/cli/selftest/", "engine/tensorrt/profile.py"),
        *("engine/cuda/driver_graphs.py", "engine/cuda/exchange.py", "jdetrt/cli/inspect/plan.py"),
    ),
    "what a file is, and the next command": ("jdetrt/file_kind.py", "jdetrt/file_check.py"),
    "the network nanodet-g": (
        *("training/network/nanodet.py", "training/network/box_embedding.py"),
        *("training/losses/distance.py", "training/losses/distance_targets.py"),
        *("training/checkpoints/nanodet_weights.py", "training/colour_discriminant.py"),
        *("training/score_calibration.py", "export/distance_decode.py", "benchmarks/peers.py"),
    ),
    "training on own data": (
        *("training/curves.py", "training/tensorboard.py", "training/run_log.py"),
        *("training/data/classes.py", "training/data/coco_labels.py"),
        *("training/data/yolo_labels.py", "training/data/next_frames.py"),
        *("jdetrt/evaluation/mistakes.py", "jdetrt/evaluation/mistakes_page.py"),
    ),
}


def code_lines(text: str) -> int:
    """Lines that hold code: neither blank, nor comments, nor docstrings."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                documented.update(range(one.lineno, (one.end_lineno or one.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SKIP:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def count(root: Path) -> tuple[Counter[str], int, int]:
    """Lines of code by function of SINCE ("" for the same function); modules; lines of all."""
    code: Counter[str] = Counter()
    modules = lines = 0
    for path in sorted(file for part in PARTS for file in (root / part).rglob("*.py")):
        if any(folder.is_symlink() for folder in path.parents):
            continue
        name, text = path.relative_to(root).as_posix(), path.read_text()
        function = next((one for one, paths in SINCE.items() if name.startswith(paths)), "")
        code[function] += code_lines(text)
        lines += text.count("\n")
        modules += path.name != "__init__.py"
    return code, modules, lines


def at_commit(root: Path, commit: str) -> tuple[Counter[str], int, int]:
    """The same count for a commit of the repository at ``root``."""
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", commit], check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        return count(Path(folder))


def show(title: str, code: Counter[str], modules: int, lines: int) -> None:
    """Write a count to standard output."""
    sys.stdout.write(f"{title}: {modules} modules, {lines} lines, {code.total()} of code\n")
    for function, number in sorted(code.items(), key=lambda item: -item[1]):
        sys.stdout.write(f"  {number:6}  {function or 'the same function'}\n")


def main() -> None:
    """Write the sizes to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--before", metavar="COMMIT", help="also count this commit")
    given = parser.parse_args()
    if given.before:
        show(given.before, *at_commit(given.root, given.before))
    show(str(given.root), *count(given.root))


if __name__ == "__main__":
    main()
