"""Every reader of jdetrt with a good file, and what a sound value of it is.

To add a reader, add a `Reader` to one of the lists: a function that writes a good file, the one
that reads it, and one that tells why what was read is not sound.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import scipy.io
import torch
from harness import Reader
from raw_data import seq
from small_onnx import write_external_onnx, write_small_onnx
from sound import all_of, finite, within
from tiny_network import EMBEDDING_DIM, SIZE, TinyBody

from jdetrt import file_check, file_kind
from jdetrt.benchmarks import compare
from jdetrt.benchmarks.report import page
from jdetrt.benchmarks.result import Result, read_result
from jdetrt.calibration.frames.frame_list import ChosenFrame, FrameList
from jdetrt.calibration.quantize.layers import read_model
from jdetrt.calibration.ranges.ranges import Range, Ranges
from jdetrt.calibration.ranges.statistics import Statistics
from jdetrt.calibration.record import CalibrationRecord
from jdetrt.cli.track.site import Site, read_site
from jdetrt.config import AnyTrackerConfig, IouConfig, load
from jdetrt.deploy.board import read_boards
from jdetrt.engine.model import Model
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.timing_cache import use_timings
from jdetrt.engine.tensorrt.calibration_cache import CalibrationCache, read_cache, write_cache
from jdetrt.engine.tensorrt.layers import Compiled, Layer, layers_path, read_layers
from jdetrt.engine.tensorrt.plan import FileFacts, Host, Plan, Sidecar
from jdetrt.errors import JdetrtError
from jdetrt.export import describe
from jdetrt.files import write_json
from jdetrt.runtime.events.edit import drawn_regions
from jdetrt.runtime.events.regions import Regions
from jdetrt.runtime.mot.files import MotRows, read_mot
from jdetrt.runtime.mot.public_detections import read_detections
from jdetrt.runtime.sources.images import read_image
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.sources.seqinfo import SequenceInfo, read_seqinfo
from jdetrt.training.checkpoints import checkpoint, reference
from jdetrt.training.checkpoints.state_dict import fitting
from jdetrt.training.checkpoints.torch_file import read_torch, weights_in
from jdetrt.training.convert import caltech, citypersons, cuhk_sysu, eth
from jdetrt.training.curves import write_curves
from jdetrt.training.data.coco_labels import read_coco
from jdetrt.training.data.labels import Labels, read_labels, text_lines
from jdetrt.training.data.yolo_labels import class_names, read_yolo
from jdetrt.training.network import model
from jdetrt.training.progress import Table
from jdetrt.training.recipe import RECIPES, open_recipe
from jdetrt.training.run_folder import read_state, write_state
from jdetrt.types import TensorSpec

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_SHA = "0" * 64
_SPEC = TensorSpec("images", "float32", (1, 3, 32, 64))


def _text(text: str) -> Any:
    return lambda path: path.write_text(text)


def _copied(source: Path) -> Any:
    return lambda path: shutil.copyfile(source, path)


# ---- settings --------------------------------------------------------------------------------


def _tracker(path: Path) -> None:
    values = msgspec.to_builtins(IouConfig())
    path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))


def _same_again(value: Any) -> str | None:
    """Settings are within the limits that their types state."""
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=type(value))
    except msgspec.ValidationError as err:
        return str(err)
    return None


_REGIONS = """size = [1920, 1080]
min_age = 2
[[line]]
name = "door"
points = [[100.0, 500], [800, 500]]
[[zone]]
name = "queue"
points = [[0, 0], [10.5, 0], [10, 10]]
dwell = 3.0
"""

_DRAWN = '{"line": [{"name": "door", "points": [[0.1, 0.5], [0.8, 0.5]]}], "ignore": []}'
_SITE = """model = "nano"
reconnect_for = 60.0
[stream.door]
source = "rtsp://10.0.0.7/door"
mot = "door.txt"
frame_rate = 25.0
[stream."yard 2"]
source = "yard.mp4"
"""
_BOARDS = """[board.one]
host = "user@10.0.0.7"
build = ["--precision", "fp16"]
timeout = 30.0
[board.two]
container = ["docker", "exec", "two"]
"""


def _drawn(path: Path) -> Regions:
    return drawn_regions(Regions(), path.read_bytes())


def _names(value: Mapping[str, Any]) -> str | None:
    """Files are named after them: each is one part of a path."""
    for name in value:
        if name in ("", ".", "..") or len(Path(name).parts) != 1 or "\n" in name:
            return f"the name {name!r}"
    return None


def _site_names(value: Site | None) -> str | None:
    return None if value is None else _names(value.stream)


SETTINGS = [
    Reader(
        "tracker settings",
        ".toml",
        _tracker,
        lambda path: load(path, AnyTrackerConfig),  # type: ignore[arg-type]
        all_of(finite, _same_again),
    ),
    Reader(
        "recipe",
        ".toml",
        lambda path: path.write_text(
            'base = "nano"\nsizes = [[576, 320]]\n[[data]]\npath = "a"\nrepeat = 2\n'
            "[schedule]\nepochs = 3\nfinal = 0.02\n"
            if "nano" in RECIPES
            else "epochs = 3"
        ),
        open_recipe,
        all_of(finite, _same_again),
    ),
    Reader("regions", ".toml", _text(_REGIONS), Regions.read, all_of(finite, _same_again)),
    Reader("drawn regions", ".json", _text(_DRAWN), _drawn, all_of(finite, _same_again)),
    Reader("site", ".toml", _text(_SITE), read_site, all_of(finite, _site_names)),
    Reader("boards", ".toml", _text(_BOARDS), read_boards, all_of(finite, _names)),
]

# ---- JSON ------------------------------------------------------------------------------------


def _presented(path: Path) -> Result[Any]:
    """Read a result as ``bench report`` and ``compare`` do."""
    result = read_result(path)
    if result.measured:
        page.html_report(result)
        page.markdown_report(result)
        compare.compare(result, result)
    return result


def _rates(result: Result[Any]) -> str | None:
    for row in result.rows:
        if min(row.size) < 1 or any(run.system_fps <= 0 for run in row.runs):
            return f"{row}: {row.system_fps} FPS"
    return None


def _frame_list(path: Path) -> None:
    frames = tuple(ChosenFrame(f"{i}.mp4", i, "", _SHA, 99.5, i) for i in range(1, 5))
    write_json(path, FrameList(seed=1, asked=4, network_size=(64, 32), frames=frames))


def _frame_numbers(value: FrameList) -> str | None:
    for frame in value.frames:
        if frame.index < 1 or not 0 <= frame.brightness <= 255 or (frame.people or 0) < 0:
            return str(frame)
    return within(1, min(value.network_size), 1 << 20, "network size")


def _ranges(path: Path) -> None:
    tensors = {name: Range(-1.5, 2.5, 2.25) for name in ("a", "b/c")}
    ranges = Ranges(
        method="entropy", model_sha256=_SHA, frames_sha256=_SHA, frames=3, tensors=tensors
    )
    write_json(path, ranges)


def _ordered(value: Ranges) -> str | None:
    bad = [one for one in value.tensors.values() if not (one.low <= one.high and one.limit >= 0)]
    scales = value.scales().values()
    return str(bad[0]) if bad else None if all(scale > 0 for scale in scales) else "a scale of 0"


_SIDECAR = Sidecar(
    host=Host(
        backend="tensorrt",
        tensorrt="10.3.0",
        platform="linux-aarch64",
        gpu="Orin",
        compute_capability="8.7",
        cuda="12.6",
        l4t="36.4.3",
    ),
    model=FileFacts(name="a.onnx", sha256=_SHA, bytes=1),
    plan=FileFacts(name="a.plan", sha256=_SHA, bytes=4),
    options=BuildOptions(batch=(1, 2, 4)),
    typing="strong",
    precision="fp16",
    inputs=(_SPEC,),
    outputs=(TensorSpec("boxes", "float32", (1, 100, 4)),),
    calibration=None,
    workspace_mib=512,
    fallback=(),
    metadata={"tracker": '{"preset":"iou"}'},
    build_seconds=1.5,
)


def _sidecar(path: Path) -> None:
    path.with_suffix("").write_bytes(b"ftrt")
    write_json(path, _SIDECAR)


def _layers(path: Path) -> None:
    layer = Layer(name="conv", kind="correlation", inputs=(_SPEC,), tactic="t", nodes=("n",))
    layers = Compiled(
        layers=(layer,), activations=1, weights=2, source="build log", plan_sha256=_SHA
    )
    write_json(layers_path(path.with_name("input")), layers)


def _caltech_json(path: Path) -> None:
    person = {"lbl": "person", "id": 1, "pos": [1.5, 2, 30, 60], "occl": 0, "posv": [0, 0, 0, 0]}
    path.write_text(json.dumps({"set00": {"V000": {"frames": {"0": [person], "3": [person]}}}}))


def _citypersons_json(path: Path) -> None:
    one = {"label": "pedestrian", "bbox": [1, 2, 30, 60.5]}
    folder = path.parent / "gt" / "city"
    folder.mkdir(parents=True)
    path.write_text(json.dumps({"objects": [one, {**one, "label": "ignore"}]}))
    (folder / "a_gtBboxCityPersons.json").symlink_to(path)


def _coco_json(path: Path) -> None:
    (path.parent / "a.png").write_bytes(b"")
    one = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 60.5], "iscrowd": 0, "track_id": 4}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [one, {**one, "iscrowd": 1, "track_id": None}],
        "categories": [{"id": 1, "name": "person"}],
    }
    path.write_text(json.dumps(content))


def _pixel_fault(labels: Labels) -> str | None:
    boxes = np.concatenate([labels.boxes, labels.ignore])
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        return "a box is not one"
    return "an id below -1" if (labels.ids < -1).any() else None


JSON = [
    Reader(
        "bench sweep",
        ".json",
        _copied(RESULTS / "sweep-darknet53-epyc-2core.json"),
        _presented,
        all_of(finite, _rates),
    ),
    Reader(
        "bench latency",
        ".json",
        _copied(RESULTS / "latency-nano-epyc-2core.json"),
        _presented,
        all_of(finite, _rates),
    ),
    Reader("frame list", ".json", _frame_list, FrameList.read, all_of(finite, _frame_numbers)),
    Reader("INT8 ranges", ".json", _ranges, Ranges.read, all_of(finite, _ordered)),
    Reader(
        "calibration report",
        ".json",
        _copied(RESULTS / "int8-nano.json"),
        CalibrationRecord.read,
        finite,
        share=0.5,
    ),
    Reader(
        "sidecar of a plan",
        ".plan.json",
        _sidecar,
        lambda path: (Plan(path.with_suffix("")).sidecar, Model(path.with_suffix("")).size),
        finite,
    ),
    Reader(
        "layers of a plan",
        ".layers.json",
        _layers,
        lambda path: read_layers(path.with_name("input"), _SHA),
        finite,
    ),
    Reader(
        "Caltech annotations",
        ".json",
        _caltech_json,
        lambda path: list(caltech._from_json(path, ["set00"])),
        finite,
    ),
    Reader(
        "CityPersons annotations",
        ".json",
        _citypersons_json,
        lambda path: list(citypersons._from_json(path.parent / "gt")),
        finite,
    ),
    Reader(
        "COCO annotations",
        ".json",
        _coco_json,
        lambda path: [one for _, one in read_coco(path, path.parent, None, Counter())[0]],
        lambda labels: next(filter(None, map(_pixel_fault, labels)), None),
    ),
]


def _class_names(path: Path) -> dict[int, str]:
    """The names in a file, which is read under its usual name."""
    folder = path.parent / "yolo"
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").unlink(missing_ok=True)
    (folder / "data.yaml").symlink_to(path)
    return class_names(folder)[1]


def _curves(path: Path) -> str:
    """The page of a log and a validation of the same content."""
    write_curves(path, path, "Training", "facts", 2, 2)
    return path.with_name("curves.html").read_text(encoding="utf-8")


# ---- text ------------------------------------------------------------------------------------

_MOT = "".join(
    f"{f},{i},{10.5 + f},{20 + i},30.25,60,0.9,-1,-1,-1\n" for f in (1, 2) for i in (1, 2)
)


def _rows(rows: MotRows) -> str | None:
    if len(rows) and (rows.frames.min() < 1 or (rows.boxes[:, 2:] <= 0).any()):
        return "a frame before 1, or a box without an area"
    shapes = {len(rows.frames), len(rows.ids), len(rows.boxes), len(rows.scores), len(rows.lines)}
    return None if len(shapes) == 1 else "arrays of different lengths"


def _scores(seen: Any) -> str | None:
    for detections in seen.values():
        if ((detections.scores < 0) | (detections.scores > 1)).any():
            return "a score beyond 0 to 1"
    return finite(seen)


def _label_fault(labels: Labels) -> str | None:
    sides = labels.boxes[:, 2:] - labels.boxes[:, :2]
    if (sides < 0).any() or (labels.ids < -1).any() or (abs(labels.boxes) > 4).any():
        return "a box or an id that cannot be"
    return None


def _info_fault(info: SequenceInfo) -> str | None:
    inside = Path("/root") / info.image_dir
    if ".." in inside.parts or not inside.is_relative_to("/root") or "/" in info.extension:
        return f"{info.image_dir}, {info.extension}"
    return within(1e-3, info.frame_rate, 1e3, "frame rate") or within(1, info.length, 1e6, "length")


def _scales(cache: CalibrationCache) -> str | None:
    bad = [scale for scale in cache.scales.values() if scale < 0]
    return f"{bad[0]}" if bad else within(0, cache.number, 1e7, "version")


class _Timings:
    """The parts of TensorRT's ``IBuilderConfig`` that a timing cache needs."""

    def create_timing_cache(self, data: bytes) -> bytes | None:
        return data if not data or data.startswith(b"timing") else None

    def set_timing_cache(self, cache: bytes, ignore: bool) -> bool:
        return True


