"""Clocks are read from made-up trees of a board; fingerprints change with what decides a speed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from jdetrt.machine.clocks import Clock, clocks, locked
from jdetrt.machine.libraries import library_versions
from jdetrt.machine.manifest import Machine, differences, fingerprint, manifest
from jdetrt.machine.probe import Output, Probe

ORIN = {
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "1728000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1728000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1728000\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_min_freq": "115200\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq": "1728000\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "729600\n",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/15340000.vic/governor": "userspace\n",
    "proc/meminfo": "MemTotal:        7802100 kB\n",
    "proc/device-tree/compatible": "nvidia,p3767-0005\0nvidia,tegra234\0",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
}


def board(root: Path, files: dict[str, str]) -> Probe:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Probe(root, lambda command: None, {"numpy": "1.26.4", "jdetrt": "0.1.0"}.get)


def test_clocks_of_a_board(tmp_path: Path) -> None:
    found = clocks(board(tmp_path, ORIN))
    assert found == [
        Clock("cpu policy0", "schedutil", 1728.0, 1728.0, 1728.0),
        Clock("cpu policy4", "schedutil", 115.2, 1728.0, 729.6),
        Clock("gpu 17000000.gpu", "nvhost_podgov", 306.0, 1020.0, 306.0),
    ]
    assert [clock.locked for clock in found] == [True, False, False]
    assert locked(found) is False


def test_jetson_clocks_makes_all_of_them_locked(tmp_path: Path) -> None:
    at_maximum = {
        name.replace("min_freq", "max_freq"): text
        for name, text in ORIN.items()
        if name.endswith("max_freq")
    }
    pinned = {name.replace("max_freq", "min_freq"): text for name, text in at_maximum.items()}
    assert locked(clocks(board(tmp_path, {**ORIN, **pinned}))) is True


def test_what_is_not_told_is_unknown_and_not_unlocked(tmp_path: Path) -> None:
    assert clocks(board(tmp_path, {})) == []
    assert locked([]) is None
    folder = "sys/devices/system/cpu/cpufreq/policy0"
    [clock] = clocks(board(tmp_path, {f"{folder}/scaling_governor": "performance"}))
    assert clock == Clock("cpu policy0", "performance", None, None, None)
    assert locked([clock]) is None


def test_the_manifest_of_a_board_has_clocks_and_a_fingerprint(tmp_path: Path) -> None:
    probe = board(tmp_path, ORIN)
    made = manifest(probe=probe)
    assert made.locked is False
    assert made.clocks[2].max_mhz == 1020.0
    # Later, at another clock and another version of this package: the same machine.
    (tmp_path / "sys/class/devfreq/17000000.gpu/cur_freq").write_text("612000000")
    newer = Probe(tmp_path, probe.run, {"numpy": "1.26.4", "jdetrt": "0.2.0"}.get)
    later = manifest(date="2027-01-01T00:00:00+00:00", probe=newer)
    assert later.fingerprint == made.fingerprint
    assert differences(made, later) == []


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        (
            "sys/class/devfreq/17000000.gpu/max_freq",
            "918000000",
            "clocks[2].max_mhz: 1020.0 and 918.0",
        ),
        (
            "sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
            "performance",
            "clocks[0].governor: schedutil and performance",
        ),
        (
            "proc/device-tree/model",
            "NVIDIA Jetson Orin NX",
            "jetson.model: NVIDIA Jetson Orin Nano Developer Kit and NVIDIA Jetson Orin NX",
        ),
        ("proc/meminfo", "MemTotal: 16302100 kB\n", "memory_gib: 7 and 16"),
    ],
)
def test_another_state_has_another_fingerprint(
    tmp_path: Path, path: str, text: str, says: str
) -> None:
    before = manifest(probe=board(tmp_path, ORIN))
    after = manifest(probe=board(tmp_path, {**ORIN, path: text}))
    assert before.fingerprint != after.fingerprint
    assert differences(before, after) == [says]


def test_another_library_is_a_difference() -> None:
    one = Machine(packages={"onnxruntime": "1.20"}, libraries={"tensorrt": None})
    other = Machine(packages={"onnxruntime": "1.32"}, libraries={"tensorrt": "10.3"})
    assert differences(one, other) == [
        "libraries.tensorrt: nothing and 10.3",
        "packages.onnxruntime: 1.20 and 1.32",
    ]
    assert fingerprint(one) != fingerprint(other)


def test_libraries_of_a_jetson_are_those_of_its_system(tmp_path: Path) -> None:
    answers = {
        "nvcc": "Cuda compilation tools, release 11.4, V11.4.315\n",
        "dpkg-query": "libnvinfer8 8.5.2-1+cuda11.4\nlibnvinfer-dev 8.5.2-1+cuda11.4\n",
        sys.executable: "4.5.4\n",
    }

    def run(command: Sequence[str]) -> Output | None:
        return Output(0, answers[command[0]], "")

    assert library_versions(Probe(tmp_path, run, lambda name: None)) == {
        "cuda": "11.4 (toolkit)",
        "tensorrt": "8.5.2-1+cuda11.4 (system)",
        "opencv": "4.5.4 (system)",
    }
    nothing = Probe(tmp_path, lambda command: None, lambda name: None)
    assert library_versions(nothing) == {"cuda": None, "tensorrt": None, "opencv": None}
    packages = {"tensorrt-rtx": "1.7", "opencv-python": "5.0", "nvidia-cuda-runtime": "13.0"}
    assert library_versions(Probe(tmp_path, nothing.run, packages.get)) == {
        "cuda": "13.0 (Python package nvidia-cuda-runtime)",
        "tensorrt": "1.7 (TensorRT-RTX)",
        "opencv": "5.0",
    }
