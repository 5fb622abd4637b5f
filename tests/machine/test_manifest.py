"""Boards and PCs are replayed from the files and the program output that they give."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from jdetrt.machine.doctor import Fact, diagnose, to_dict
from jdetrt.machine.hardware import Gpu, Jetson, cpu_name, gpus, jetson, memory_gib, os_name
from jdetrt.machine.manifest import (
    Machine,
    differences,
    fingerprint,
    manifest,
    package_versions,
)
from jdetrt.machine.probe import Output, Probe, run_program

BASE = dict.fromkeys(("numpy", "numba", "lap", "click", "rich", "msgspec", "onnxruntime"), "1.0")
QUERY = "nvidia-smi --format=csv,noheader,nounits --query-gpu="
ORT = "1.32.0\nAzureExecutionProvider, CPUExecutionProvider\n"
CV = "4.8.0\nGeneral configuration\n  Video I/O:\n    FFMPEG:   YES\n    GStreamer:   {}\n"
MEMORY = "MemTotal:        7802100 kB\nMemFree:  1 kB\nMemAvailable:    5242880 kB\n"
DPKG = "dpkg-query -W -f ${Version} "
NVINFER = "dpkg-query -W -f ${Package} ${Version}\n libnvinfer[0-9]*"
ORIN_NANO = "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0"

XAVIER_51 = {
    "files": {
        "etc/nv_tegra_release": "# R35 (release), REVISION: 2.1, GCID: 32413640, BOARD: t186ref, "
        "EABI: aarch64, DATE: Tue Jan 24 23:38:33 UTC 2023\n",
        "proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3509-0000+p3668-0001\0nvidia,tegra194\0",
        "dev/nvhost-gpu": "",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\n',
        "proc/meminfo": MEMORY,
        "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x4e\nCPU part\t: 0x004\n",
    },
    "programs": {
        f"{DPKG}nvidia-jetpack": "5.1-b147",
        "nvpmodel -q": "NV Fan Mode:quiet\nNV Power Mode: MODE_20W_6CORE\n8\n",
        "lscpu": "Architecture: aarch64\nModel name:          Carmel\n",
        NVINFER: "libnvinfer8 8.5.2-1+cuda11.4\nlibnvinfer-dev 8.5.2-1+cuda11.4\n",
        "nvcc --version": "Cuda compilation tools, release 11.4, V11.4.315\n",
    },
}
ORIN_62 = {
    "files": {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
        "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit\0",
        "proc/device-tree/compatible": ORIN_NANO,
        "usr/local/cuda/version.json": '{\n "cuda" : {\n  "name" : "CUDA SDK",\n'
        '  "version" : "12.6.11"\n }\n}\n',
        "proc/meminfo": MEMORY,
    },
    "programs": {
        f"{DPKG}nvidia-jetpack": "6.2+b77",
        "nvpmodel -q": "NV Power Mode: MAXN_SUPER\n2\n",
        f"{QUERY}name,driver_version,memory.total": "Orin (nvgpu), 540.4.0, [N/A]\n",
        f"{QUERY}compute_cap": "8.7\n",
    },
}
THOR_72 = {
    "files": {
        "etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic, "
        "EABI: aarch64, DATE: Mon Jun  1 00:00:00 UTC 2026\n",
        "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,tegra264\0",
        "proc/meminfo": MEMORY,
    },
    "programs": {
        f"{DPKG}nvidia-jetpack": "7.2-b1",
        "nvpmodel -q": "NV Power Mode: MAXN\n0\n",
        f"{QUERY}name,driver_version,memory.total": "NVIDIA Thor, 595.10, [N/A]\n",
        f"{QUERY}compute_cap": "11.0\n",
    },
}
NANO_46 = {
    "files": {
        "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, "
        "EABI: aarch64, DATE: Sat Feb 19 17:05:08 UTC 2022\n",
        "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3450-0000\0nvidia,tegra210\0",
        "dev/nvhost-gpu": "",
    },
    "programs": {},
}
DESKTOP = {
    "files": {"proc/cpuinfo": "model name\t: AMD Ryzen 9\nmodel name\t: AMD Ryzen 9\n"},
    "programs": {
        f"{QUERY}name,driver_version,memory.total": "NVIDIA GeForce GTX 1080, 580.1, 8192\n"
        "NVIDIA GeForce RTX 4090, 580.1, 24564\n",
        f"{QUERY}compute_cap": "6.1\n8.9\n",
    },
}
Board = Mapping[str, Mapping[str, str]]


def replay(
    tmp_path: Path,
    board: Board,
    *,
    versions: Mapping[str, str] = BASE,
    python: Mapping[str, Output] | None = None,
) -> Probe:
    """A probe on recorded files and programs; ``python`` answers ``python -c 'import NAME...'``."""
    for name, content in board["files"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    answers = {
        "onnxruntime": Output(0, ORT, ""),
        "cv2": Output(0, CV.format("NO"), ""),
        "numpy": Output(0, "", ""),
        **(python or {}),
    }

    def run(command: Sequence[str]) -> Output | None:
        if command[0] == sys.executable:
            found = re.match(r"import (\w+)", command[2])
            assert found
            return answers[found[1]]
        out = board["programs"].get(" ".join(command))
        return None if out is None else Output(0, out, "")

    return Probe(tmp_path, run, versions.get)


def facts(probe: Probe) -> dict[str, Fact]:
    return {fact.name: fact for fact in diagnose(probe)}


def test_jetpack_5(tmp_path: Path) -> None:
    probe = replay(tmp_path, XAVIER_51)
    assert jetson(probe) == Jetson(
        "NVIDIA Jetson Xavier NX Developer Kit",
        "tegra194",
        "35.2.1",
        "5.1-b147",
        "MODE_20W_6CORE (mode 8)",
    )
    assert gpus(probe) == [Gpu("Xavier, integrated", None, None, 7.2)]
    assert cpu_name(probe) == "Carmel"
    assert os_name(probe) == "Ubuntu 20.04.6 LTS"
    assert (memory_gib(probe), memory_gib(probe, "MemAvailable")) == (7.4, 5.0)
    report = facts(probe)
    assert report["INT8"].status == "ok"
    assert report["TensorRT"].status == "missing"
    assert report["TensorRT"].value.startswith("8.5.2-1+cuda11.4 of the system")
    assert "--system-site-packages" in report["TensorRT"].hint
    assert report["CUDA"].value == "11.4 (toolkit)"


def test_jetpack_6(tmp_path: Path) -> None:
    probe = replay(
        tmp_path,
        ORIN_62,
        versions={
            **BASE,
            "tensorrt": "10.3.0",
            "cuda-bindings": "12.9.4",
            "pycuda": "2026.1",
        },
        python={
            "cuda": Output(0, "", ""),
            "pycuda": Output(1, "", "Traceback\nImportError: undefined symbol: cuArrayCreate_v2"),
            "tensorrt": Output(0, "10.3.0\n", ""),
            "cv2": Output(0, CV.format("YES (1.20.3)"), ""),
        },
    )
    board = jetson(probe)
    assert board is not None
    assert (board.chip, board.l4t, board.jetpack) == ("tegra234", "36.4.3", "6.2+b77")
    assert board.power_mode == "MAXN_SUPER (mode 2)"
    assert gpus(probe) == [Gpu("Orin (nvgpu)", "540.4.0", None, 8.7)]
    report = facts(probe)
    assert report["TensorRT"] == Fact("TensorRT", "ok", "10.3.0")
    assert report["CUDA"].value == "12.6.11 (toolkit)"
    assert report["cuda-python"] == Fact("cuda-python", "ok", "12.9.4")
    assert report["PyCUDA"].status == "broken"
    assert report["PyCUDA"].value == (
        "2026.1 does not load: ImportError: undefined symbol: cuArrayCreate_v2"
    )
    assert report["GStreamer"].status == "ok"
    assert "gstreamer1.0-tools" in report["GStreamer"].hint
    assert report["kmod"].status == "missing"  # NVDEC fails without lsmod
    assert report["OpenCV"].value == "4.8.0"
    assert report["INT8"].status == "ok"


@pytest.mark.parametrize(
    ("machine", "there", "lacks", "packages"),
    [
        # What --no-install-recommends python3-opencv leaves in an image of a Jetson.
        (
            "orin",
            {"nvv4l2decoder", "nvvidconv"},
            "appsink, videoconvert, decodebin, rtspsrc, rtph264depay, h264parse",
            "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad",
        ),
        (
            "orin",
            {"appsink", "videoconvert", "decodebin", "rtspsrc", "rtph264depay", "h264parse"},
            "nvv4l2decoder, nvvidconv",
            "nvidia-l4t-gstreamer",
        ),
        (
            "desktop",
            {"appsink", "videoconvert", "decodebin", "rtspsrc", "rtph264depay", "h264parse"},
            "avdec_h264",
            "gstreamer1.0-libav",
        ),
    ],
)
def test_the_elements_that_gstreamer_lacks(
    machine: str, there: set[str], lacks: str, packages: str, tmp_path: Path
) -> None:
    data = {"orin": ORIN_62, "desktop": DESKTOP}[machine]
    python = {"cv2": Output(0, CV.format("YES (1.20.3)"), "")}
    probe = replay(tmp_path, data, python=python)
    installed = set(there)

    def run(command: Sequence[str]) -> Output | None:
        if command[0] == "gst-inspect-1.0":
            return Output(0 if command[-1] in installed | {"--version"} else 1, "", "")
        return Output(0, "Module", "") if command[0] == "lsmod" else probe.run(command)

    report = facts(Probe(tmp_path, run, probe.version))
    assert report["GStreamer"] == Fact(
        "GStreamer",
        "missing",
        f"OpenCV has it, but these elements are missing: {lacks}",
        f"sudo apt-get install {packages}",
    )
    assert "kmod" not in report
    installed |= set(lacks.split(", "))
    report = facts(Probe(tmp_path, run, probe.version))
    assert report["GStreamer"] == Fact("GStreamer", "ok", "yes, with all elements")


def test_jetpack_7(tmp_path: Path) -> None:
    probe = replay(tmp_path, THOR_72)
    board = jetson(probe)
    assert board is not None
    assert (board.l4t, board.jetpack, board.capability) == ("39.2.0", "7.2-b1", 11.0)
    report = facts(probe)
    assert report["Jetson"].value == "NVIDIA Jetson AGX Thor Developer Kit (Thor)"
    assert report["TensorRT"].value == "not installed"
    assert "nvidia-jetpack" in report["TensorRT"].hint
    assert "pip install" not in report["TensorRT"].hint
    # Without GStreamer the advice is the board's own OpenCV, not another wheel.
    assert "nvidia-opencv" in report["GStreamer"].hint


def test_a_nano_has_no_int8_and_what_is_unknown_is_said(tmp_path: Path) -> None:
    report = facts(replay(tmp_path, NANO_46))
    assert report["INT8"].status == "missing"
    assert report["INT8"].value == "NVIDIA Jetson Nano Developer Kit has no INT8"
    assert report["JetPack"].status == "missing"
    assert report["Power mode"].status == "missing"
    assert report["Memory"].value == "unknown"


def test_a_container_on_a_jetson_without_its_gpu(tmp_path: Path) -> None:
    files = {k: v for k, v in NANO_46["files"].items() if not k.startswith("dev/")}
    report = facts(replay(tmp_path, {"files": files, "programs": {}}))
    assert report["GPU"].status == "missing"
    assert "--runtime nvidia" in report["GPU"].hint
    assert "INT8" not in report


def test_desktop_cards(tmp_path: Path) -> None:
    probe = replay(tmp_path, DESKTOP)
    assert jetson(probe) is None
    assert [g.capability for g in gpus(probe)] == [6.1, 8.9]
    assert gpus(probe)[1] == Gpu("NVIDIA GeForce RTX 4090", "580.1", 24564, 8.9)
    report = facts(probe)
    assert report["CPU"].value.startswith("AMD Ryzen 9, ")
    assert report["Jetson"].value == "no"
    assert report["TensorRT"].hint == "pip install 'jdetrt[tensorrt]'"
    assert "docs/guide/gpu.md" in report["cuda-python"].hint
    assert "onnxruntime-gpu" in report["ONNX Runtime"].hint


def test_bindings_of_a_later_cuda_than_is_here(tmp_path: Path) -> None:
    versions = {**BASE, "cuda-bindings": "13.1.0", "nvidia-cuda-runtime-cu12": "12.6.77"}
    report = facts(replay(tmp_path, DESKTOP, versions=versions))
    assert report["cuda-python"] == Fact(
        "cuda-python",
        "broken",
        "13.1.0 is for CUDA 13, here is CUDA 12",
        "pip install 'cuda-bindings<13'",
    )
    del versions["cuda-bindings"]
    report = facts(replay(tmp_path, DESKTOP, versions=versions))
    assert "cuda-bindings<13" in report["cuda-python"].hint


def test_a_board_without_onnx_runtime_works(tmp_path: Path) -> None:
    without = {name: version for name, version in BASE.items() if name != "onnxruntime"}
    fact = facts(replay(tmp_path, THOR_72, versions=without))["ONNX Runtime"]
    assert fact.status == "missing"
    assert "jdetrt[onnxruntime]" in fact.hint


def test_no_gpu_at_all(tmp_path: Path) -> None:
    report = facts(replay(tmp_path, {"files": {}, "programs": {}}))
    assert report["GPU"].value == "no NVIDIA GPU, or no driver for it"
    assert "ONNX Runtime" in report["GPU"].hint
    assert report["TensorRT"].hint == "only useful with an NVIDIA GPU"
    assert report["CPU"].value.startswith("name unknown")
    assert all(fact.status != "broken" for fact in report.values())
    # Whatever is missing comes with what to do.
    assert all(fact.hint for fact in report.values() if fact.status == "missing")


def test_a_driver_that_fails_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    probe = replay(tmp_path, {"files": {}, "programs": {}})

    def run(command: Sequence[str]) -> Output | None:
        if command[0] == "nvidia-smi":
            return Output(18, "Failed to initialize NVML: Driver/library version mismatch\n", "")
        return probe.run(command)

    report = facts(Probe(tmp_path, run, probe.version))
    assert "nvidia-smi fails: Failed to initialize NVML" in report["GPU"].value


@pytest.mark.parametrize(
    ("python", "versions", "name", "why", "hint"),
    [
        (
            {"onnxruntime": Output(1, "", "Traceback\nImportError: DLL load failed\n")},
            BASE,
            "ONNX Runtime",
            "ImportError: DLL load failed",
            "pip install onnxruntime",
        ),
        (
            {"cv2": Output(1, "", "ImportError: libGL.so.1: cannot open shared object file\n")},
            BASE,
            "OpenCV",
            "libGL.so.1",
            "libgl1",
        ),
        ({"cv2": Output(-11, "", "")}, BASE, "OpenCV", "no message", "jdetrt[video]"),
        (
            {"numpy": Output(1, "", "ImportError: Numba needs NumPy 2.4 or less.\n")},
            BASE,
            "Packages",
            "Numba needs NumPy",
            "--force-reinstall",
        ),
        ({}, {"numpy": "2.0"}, "Packages", "missing: numba, lap", "pip install jdetrt"),
    ],
)
def test_what_tracking_needs_and_does_not_load_is_broken(
    tmp_path: Path,
    python: Mapping[str, Output],
    versions: Mapping[str, str],
    name: str,
    why: str,
    hint: str,
) -> None:
    board: Board = {"files": {}, "programs": {}}
    report = diagnose(replay(tmp_path, board, versions=versions, python=python))
    [fact] = [fact for fact in report if fact.status == "broken"]
    assert fact.name == name
    assert why in fact.value
    assert hint in fact.hint
    assert to_dict(report)["works"] is False


def test_tensorrt_rtx_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    nothing: Board = {"files": {}, "programs": {}}
    missing = facts(replay(tmp_path / "a", nothing))["TensorRT-RTX"]
    assert (missing.status, missing.value) == ("missing", "not installed")
    assert "pip install 'jdetrt[rtx]'" in missing.hint
    versions = {**BASE, "tensorrt-rtx": "1.7.1.116"}
    for answer, status, value in (
        (Output(0, "1.7.1.116\n", ""), "ok", "1.7.1.116"),
        (Output(1, "", "ImportError: no libs\n"), "missing", "does not load: ImportError: no libs"),
    ):
        probe = replay(
            tmp_path / status, nothing, versions=versions, python={"tensorrt_rtx": answer}
        )
        fact = facts(probe)["TensorRT-RTX"]
        assert fact.status == status
        assert value in fact.value
    assert "TensorRT-RTX" not in facts(replay(tmp_path / "orin", ORIN_62))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "TensorRT-RTX" not in facts(replay(tmp_path / "arm", nothing))


def test_a_tensorrt_that_crashes_is_a_line_and_not_a_crash(tmp_path: Path) -> None:
    probe = replay(
        tmp_path,
        DESKTOP,
        versions={**BASE, "tensorrt": "10.16.1"},
        python={"tensorrt": Output(-6, "", "libnvinfer.so.10: symbol not found\n")},
    )
    fact = facts(probe)["TensorRT"]
    assert fact.status == "missing"
    assert fact.value == "10.16.1 does not load: libnvinfer.so.10: symbol not found"


def test_opencv_is_optional(tmp_path: Path) -> None:
    error = Output(1, "", "ModuleNotFoundError: No module named 'cv2'\n")
    report = facts(replay(tmp_path, DESKTOP, python={"cv2": error}))
    assert report["OpenCV"].status == "missing"
    assert report["OpenCV"].hint == "pip install 'jdetrt[video]'"
    assert "GStreamer" not in report


def test_manifest_of_this_machine_names_no_host_user_or_path() -> None:
    import getpass
    import socket

    made = manifest(date="2026-11-22T12:00:00+00:00")
    text = msgspec.json.encode(made).decode()
    assert made.date == "2026-11-22T12:00:00+00:00"
    assert str(made.python).endswith(".".join(map(str, sys.version_info[:3])))
    assert made.packages["numpy"]
    assert (made.cores or 0) >= 1
    # Short names such as "root" may be parts of other words.
    for secret in (socket.gethostname(), str(Path.home()), f'"{getpass.getuser()}"'):
        assert secret not in text
    assert not re.search(r'"/|[A-Z]:\\\\', text)


def test_a_fingerprint_takes_memory_to_the_nearest_gib() -> None:
    def of(gib: float) -> str:
        return fingerprint(Machine(cpu="Carmel", memory_gib=gib))

    assert of(7.6) == of(8.0) == of(8.4)
    assert len({of(gib) for gib in (7.4, 8.0, 8.6)}) == 3
    assert differences(Machine(memory_gib=7.6), Machine(memory_gib=8.4)) == []
    assert differences(Machine(memory_gib=7.6), Machine(memory_gib=7.4)) == ["memory_gib: 8 and 7"]
    # A time of day, a commit and the clock of a moment are no other state.
    later = Machine(cpu="Carmel", memory_gib=8.0, date="2027-01-01", commit="def")
    assert fingerprint(later) == of(8.0)


def test_manifest_of_a_board(tmp_path: Path) -> None:
    made = manifest(probe=replay(tmp_path, ORIN_62, versions={"numpy": "1.26.4"}))
    assert made.jetson is not None
    assert made.jetson.jetpack == "6.2+b77"
    assert made.gpus[0].capability == 8.7
    assert made.packages == {"numpy": "1.26.4"}
    assert made.commit is None  # no git among the recorded programs
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", str(made.date))


@pytest.mark.parametrize(("changed", "suffix"), [("", ""), (" M a.py\n", "-dirty")])
def test_the_commit_is_ours_or_none(tmp_path: Path, changed: str, suffix: str) -> None:
    tracked = {"ls-files": "machine.py\n", "rev-parse": "0123abcd\n", "status": changed}

    def run(command: Sequence[str]) -> Output | None:
        return Output(0, tracked[command[3]], "") if command[0] == "git" else None

    assert manifest(probe=Probe(tmp_path, run, BASE.get)).commit == "0123abcd" + suffix


def test_package_versions_are_read_without_importing(tmp_path: Path) -> None:
    probe = Probe(tmp_path, lambda command: None, {"torch": "2.13.0", "lap": "0.5"}.get)
    assert package_versions(probe) == {"lap": "0.5", "torch": "2.13.0"}


def test_programs_that_are_missing_or_fail() -> None:
    assert run_program(["no-such-program-anywhere"]) is None
    done = run_program([sys.executable, "-c", "import sys; print('a'); sys.exit(3)"])
    assert done == Output(3, "a\n", "")
    assert Probe().output(sys.executable, "-c", "import sys; print('a'); sys.exit(3)") is None