TEXT = [
    Reader("MOT text", ".txt", _text(_MOT), read_mot, all_of(finite, _rows)),
    Reader(
        "MOT ground truth",
        ".txt",
        _text("1,1,10,20,30,60,1,1,0.5\n2,1,11,20,30,60,1,1,1\n2,2,11,20,30,60,0,7,0\n"),
        read_mot,
        all_of(finite, _rows),
    ),
    Reader("detections", ".txt", _text(_MOT.replace(",-1,-1", "")), read_detections, _scores),
    Reader(
        "labels",
        ".txt",
        _text("0 5 0.5 0.5 0.25 0.5\n0 -1 0.1 0.2 0.05 0.125\n"),
        read_labels,
        all_of(finite, _label_fault),
    ),
    Reader(
        "YOLO labels",
        ".txt",
        _text("0 0.5 0.5 0.25 0.5\n2 0.1 0.2 0.05 0.125\n"),
        lambda path: read_yolo(path, 0, Counter()),
        all_of(finite, _label_fault),
    ),
    Reader(
        "YOLO class names",
        ".yaml",
        _text("path: .\nnc: 2\nnames:\n  0: person\n  1: 'car'  # any\n"),
        lambda path: _class_names(path),
        lambda names: None if all(number >= 0 for number in names) else "a negative class",
    ),
    Reader(
        "image list",
        ".train",
        _text("a/images/1.jpg\na/images/2.jpg\n"),
        lambda path: list(text_lines(path)),
        lambda lines: next((f"{line!r}" for _, line in lines if "\n" in line), None),
    ),
    Reader(
        "seqinfo.ini",
        ".ini",
        _text(
            "[Sequence]\nname=A-01\nimDir=img1\nframeRate=30\nseqLength=5\nimWidth=64\n"
            "imHeight=48\nimExt=.jpg\n"
        ),
        read_seqinfo,
        all_of(finite, _info_fault),
    ),
    Reader(
        "calibration cache",
        ".cache",
        lambda path: write_cache(path, {"images": 0.5, "a:b": 2.0, "c": 1e-3}, "8.5.3"),
        read_cache,
        all_of(finite, _scales),
    ),
    Reader(
        "timing cache",
        ".cache",
        lambda path: path.write_bytes(b"timing" + bytes(100)),
        lambda path: use_timings(_Timings(), path),
        lambda cache: None if isinstance(cache, bytes) else "no cache",
    ),
    Reader(
        "ETH annotations",
        ".idl",
        lambda path: (
            (path.parent / "image_1_0.png").write_bytes(b""),
            path.write_text('"left/image_1_0.png": (1, 2, 30, 60):-1, (5.5, 2, 3, 60):-1;\n' * 3),
        ),
        lambda path: [(one.name, one.boxes) for one in eth._frames(path)],
        finite,
    ),
    Reader(
        "curves of a training run",
        ".csv",
        _text("epoch,step,rate,total,box/8\r\n1,1,0.1,2.5,0.5\r\n2,1,0.1,2,0.125\r\n"),
        _curves,
        lambda text: "no page" if "</html>" not in text or "nan" in text else None,
    ),
    Reader(
        "training log",
        ".csv",
        _text("epoch,step,total,box\r\n0,1,2.5,0.5\r\n0,2,2.25,0.25\r\n1,1,2,0.125\r\n"),
        lambda path: Table(path, resume=(0, 2)).columns,
        lambda columns: None,
    ),
]

