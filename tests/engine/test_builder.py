"""Builds against the fake of each version: what TensorRT is told, what is refused, what is left."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_tensorrt import MAGIC, RTX, VERSIONS, Scenario, read_plan
from small_onnx import write_external_onnx, write_small_onnx

from jdetrt.engine import onnx_file
from jdetrt.engine.tensorrt.build_options import BuildOptions, parse_batch
from jdetrt.engine.tensorrt.builder import build as builder
from jdetrt.engine.tensorrt.builder import memory
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.builder.progress import Watch
from jdetrt.engine.tensorrt.builder.timing_cache import keep_timings, use_timings
from jdetrt.engine.tensorrt.cache_folder import lock_path
from jdetrt.engine.tensorrt.calibration_cache import cache_calibrator
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Sidecar, sidecar_path
from jdetrt.errors import BuildError, ConfigError, OutputError, SessionError

V8, V10, V11, _ = VERSIONS
HALF = (
    ("/network/body/cast", "CAST", "HALF"),
    ("/network/body/conv", "CONVOLUTION", "HALF"),
    ("/decode/exp", "UNARY", "FLOAT"),
    ("/decode/index", "TOPK", "INT32"),
)
QDQ = (("/network/body/q", "QUANTIZE", "INT8"), ("/network/body/conv", "CONVOLUTION", "FLOAT"))
PARTS = ("/network/body/a", "/network/body/b", "/network/levels/c", "/decode/d")
BODY_AND_REST = tuple((name, "CONVOLUTION", "FLOAT") for name in PARTS)


def build(
    trt: TensorRt, model: Path, options: BuildOptions | None = None, **more: Any
) -> tuple[dict[str, Any], Sidecar]:
    """What TensorRT was told, and the sidecar."""
    output = model.with_name("out.plan")
    sidecar = build_plan(trt, model, output, options, **more)
    return read_plan(output.read_bytes()), sidecar


# ---- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("layers", "precision", "weak_flags"),
    [
        (HALF, "fp16", {"FP16"}),
        (QDQ, "int8", {"INT8", "FP16"}),
        (QDQ + HALF, "int8+fp16", {"INT8", "FP16"}),
        ((("conv", "CONVOLUTION", "FLOAT"),), "fp32", set()),
    ],
)
def test_precision_comes_from_the_graph(
    version: str,
    layers: Any,
    precision: str,
    weak_flags: set[str],
    install: Any,
    model: Path,
    on_orin: Device,
) -> None:
    if version == V8:  # which has no Cast layer
        layers = tuple((n, k.replace("CAST", "IDENTITY"), t) for n, k, t in layers)
    told, sidecar = build(install(version, Scenario(layers=layers)), model)
    # Weakly typed, what is not quantised may be halved: in float32 it would be slower than FP16.
    assert sidecar.precision == (precision if version != V8 or layers != QDQ else "int8+fp16")
    assert told["strong"] == (version != V8)
    assert sidecar.typing == ("weak" if version == V8 else "strong")
    expected = weak_flags | {"OBEY_PRECISION_CONSTRAINTS"} if version == V8 else set()
    assert set(told["flags"]) == expected
    assert told["single"] == (["/decode/exp"] if version == V8 and "fp16" in precision else [])


def test_weak_typing_on_request_holds_decoding_in_float32(
    install: Any, model: Path, on_orin: Device
) -> None:
    layers = tuple((name, kind, "FLOAT") for name, kind, _ in HALF)
    told, sidecar = build(
        install(V10, Scenario(layers=layers)), model, BuildOptions(precision="fp16")
    )
    assert not told["strong"]
    assert told["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert told["single"] == ["/decode/exp", "/decode/index"]
    assert (sidecar.precision, sidecar.typing) == ("fp16", "weak")


def test_the_optimisation_level_of_8_5_is_guessing_or_timing(
    install: Any, model: Path, on_orin: Device
) -> None:
    for level in range(6):
        told, _ = build(install(V8), model, BuildOptions(optimization_level=level))
        guesses = "ENABLE_TACTIC_HEURISTIC" in told["flags"]
        assert guesses == (level <= 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_needs_neither_cudnn_nor_cublas(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    told, _ = build(install(version), model)
    assert told["kernels"] == ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
    core = ["DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"] if version == V8 else []
    assert told["preview"] == core


@pytest.mark.parametrize("version", [V11, RTX])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_weak_typing_where_it_is_gone(
    version: str, precision: Any, install: Any, model: Path, on_orin: Device
) -> None:
    with pytest.raises(BuildError, match=r"precision is in the model.*jdetrt export --precision"):
        build(install(version), model, BuildOptions(precision=precision))


def _compiled(*types: str) -> list[dict[str, Any]]:
    """Convolutions as the inspector tells of them."""
    tensor = {"Name": "x", "Dimensions": [1, 8, 4, 4]}
    return [
        {
            "Name": f"conv{number}",
            "LayerType": "CaskConvolution",
            "Inputs": [{**tensor, "Format/Datatype": kind}],
            "Outputs": [{**tensor, "Format/Datatype": kind}],
        }
        for number, kind in enumerate(types)
    ]


# Two convolutions that are quantised, one of them behind a cast, and one that is not.
THREE = (
    *(("q", "QUANTIZE", "INT8"), ("dq", "DEQUANTIZE", "FLOAT"), ("a", "CONVOLUTION", "FLOAT")),
    *(("q2", "QUANTIZE", "INT8"), ("dq2", "DEQUANTIZE", "FLOAT"), ("half", "CAST", "HALF")),
    *(("b", "CONVOLUTION", "HALF"), ("c", "CONVOLUTION", "HALF")),
)


@pytest.mark.parametrize("version", [V8, V10, V11])
def test_int8_that_a_plan_has_lost(
    version: str, install: Any, model: Path, on_orin: Device, caplog: pytest.LogCaptureFixture
) -> None:
    three: Any = THREE
    if version == V8:  # which has no Cast layer
        three = tuple((n, k.replace("CAST", "IDENTITY"), t) for n, k, t in THREE)

    def scenario(*types: str) -> Scenario:
        return Scenario(layers=three, compiled=_compiled(*types) if types else None)

    _, sidecar = build(install(version, scenario("Int8", "Int8", "Half")), model)
    assert sidecar.quantised == 2
    assert sidecar.convolutions == {"int8": 2, "float16": 1}
    build(install(version, scenario("Int8", "Int8")), model)  # what is fused away is not lost
    _, unseen = build(install(version, scenario()), model)
    assert unseen.convolutions == {"unknown": 3}

    written = model.with_name("out.plan").read_bytes()
    trt = install(version, scenario("Int8", "Half", "Half"))
    with pytest.raises(BuildError, match=r"runs 1 of 2 convolutions in float.*\(1 run in INT8\)"):
        build(trt, model)
    assert model.with_name("out.plan").read_bytes() == written
    _, taken = build(trt, model, BuildOptions(allow_float=True))
    assert taken.convolutions == {"int8": 1, "float16": 2}
    assert taken.command(Path("/a.plan")).endswith("-o /a.plan --allow-float")
    assert "runs 1 of 2 convolutions in float" in caplog.text
    assert trt.module._scenario.builds[1]["timings_before"] == ["timed"]  # of the one refused


def test_a_plan_that_cannot_be_loaded_is_not_counted(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = install(V10, Scenario(layers=THREE))
    monkeypatch.setattr(trt.module.Runtime, "deserialize_cuda_engine", lambda self, plan: None)
    _, sidecar = build(trt, model)
    assert (sidecar.quantised, sidecar.convolutions) == (2, None)


@pytest.mark.parametrize("version", [V8, V10])
def test_a_calibration_cache(version: str, install: Any, model: Path, on_orin: Device) -> None:
    cache = model.with_name("ranges.cache")
    cache.write_bytes(b"TRT-8503-EntropyCalibration2\nimages: 3c010a14\n")
    trt = install(version)
    told, sidecar = build(
        trt,
        model,
        BuildOptions(precision="int8", calibration_cache=cache.name),
        calibrator=cache_calibrator(cache),
    )
    assert told["calibrator"]
    assert set(told["flags"]) == {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}
    assert sidecar.calibration == "ranges.cache"
    assert sidecar.command(Path("/a/b.plan")) == (
        "jdetrt build model.onnx -o /a/b.plan --precision int8 --calibration-cache ranges.cache"
    )
    # TensorRT takes only a cache whose first line is its own, and calls the rest of no use.
    made = cache_calibrator(cache)(trt)
    number = {V8: "8503", V10: "100300"}[version]
    for other in (b"8502", b"8503", b"100300"):
        cache.write_bytes(b"TRT-" + other + b"-EntropyCalibration2\nimages: 3c010a14\n")
        made = cache_calibrator(cache)(trt)
        assert made.read_calibration_cache() == (
            f"TRT-{number}-EntropyCalibration2\nimages: 3c010a14\n".encode()
        )
    assert made.get_batch(["images"]) is None


def test_int8_without_ranges_or_with_foreign_ones(
    install: Any, model: Path, on_orin: Device
) -> None:
    with pytest.raises(BuildError, match=r"INT8 needs the ranges.*jdetrt calibrate"):
        build(install(V8), model, BuildOptions(precision="int8"))
    with pytest.raises(BuildError, match="is not a calibration cache"):
        cache_calibrator(model)
    with pytest.raises(BuildError, match="cannot be read"):
        cache_calibrator(model.with_name("absent"))
    with pytest.raises(BuildError, match=r"11\.4\.0\.106 cannot calibrate"):
        build(install(V11), model, calibrator=lambda trt: None)
    with pytest.raises(BuildError, match="nothing reads ranges: give `build_plan` a calibrator"):
        build(install(V10), model, BuildOptions(precision="int8", calibration_cache="ranges"))
    for options in (BuildOptions(), BuildOptions(precision="fp16")):
        with pytest.raises(BuildError, match="is for --precision int8"):
            build(install(V10), model, options, calibrator=lambda trt: None)


# ---- batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_free_batch_gets_a_profile(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    trt = install(version, Scenario(inputs=[("images", "FLOAT", (-1, 3, 32, 64))]))
    told, sidecar = build(trt, model, BuildOptions(batch=(1, 2, 8)))
    assert told["profiles"] == [{"images": [[1, 3, 32, 64], [2, 3, 32, 64], [8, 3, 32, 64]]}]
    assert sidecar.inputs[0].shape == (-1, 3, 32, 64)
    told, _ = build(trt, model)
    assert told["profiles"] == [{"images": [[1, 3, 32, 64]] * 3}]


def test_an_input_that_is_a_single_number(install: Any, model: Path, on_orin: Device) -> None:
    scenario = Scenario(inputs=[("images", "FLOAT", ())])
    with pytest.raises(BuildError, match="the input 'images' is a single number"):
        build(install(V10, scenario), model)


def test_a_fixed_batch(install: Any, model: Path, on_orin: Device) -> None:
    trt = install(V10, Scenario(inputs=[("images", "FLOAT", (4, 3, 32, 64))]))
    for batch in ((1, 1, 1), (4, 4, 4)):  # not given, and what it is
        assert build(trt, model, BuildOptions(batch=batch))[0]["profiles"] == []
    with pytest.raises(BuildError, match="batch size of 4"):
        build(trt, model, BuildOptions(batch=(2, 2, 2)))
    free = Scenario(inputs=[("images", "FLOAT", (1, 3, -1, -1))])
    with pytest.raises(BuildError, match="besides the batch"):
        build(install(V10, free), model)


@pytest.mark.parametrize("text", ["", "0", "2:1:3", "1:2", "1:2:2000", "x", "1:2:3:4"])
def test_a_batch_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=f"batch '{re.escape(text)}'.*1:4:8"):
        parse_batch(text)


# ---- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", V11])
def test_settings_reach_tensorrt(version: str, install: Any, model: Path, on_orin: Device) -> None:
    options = BuildOptions(
        workspace_mib=64, optimization_level=5, version_compatible=True, hardware="ampere+"
    )
    told, sidecar = build(install(version), model, options)
    assert told["pools"] == {"WORKSPACE": 64 << 20}
    assert told["builder_optimization_level"] == 5
    assert told["flags"] == ["VERSION_COMPATIBLE"]
    assert told["hardware_compatibility_level"] == "AMPERE_PLUS"
    assert told["profiling_verbosity"] == "DETAILED"
    assert sidecar.options == options


@pytest.mark.parametrize("version", ["10.13.3.9", "10.16.1.11", V11])
def test_a_plan_for_all_gpus_of_this_compute_capability(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    told, _ = build(install(version), model, BuildOptions(hardware="same-compute-capability"))
    assert told["hardware_compatibility_level"] == "SAME_COMPUTE_CAPABILITY"


@pytest.mark.parametrize(
    ("version", "options", "words"),
    [
        (V8, BuildOptions(version_compatible=True), "cannot make plans for other versions"),
        (V8, BuildOptions(hardware="ampere+"), "cannot make plans for 'ampere"),
        (V8, BuildOptions(compute_capabilities=("8.6",)), "--backend tensorrt-rtx"),
        (V10, BuildOptions(hardware="same-compute-capability"), "cannot make plans for 'same"),
        (V10, BuildOptions(compute_capabilities=("8.6",)), "--backend tensorrt-rtx"),
        (RTX, BuildOptions(version_compatible=True), "cannot make plans for other versions"),
        (RTX, BuildOptions(hardware="ampere+"), "name --compute-capability"),
        (RTX, BuildOptions(dla_core=0), "cannot build for a DLA"),
        *(
            (
                RTX,
                BuildOptions(compute_capabilities=(name,)),
                r"builds for: 7\.5, 8\.0.*8\.6.*12\.0",
            )
            for name in ("8.7", "86", "1.20", "8.6.", "..8..6")
        ),
    ],
)
def test_what_a_version_cannot_do(
    version: str, options: BuildOptions, words: str, install: Any, model: Path, on_orin: Device
) -> None:
    with pytest.raises(BuildError, match=words):
        build(install(version), model, options)
    assert not model.with_name("out.plan").exists()


def test_ahead_of_time_for_named_capabilities_and_without_a_gpu(
    install: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "current_device", lambda: None)
    trt = install(RTX, Scenario(driver=False))
    told, sidecar = build(trt, model, BuildOptions(compute_capabilities=("8.6", "12.0")))
    assert told["targets"] == ["SM86", "SM120"]
    assert told["num_compute_capabilities"] == 2
    assert told["pools"] == {}
    assert sidecar.host.gpu is None


@pytest.mark.parametrize("version", [V8, V10, V11])
def test_no_gpu(
    version: str, install: Any, model: Path, monkeypatch: pytest.MonkeyPatch, on_orin: Device
) -> None:
    trt = install(version, Scenario(driver=False))
    if version == V8:
        with pytest.raises(BuildError, match="cannot start: CUDA initialization failure"):
            build(trt, model)
    monkeypatch.setattr(builder, "current_device", lambda: None)
    with pytest.raises(BuildError, match="no GPU or no driver"):
        build(trt, model)


@pytest.mark.parametrize(("version", "strong"), [(V8, False), (V10, False), (V11, True)])
def test_the_dla_runs_the_body_alone(
    version: str, strong: bool, install: Any, model: Path, on_orin: Device
) -> None:
    scenario = Scenario(
        layers=BODY_AND_REST, dla_cores=2, dla_refuses=frozenset({"/network/body/b"})
    )
    told, sidecar = build(install(version, scenario), model, BuildOptions(dla_core=1))
    assert told["devices"] == {"/network/body/a": "DLA"}
    assert told["DLA_core"] == 1
    assert "GPU_FALLBACK" in told["flags"]
    assert ("FP16" in told["flags"]) != strong
    assert told["strong"] == strong
    assert sidecar.fallback == ("/network/body/b",)


def test_what_a_dla_does_not_do(install: Any, model: Path, on_orin: Device) -> None:
    one = BuildOptions(dla_core=0)
    with pytest.raises(BuildError, match="no DLA core 0"):
        build(install(V10), model, one)
    scenario = Scenario(dla_cores=1, dla_refuses=frozenset({"/network/body/conv"}))
    with pytest.raises(BuildError, match="no layer of this model's body"):
        build(install(V10, scenario), model, one)
    with pytest.raises(BuildError, match="--batch"):
        build(install(V10), model, BuildOptions(dla_core=0, batch=(1, 2, 2)))
    for version in VERSIONS[:3]:
        scenario = Scenario(layers=QDQ, dla_cores=2)
        with pytest.raises(BuildError, match="--precision int8 --calibration-cache FILE"):
            build(install(version, scenario), model, one)
        assert scenario.builds == []


# ---- the sidecar -----------------------------------------------------------------------------


def test_the_sidecar_says_everything(install: Any, model: Path, on_orin: Device) -> None:
    _, sidecar = build(install(V10), model)
    plan = model.with_name("out.plan").read_bytes()
    assert sidecar.plan.sha256 == hashlib.sha256(plan).hexdigest()
    assert sidecar.plan.bytes == len(plan)
    assert sidecar.model.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert sidecar.model.name == "model.onnx"
    assert sidecar.metadata == {"body": "nano", "top_k": "5"}
    assert (sidecar.host.tensorrt, sidecar.host.gpu, sidecar.host.cuda) == (V10, "Orin", "12.6")
    assert [spec.name for spec in sidecar.outputs] == ["boxes", "scores"]
    out = Path("folder/out.plan").absolute()
    assert sidecar.command(Path("folder/out.plan")) == f"jdetrt build model.onnx -o {out}"
    written = sidecar_path(model.with_name("out.plan")).read_bytes()
    assert msgspec.json.decode(written, type=Sidecar) == sidecar


# ---- timings ---------------------------------------------------------------------------------


def test_timings_are_kept_and_used_again(install: Any, model: Path, on_orin: Device) -> None:
    file = model.with_name("timings")
    first, _ = build(install(V10, Scenario(timings="a")), model, timings=file)
    again, _ = build(install(V10, Scenario(timings="b")), model, timings=file)
    assert first["timings_before"] == []
    assert again["timings_before"] == ["a"]
    assert file.read_text() == '["a", "b"]'
    default, _ = build(install(V10), model)
    assert default["timings_before"] == []
    folder = Path(os.environ["XDG_CACHE_HOME"], "jdetrt", "timing")
    assert [f.name for f in folder.glob("*.cache")] == ["tensorrt-10.3.0-Orin-8.7.cache"]


def test_timings_of_another_process_in_the_meantime_are_kept(
    install: Any, model: Path, on_orin: Device
) -> None:
    file = model.with_name("timings")

    def meanwhile(step: int) -> None:
        file.write_text('["theirs"]')

    build(install(V10, Scenario(timings="ours", on_step=meanwhile)), model, timings=file)
    assert file.read_text() == '["ours", "theirs"]'


def test_two_that_write_timings_at_a_time_keep_both(
    install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt, file, came = install(V10), tmp_path / "timings", threading.Event()
    serialize, flock = trt.module.ITimingCache.serialize, fcntl.flock

    def learn(timing: str) -> None:
        config = trt.module.IBuilderConfig()
        cache = use_timings(config, file)
        cache._lines.add(timing)
        keep_timings(config, cache, file)
        came.set()

    second = threading.Thread(target=learn, args=["b"])

    def enter_meanwhile(cache: Any) -> Any:  # the first has read the file and not written it
        if second.ident is None:
            second.start()
            assert came.wait(timeout=20)
        return serialize(cache)

    def lock(file: Any, how: int) -> None:
        if threading.current_thread() is second:
            came.set()  # and waits here
        flock(file, how)

    monkeypatch.setattr(trt.module.ITimingCache, "serialize", enter_meanwhile)
    monkeypatch.setattr(fcntl, "flock", lock)
    learn("a")
    second.join()
    assert file.read_text() == '["a", "b"]'


def test_a_damaged_timing_cache_is_begun_anew(
    install: Any, model: Path, on_orin: Device, caplog: pytest.LogCaptureFixture
) -> None:
    file = model.with_name("timings")
    file.write_bytes(b"\xff\x00")
    build(install(V10), model, timings=file)
    assert file.read_text() == '["timed"]'
    assert "kernels are timed again" in caplog.text


def test_a_cache_folder_that_cannot_be_written_does_not_cost_the_plan(
    install: Any,
    model: Path,
    on_orin: Device,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(model))  # a file
    build(install(V10), model)
    assert sidecar_path(model.with_name("out.plan")).is_file()
    assert "the timings of this build are not kept" in caplog.text
    assert "XDG_CACHE_HOME" in caplog.text


def test_a_timing_cache_that_cannot_be_written_is_seen_before_the_build(
    install: Any, model: Path, on_orin: Device
) -> None:
    trt = install(V10)
    with pytest.raises(OutputError, match=r"model\.onnx/timings: .*folder") as caught:
        build(trt, model, timings=model / "timings")
    assert "XDG_CACHE_HOME" not in str(caught.value)
    with pytest.raises(OutputError, match="File name too long"):
        build(trt, model, timings=model.with_name("t" * 251))  # the lock's name is longer
    assert trt.module._scenario.builds == []


def test_a_file_system_without_locks_costs_the_timings_alone(
    install: Any,
    model: Path,
    on_orin: Device,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_locks(file: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    build(install(V10), model)
    assert sidecar_path(model.with_name("out.plan")).is_file()
    assert "are not kept: " in caplog.text
    assert "No locks available" in caplog.text


def test_ctrl_c_while_another_process_has_the_timings(
    install: Any, model: Path, on_orin: Device
) -> None:
    timings, output = model.with_name("timings"), model.with_name("out.plan")
    with lock_path(timings).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        free = threading.Timer(3, fcntl.flock, (other, fcntl.LOCK_UN))  # what waits on must end
        free.start()
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            build(install(V10), model, timings=timings)
        free.cancel()
        free.join()
    assert sidecar_path(output).is_file()
    assert not timings.exists()


def test_timings_that_fill_the_disk_leave_the_plan(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_room_for(monkeypatch, b"[")
    output, timings = model.with_name("out.plan"), model.with_name("timings")
    with pytest.raises(
        OutputError, match=r"timings: cannot .*free some space\. The plan .* complete"
    ):
        build_plan(install(V10), model, output, timings=timings)
    assert read_plan(output.read_bytes())["version"] == V10
    assert sidecar_path(output).is_file()
    assert not timings.exists()


def test_ahead_of_time_there_are_no_timings(install: Any, model: Path, on_orin: Device) -> None:
    file = model.with_name("timings")
    told, _ = build(install(RTX), model, timings=file)
    assert told["timings_before"] is None
    assert not file.exists()


# ---- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_error_of_the_parser_is_named(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    errors = [
        (3, "/decode/NMS", "NonMaxSuppression", "no importer"),
        (7, "/decode/Unique", "Unique", "not supported"),
        (-1, "", "", "the end"),
    ]
    with pytest.raises(BuildError) as caught:
        build(install(version, Scenario(parser_errors=errors)), model)
    lines = str(caught.value).splitlines()[1:]
    names = version != V8  # which knows the numbers of nodes alone
    assert lines == [
        f"  node 3{' ' + repr('/decode/NMS') + ' (NonMaxSuppression)' * names if names else ''}"
        ": no importer",
        f"  node 7{' ' + repr('/decode/Unique') + ' (Unique)' if names else ''}: not supported",
        "  the model: the end",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_that_fails_leaves_what_was_there(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    trt = install(version)
    build(trt, model, timings=model.with_name("timings"))
    before = {f.name: f.read_bytes() for f in model.parent.iterdir() if f.is_file()}
    failing = install(version, Scenario(build_error="Could not find any implementation for node"))
    with pytest.raises(BuildError, match="Could not find any implementation"):
        build(failing, model, timings=model.with_name("timings"))
    assert {f.name: f.read_bytes() for f in model.parent.iterdir() if f.is_file()} == before


def _no_room_for(monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    """Let the disk be full when what begins so is half written."""
    write = Path.write_bytes

    def write_half(self: Path, data: bytes) -> int:
        if not data.startswith(beginning):
            return write(self, data)
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_half)


@pytest.mark.parametrize(("beginning", "name"), [(MAGIC, "out.plan"), (b"{", "out.plan.json")])
def test_a_disk_that_fills_while_the_plan_is_written_leaves_what_was_there(
    beginning: bytes,
    name: str,
    install: Any,
    model: Path,
    on_orin: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trt = install(V10)
    build(trt, model, timings=model.with_name("timings"))
    before = {f.name: f.read_bytes() for f in model.parent.iterdir() if f.is_file()}
    _no_room_for(monkeypatch, beginning)
    with pytest.raises(OutputError, match=rf"{name}: cannot be written .*; free some space"):
        build(trt, model, BuildOptions(workspace_mib=77), timings=model.with_name("timings"))
    assert {f.name: f.read_bytes() for f in model.parent.iterdir() if f.is_file()} == before


def test_a_missing_driver_is_no_reason_why_a_build_ahead_of_time_fails(
    install: Any, model: Path, on_orin: Device
) -> None:
    trt = install(RTX, Scenario(driver=False, build_error="no implementation for node conv"))
    with pytest.raises(BuildError, match=r"this model:\n  no implementation for node conv\Z"):
        build(trt, model)


@pytest.mark.parametrize(
    "words",
    [
        "Error Code 2: OutOfMemory (no further information)",
        "no tactics to implement the operation within workspace limit",
        "std::bad_alloc",
    ],
)
def test_out_of_memory_says_how_to_mend_it(
    words: str, install: Any, model: Path, on_orin: Device
) -> None:
    with pytest.raises(BuildError, match=r"(?s)Memory is what is lacking.*--workspace"):
        build(install(V10, Scenario(build_error=words)), model)


def test_a_memory_error_of_python(install: Any, model: Path, on_orin: Device) -> None:
    def no_more(step: int) -> None:
        raise MemoryError

    with pytest.raises(BuildError, match="Memory is what is lacking"):
        build(install(V8, Scenario(on_step=no_more)), model)


def test_an_int8_model_that_tensorrt_8_fails_on(install: Any, model: Path, on_orin: Device) -> None:
    # The words of 8.5.3 about nano in INT8, on an H200.
    words = (
        "2: [optimizer.cpp::filterQDQFormats::4422] Error Code 2: Internal Error (Assertion "
        "!n->candidateRequirements.empty() failed. All of the candidates were removed, which "
        "points to the node being incorrectly marked as an int8 node.)"
    )
    with pytest.raises(
        BuildError, match=r"(?s)filterQDQFormats.*TensorRT 8 fails.*--calibration-cache"
    ):
        build(install(V8, Scenario(build_error=words)), model)


def test_too_little_memory_is_seen_before_the_build(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "host_memory", lambda: (100 << 20, 50 << 20))
    trt = install(V10)
    with pytest.raises(BuildError, match=r"100 MiB are free and 50 MiB are free swap"):
        build(trt, model)
    assert trt.module._scenario.builds == []
    memory.check_memory(10 << 20, (memory.needed(10 << 20) - 1, 1))
    with pytest.raises(BuildError, match="add swap"):
        memory.check_memory(10 << 20, (memory.needed(10 << 20) - 2, 1))


def test_the_workspace_is_half_of_what_is_free() -> None:
    desktop = Device("RTX", "8.9", False, 24 << 30, 20 << 30, "12.8")
    shared = Device("Orin", "8.7", True, 8 << 30, 6 << 30, "12.6")
    model = 100 << 20
    assert memory.default_workspace(None, model).bytes is None
    on_desktop = memory.default_workspace(desktop, model, (1 << 30, 0))
    assert on_desktop == (10 << 30, "half of the free GPU memory")
    left = (4 << 30) - memory.needed(model)
    on_board = memory.default_workspace(shared, model, (4 << 30, 0))
    assert on_board == (left // 2, "half of MemAvailable less the build's own")


def test_the_page_cache_does_not_shrink_the_workspace(caplog: pytest.LogCaptureFixture) -> None:
    # 300 MiB are free, 5 GiB hold files that were read: CUDA counts the former alone.
    cached = Device("Orin", "8.7", True, 8 << 30, 300 << 20, "12.6")
    model, available = 100 << 20, (5 << 30) + (300 << 20)
    found = memory.default_workspace(cached, model, (available, 0))
    assert found.bytes == (available - memory.needed(model)) // 2
    assert caplog.text == ""
    assert "drop_caches" in memory.page_cache_advice(cached, (available, 0))


@pytest.mark.parametrize(
    "device",
    [
        None,
        Device("RTX", "8.9", False, 24 << 30, 1 << 30, "12.8"),  # has memory of its own
        Device("Orin", "8.7", True, 8 << 30, 4 << 30, "12.6"),  # little is cached
        Device("Orin", "8.7", True, 8 << 30, 5 << 30, "12.6"),
    ],
)
def test_no_advice_where_the_page_cache_is_not_the_matter(device: Device | None) -> None:
    assert memory.page_cache_advice(device, (5 << 30, 0)) == ""


@pytest.mark.parametrize(("free", "told"), [(200 << 20, True), (5 << 30, False)])
def test_a_build_without_memory_tells_of_the_page_cache(
    free: int, told: bool, install: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Device("Orin", "8.7", True, 8 << 30, free, "12.6")
    monkeypatch.setattr(builder, "current_device", lambda: board)
    monkeypatch.setattr(memory, "host_memory", lambda: (6 << 30, 0))
    with pytest.raises(BuildError, match="Memory is what is lacking") as caught:
        build(install(V10, Scenario(build_error="OutOfMemory")), model)
    assert ("drop_caches" in str(caught.value)) == told


def test_a_small_board_with_swap_builds_with_a_usable_workspace(
    install: Any, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nano = Device("Orin Nano", "8.7", True, 4 << 30, 200 << 20, "12.6")
    monkeypatch.setattr(builder, "current_device", lambda: nano)
    monkeypatch.setattr(memory, "host_memory", lambda: (200 << 20, 8 << 30))
    told, sidecar = build(install(V10), model, timings=model.with_name("timings"))
    assert told["pools"] == {"WORKSPACE": 128 << 20}
    assert sidecar.workspace_mib == 128
    assert (sidecar.workspace_source or "").startswith("the least")
    assert "kernels may use 128 MiB" in caplog.text
    assert "--workspace" not in sidecar.command(model)  # with more memory it is to be more


def test_models_that_are_none(install: Any, tmp_path: Path, model: Path, on_orin: Device) -> None:
    trt = install(V10)
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-3])
    (tmp_path / "text.onnx").write_text("hello\n")
    os.mkfifo(tmp_path / "pipe.onnx")
    for name, words in (
        ("empty", r"empty\.onnx: is empty"),
        ("cut", "cut short"),
        ("text", r"text\.onnx: is a text file \('hello"),
        ("absent", r"absent\.onnx: no such file"),
        ("pipe", r"pipe\.onnx: is not a regular file"),
    ):
        with pytest.raises(SessionError, match=words):
            build(trt, tmp_path / f"{name}.onnx")


def test_a_model_that_changes_before_its_notes_are_read(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small_onnx(model, body="nano")
    read = onnx_file.metadata

    def read_then_change(path: Path, *more: Any) -> dict[str, str]:
        notes = read(path, *more)
        write_small_onnx(model, body="darknet53")
        return notes

    monkeypatch.setattr(onnx_file, "metadata", read_then_change)
    with pytest.raises(BuildError, match=r"model\.onnx: was changed"):
        build(install(V10), model)


def test_a_model_that_changes_while_it_is_read(
    install: Any, model: Path, on_orin: Device, when_said: Any
) -> None:
    trt = install(V10)
    when_said("Parsing", lambda: model.write_bytes(b"another"))
    with pytest.raises(BuildError, match=r"model\.onnx: was changed"):
        build(trt, model)
    assert trt.module._scenario.builds == []


def test_weights_beside_a_model_that_is_refused_are_named(
    install: Any, tmp_path: Path, on_orin: Device
) -> None:
    model = write_external_onnx(tmp_path / "model.onnx", "model.bin")
    scenario = Scenario(parser_errors=[(-1, "", "", "size mismatch")])
    with pytest.raises(BuildError, match=r"(?s)size mismatch\nIts weights are in .*model\.bin"):
        build(install(V10, scenario), model)


def test_a_tensor_of_a_type_that_numpy_does_not_have(
    install: Any, model: Path, on_orin: Device
) -> None:
    scenario = Scenario(inputs=[("images", "BF16", (1, 3, 32, 64))])
    with pytest.raises(BuildError, match=r"model\.onnx: 'images' has the type BF16.*export"):
        build(install(V10, scenario), model)


def test_outputs_that_cannot_be_written_are_seen_before_the_build(
    install: Any, model: Path, on_orin: Device
) -> None:
    trt = install(V10)
    (model.parent / "folder.plan").mkdir()
    (model.parent / "beside.plan.json").mkdir()
    (model.parent / "again.plan.layers.json").mkdir()
    for output, words in (
        (model.parent / "folder.plan", "is a folder"),
        (model / "out.plan", "is not a writable folder"),
        (model.parent / "beside.plan", r"beside\.plan\.json: is a folder"),
        (model.parent / "again.plan", r"again\.plan\.layers\.json: is a folder"),
        (model.parent / ("n" * 250 + ".plan"), "File name too long"),
        (model.parent / "out.rtx", r"must end in \.plan, \.engine, \.trt"),
    ):
        with pytest.raises(OutputError, match=words):
            build_plan(trt, model, output)
    assert trt.module._scenario.builds == []


# ---- progress and interruption ---------------------------------------------------------------


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        self.heard.append(("start", phase, parent, total))

    def advance(self, phase: str, done: int) -> None:
        self.heard.append(("step", phase, done - 1))

    def message(self, text: str) -> None:
        self.heard.append(("message", text))

    def finish(self, phase: str) -> None:
        self.heard.append(("finish", phase))


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_where_there_is_any(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    listener = Listener()
    build(install(version), model, progress=listener)
    whole = [
        ("start", "Building engine", None, 2),
        ("start", "Timing kernels", "Building engine", 3),
        *(("step", "Timing kernels", index) for index in range(3)),
        ("finish", "Timing kernels"),
        ("finish", "Building engine"),
    ]
    assert listener.heard == ([] if version == V8 else whole)


def test_a_listener_that_fails_ends_the_build_with_its_error(
    install: Any, model: Path, on_orin: Device
) -> None:
    class Failing(Listener):
        def advance(self, phase: str, done: int) -> None:
            super().advance(phase, done)
            raise OSError("the terminal is gone")

    listener = Failing()
    with pytest.raises(OSError, match="the terminal is gone"):
        build(install(V10), model, progress=listener)
    assert [e for e in listener.heard if e[0] == "step"] == [("step", "Timing kernels", 0)]
    assert not model.with_name("out.plan").exists()


def test_a_listener_that_fails_at_the_end(install: Any, model: Path, on_orin: Device) -> None:
    class Failing(Listener):
        def finish(self, phase: str) -> None:
            raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        build(install(V10), model, progress=Failing())
    assert not model.with_name("out.plan").exists()


@pytest.mark.parametrize("version", [V10, V11, RTX])
def test_ctrl_c_ends_the_build_at_its_next_step(
    version: str, install: Any, model: Path, on_orin: Device
) -> None:
    steps = []

    def interrupt(step: int) -> None:
        steps.append(step)
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # the main thread needs a moment to hear of it

    with pytest.raises(KeyboardInterrupt):
        build(install(version, Scenario(steps=1000, on_step=interrupt)), model)
    assert 2 <= len(steps) < 1000
    assert [f.name for f in model.parent.iterdir() if f.is_file()] == ["model.onnx"]


@pytest.mark.parametrize("version", [V10, V11, RTX])
def test_ctrl_c_while_the_model_is_read(
    version: str, install: Any, model: Path, on_orin: Device, when_said: Any
) -> None:
    """The call of the logger in which it arrives would swallow what it raises."""
    when_said("Parsing", lambda: os.kill(os.getpid(), signal.SIGINT))
    scenario = Scenario(steps=1000, on_step=lambda step: time.sleep(0.01))
    with pytest.raises(KeyboardInterrupt):
        build(install(version, scenario), model)
    assert [f.name for f in model.parent.iterdir() if f.is_file()] == ["model.onnx"]


@pytest.mark.parametrize("version", [V8, V10])
def test_ctrl_c_between_sidecar_and_plan(
    version: str, install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, replace = model.with_name("out.plan"), Path.replace

    def replace_and_interrupt(self: Path, target: Path) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        return replace(self, target)

    build(install(version), model)
    before = output.read_bytes()
    monkeypatch.setattr(Path, "replace", replace_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(install(version), model, BuildOptions(workspace_mib=77))
    sidecar = msgspec.json.decode(sidecar_path(output).read_bytes())
    assert sidecar["plan"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert output.read_bytes() != before


def test_between_two_calls_of_tensorrt_a_build_stops() -> None:
    watch = Watch()
    watch.check()
    watch.stopped = True
    with pytest.raises(KeyboardInterrupt):
        watch.check()


_KILLED = """
    import logging, os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {oracles!r})
    from fake_tensorrt import Scenario, fake_tensorrt
    from jdetrt.engine.tensorrt.builder import build as builder
    from jdetrt.engine.tensorrt.compat import TensorRt
    from jdetrt.engine.tensorrt.device import Device

    builder.current_device = lambda: Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")
    dies = lambda *args: os.kill(os.getpid(), signal.{signal})
    step = dies if {when!r} == "built" else lambda step: None
    trt = TensorRt("tensorrt", fake_tensorrt({version!r}, Scenario(on_step=step)))
    if {when!r} == "read":
        handler = logging.Handler()
        handler.emit = dies
        logging.getLogger("jdetrt.engine.tensorrt").addHandler(handler)
        logging.getLogger("jdetrt.engine.tensorrt").setLevel(logging.INFO)
    if {when!r} == "written":
        write = Path.write_bytes
        def write_half(self, data):
            last = self.name.endswith(".json")
            write(self, data[: len(data) // 2] if last else data)
            last and dies()
        Path.write_bytes = write_half
    folder = Path({folder!r})
    builder.build_plan(
        trt, folder / "model.onnx", folder / "out.plan", timings=folder / "timings"
    )
"""


@pytest.mark.parametrize(
    ("version", "when", "name"),
    [
        (V10, "built", "SIGKILL"),
        (V8, "built", "SIGKILL"),
        (V8, "built", "SIGINT"),
        (V8, "built", "SIGTERM"),
        (V8, "read", "SIGINT"),
        (V10, "written", "SIGKILL"),
    ],
)
def test_killed_in_the_middle_of_a_build(
    version: str, when: str, name: str, install: Any, model: Path, on_orin: Device
) -> None:
    timings = model.with_name("timings")
    build(install(version), model, timings=timings)
    before = {f.name: f.read_bytes() for f in model.parent.iterdir() if f.is_file()}
    code = _KILLED.format(
        oracles=str(Path(__file__).parents[1] / "oracles"),
        signal=name,
        version=version,
        when=when,
        folder=str(model.parent),
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.Signals[name], done.stderr
    files = {f.name: f.read_bytes() for f in model.parent.iterdir() if f.is_file()}
    left = {name for name in files if name.startswith((".out.jdetrt-", ".out.plan.jdetrt-"))}
    assert bool(left) == (when == "written")
    assert {name: data for name, data in files.items() if name not in left} == before
    again, _ = build(install(version), model, timings=timings)  # no lock is left
    assert again["timings_before"] == ["timed"]
    assert {f.name for f in model.parent.iterdir() if f.is_file()} == set(before)