# ---- models ----------------------------------------------------------------------------------


def _onnx(path: Path) -> None:
    write_small_onnx(path, tracker='{"preset":"iou"}', anchors="[[1, 2]]", note="nötig")


def _described(path: Path) -> Any:
    one = Model(path)
    return file_kind.kind_of(path), one.metadata, one.size, one.sha256, len(one.files)


def _is_text(value: Any) -> str | None:
    _, metadata, size, sha256, _ = value
    if not all(isinstance(part, str) for item in metadata.items() for part in item):
        return "metadata that is no text"
    if size is not None and not (min(size) >= 1 and max(size) < 2**31):
        return f"size {size}"
    return None if len(sha256) == 64 else "no hash"


def _onnx_bombs() -> Iterator[bytes]:
    yield b"\xff" * (1 << 20)
    yield b"\x08\x08\x12" + b"\xff" * (1 << 20)
    yield b"\x08\x00" * (2 << 20)
    yield b"\x0a\x08location\x12\x03a\0b" * 10
    yield b"\x08\x08\x12\x00\x0a\x08location\x12\x09../../etc"


def _by_onnx(path: Path) -> Any:
    content = describe._describe_onnx(path)
    read_model(path)
    return msgspec.to_builtins(content)


def _cache_of_counts(path: Path) -> None:
    statistics = Statistics(("a", "b"))
    statistics.low[:], statistics.high[:] = -1, 2
    statistics.elements[:], statistics.counts[:] = 10, 3
    statistics.passes, statistics.frames = 1, 2
    statistics.write(path, {"model": _SHA})


def _counts(statistics: Statistics) -> str | None:
    if statistics.counts.shape != (2, 4096) or statistics.low.shape != (2,):
        return "another shape"
    if (statistics.counts < 0).any() or statistics.frames < 0 or not 0 <= statistics.passes <= 2:
        return "a negative count"
    started = statistics.frames or statistics.passes
    ordered = (statistics.low <= statistics.high).all()
    return finite([statistics.low, statistics.high]) if started and ordered else None


def _archive_bombs() -> Iterator[bytes]:
    for name in ("counts.npy", "head.npy", "a/data.pkl"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, bytes(64 << 20))
        yield out.getvalue()
    header = np.lib.format.magic(1, 0) + struct.pack("<H", 118)
    text = b"{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999,), }"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("head", "low", "high", "elements", "counts"):
            archive.writestr(f"{name}.npy", header + text.ljust(117) + b"\n")
    yield out.getvalue()


def _tiny(path: Path) -> None:
    model.BODIES = {**model.BODIES, "tiny": TinyBody}
    checkpoint.save(path, model.random_network(3, "tiny", EMBEDDING_DIM), size=SIZE, identities=9)


def _loaded(path: Path) -> Any:
    torch.set_num_threads(1)  # OpenMP does not outlive a fork
    network, info = checkpoint.load(path)
    return network.state_dict(), info


def _safetensors_bombs() -> Iterator[bytes]:
    yield (1 << 40).to_bytes(8, "little") + b"{}"
    for header in (
        b'{"__metadata__":' + b"[" * 5000 + b"}",
        b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}',
        b'{"__metadata__":{"format":"jdetrt-checkpoint-1","config":"{\\"embedding_dim\\":99999999}"}}',
        b'{"__metadata__":{"format":"jdetrt-checkpoint-1","config":"[[[[[[[[[["}}',
    ):
        yield len(header).to_bytes(8, "little") + header


def _state_dict(path: Path) -> None:
    torch.manual_seed(0)
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    torch.save({"epoch": 3, "ema": {f"module._orig_mod.{k}": v for k, v in state.items()}}, path)


def _weights(path: Path) -> Any:
    torch.set_num_threads(1)
    wanted = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = weights_in(read_torch(path), path)
    if state is None:
        raise JdetrtError("no weights")
    return fitting(wanted, state, path, "a network", {})


def _torch_bombs() -> Iterator[bytes]:
    for value in (
        {"0.weight": torch.zeros(1).expand(1 << 30, 4)},
        {"model": {"module_list.83.conv_83.weight": torch.zeros(1).expand(1 << 20, 512, 3, 3)}},
        {"state_dict": {"0.weight": torch.full((4, 3, 3, 3), float("nan"))}},
        [[[[1]]]],
        {"model": torch.nn.Linear(1, 1)},
    ):
        out = io.BytesIO()
        torch.save(value, out)
        yield out.getvalue()
    yield from _archive_bombs()


class _NoData:
    identities = 9

    def __len__(self) -> int:
        return 12


def _run_state(path: Path) -> None:
    state = {"epoch": 1, "step": 2, "best": 0.5, "validated": 1, "means": {"box": [1.0]}}
    write_state(path, state, open_recipe("nano"), _NoData())  # type: ignore[arg-type]


MODELS = [
    Reader("ONNX", ".onnx", _onnx, _described, _is_text, _onnx_bombs),
    Reader(
        "ONNX, weights beside it",
        ".onnx",
        lambda path: write_external_onnx(path, "weights.bin"),
        _described,
        _is_text,
        _onnx_bombs,
    ),
    Reader("ONNX by its package", ".onnx", _onnx, _by_onnx, finite, _onnx_bombs, share=0.5),
    Reader(
        "INT8 state",
        ".state",
        _cache_of_counts,
        lambda path: Statistics.read(path, {"model": _SHA}, ("a", "b")),
        _counts,
        _archive_bombs,
    ),
    Reader("checkpoint", ".safetensors", _tiny, _loaded, finite, _safetensors_bombs, share=0.5),
    Reader("torch weights", ".pt", _state_dict, _weights, finite, _torch_bombs, share=0.5),
    Reader(
        "reference checkpoint",
        ".pt",
        _state_dict,
        lambda path: _refused_at_last(lambda: reference.read_reference(path)),
        finite,
        _torch_bombs,
        share=0.3,
    ),
    Reader(
        "state of a run",
        ".pt",
        _run_state,
        lambda path: read_state(path, open_recipe("nano"), _NoData()),  # type: ignore[arg-type]
        lambda state: None if isinstance(state, dict) else "no dict",
        _torch_bombs,
        share=0.5,
    ),
    Reader(
        "kind of a file",
        ".bin",
        _onnx,
        lambda path: [
            str(_refused_at_last(lambda: file_check.check(path, purpose)))  # noqa: B023
            for purpose in ("track", "export", "inspect")
        ],
        lambda kind: None,
        lambda: (*_onnx_bombs(), *_archive_bombs(), *_safetensors_bombs()),
    ),
]


def _refused_at_last(read: Any) -> Any:
    """Read what no small file can satisfy: a refusal is as good as a value."""
    try:
        return read()
    except JdetrtError as err:
        if "\n" in str(err):
            raise AssertionError(str(err)) from err
        return None


# ---- images, videos, MATLAB --------------------------------------------------------------------

_NOISE = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


def _encoded(suffix: str, *options: int) -> Any:
    def make(path: Path) -> None:
        ok, data = cv2.imencode(suffix, _NOISE, list(options))
        assert ok
        path.write_bytes(data.tobytes())

    return make


def _image_fault(image: Any) -> str | None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return f"{image.dtype} of shape {image.shape}"
    return None if image.size <= 3e8 else "larger than the limit"


def _image_bombs(suffix: str) -> Any:
    def bombs() -> Iterator[bytes]:
        data = cv2.imencode(suffix, _NOISE)[1].tobytes()
        for sides in ((32767, 32767), (65535, 65535), (9999, 9999), (0, 0)):
            for order, kind in ((">", "HH"), (">", "II"), ("<", "II"), ("<", "HH")):
                old = struct.pack(order + kind, 24, 32), struct.pack(order + kind, 32, 24)
                new = struct.pack(order + kind, *sides)
                if old[0] in data:
                    yield data.replace(old[0], new, 1)
                if old[1] in data:
                    yield data.replace(old[1], new, 1)

    return bombs


def _video(codec: str) -> Any:
    def make(path: Path) -> None:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
        for shift in range(12):
            image = np.full((48, 64, 3), 8 * shift, np.uint8)
            image[shift : shift + 9, 5:20] = 255
            writer.write(image)
        writer.release()

    return make


def _frames(path: Path) -> Any:
    count, stamps = 0, []
    with open_source(path) as source:
        for frame in source:
            count += 1
            stamps.append(frame.timestamp)
            if count == 30:
                break
        return source.size, source.frame_rate, source.length, stamps


def _video_fault(value: Any) -> str | None:
    size, rate, length, stamps = value
    if size is None or min(size) < 1 or size[0] * size[1] > 1e8 or not 0 < rate <= 1000:
        return f"{size} at {rate}"
    if any(later is None or later <= earlier for earlier, later in itertools.pairwise(stamps)):
        return f"times that do not rise: {stamps}"
    return finite([rate, length or 0, stamps])


def _video_bombs() -> Iterator[bytes]:
    yield b"\0\0\0\x18ftypisom" + bytes(8) + struct.pack(">I", 0xFFFFFFFF) + b"moov" + bytes(100)


_MAT: dict[str, Any] = {
    "Img": np.array(
        [({"imname": f"{i}.jpg", "box": {"idlocate": [1, 2, 30, 60]}}) for i in range(3)], object
    ),
    "bbs": np.array([[1, 2, 30, 60]] * 3),
    "pool": np.array(["a.jpg", "b.jpg"], object),
}


def _mat(compressed: bool) -> Any:
    return lambda path: scipy.io.savemat(path, _MAT, do_compression=compressed)


def _mat_bombs() -> Iterator[bytes]:
    head = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    packed = zlib.compress(bytes(400 << 20), 1)
    yield head + struct.pack("<II", 15, len(packed)) + packed
    for kind in (1, 2, 6):  # cells, a struct, doubles
        array = struct.pack("<IIII", 6, 8, kind, 0) + struct.pack("<IIii", 5, 8, 1 << 30, 1)
        array += struct.pack("<II", 1, 0) + bytes(64)
        yield head + struct.pack("<II", 14, len(array)) + array
    nested = b""
    for _ in range(2000):
        flags = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1)
        nested = flags + struct.pack("<II", 1, 0) + nested
        nested = struct.pack("<II", 14, len(nested)) + nested
    yield head + nested


def _images_of_mat(path: Path) -> Any:
    return cuhk_sysu._pictures(path)


def _seq(path: Path) -> None:
    path.write_bytes(seq([cv2.imencode(".jpg", _NOISE)[1].tobytes()] * 3))


BINARY = [
    *(
        Reader(
            name, suffix, _encoded(suffix, *options), read_image, _image_fault, _image_bombs(suffix)
        )
        for name, suffix, options in (
            ("JPEG", ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 80)),
            ("JPEG, progressive", ".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
            ("PNG", ".png", ()),
            ("BMP", ".bmp", ()),
            ("WebP", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 80)),
            ("TIFF", ".tif", ()),
        )
    ),
    *(
        Reader(name, suffix, _video(codec), _frames, _video_fault, _video_bombs, share=0.4)
        for name, suffix, codec in (
            ("MP4", ".mp4", "mp4v"),
            ("AVI", ".avi", "MJPG"),
            ("Matroska", ".mkv", "mp4v"),
        )
    ),
    Reader("MATLAB", ".mat", _mat(False), _images_of_mat, finite, _mat_bombs),
    Reader("MATLAB, compressed", ".mat", _mat(True), _images_of_mat, finite, _mat_bombs),
    Reader(
        "NorPix .seq",
        ".seq",
        _seq,
        caltech.read_seq,
        lambda frames: None if all(f.startswith(b"\xff\xd8") for f in frames) else "no JPEG",
    ),
]

READERS = [*SETTINGS, *JSON, *TEXT, *MODELS, *BINARY]
