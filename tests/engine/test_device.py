"""What is asked of the driver and of the system, with a made-up driver in place of a real one."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import Any

import pytest

from jdetrt.engine.tensorrt import device
from jdetrt.engine.tensorrt.device import (
    Device,
    current_device,
    host_memory,
    platform_name,
)


class Driver:
    """libcuda for one Orin. Numbers of attributes: cuda.h, CUdevice_attribute."""

    contexts = 0

    def __init__(self, *, devices: int = 1, room: bool = True) -> None:
        self.devices = devices
        self.room = room

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGet(self, where: Any, index: int) -> int:
        return 0 if index < self.devices else 101

    def cuDeviceGetName(self, where: Any, length: int, number: Any) -> int:
        where.value = b"Orin"
        return 0

    def cuDriverGetVersion(self, where: Any) -> int:
        where._obj.value = 12060
        return 0

    def cuDeviceGetAttribute(self, where: Any, attribute: int, number: Any) -> int:
        where._obj.value = {16: 8, 18: 1, 75: 8, 76: 7}[attribute]
        return 0

    def cuDevicePrimaryCtxRetain(self, where: Any, number: Any) -> int:
        self.contexts += self.room
        return 0 if self.room else 2

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        free._obj.value, total._obj.value = 3 << 30, 8 << 30
        return 0

    def cuCtxPopCurrent_v2(self, where: Any) -> int:
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, number: Any) -> int:
        self.contexts -= 1
        return 0


def install(driver: Driver | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError("cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    install(driver, monkeypatch)
    monkeypatch.setattr(device, "board_model", lambda: "NVIDIA Jetson Orin Nano")
    assert current_device() == Device(
        "Orin", "8.7", True, 8 << 30, 3 << 30, "12.6", 8, "NVIDIA Jetson Orin Nano"
    )
    assert driver.contexts == 0


def test_no_driver_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in (None, Driver(devices=0)):
        install(driver, monkeypatch)
        assert current_device() is None


def test_no_room_for_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    install(Driver(room=False), monkeypatch)
    found = current_device()
    assert found is not None
    assert (found.free, found.memory) == (0, 0)


def test_memory_of_the_system(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    assert host_memory(file) is None
    file.write_text("MemTotal: 8000 kB\n")
    assert host_memory(file) is None
    file.write_text("MemTotal:       8000 kB\nMemAvailable:   3000 kB\nHugePages_Total:   0\n")
    assert host_memory(file) == (3000 << 10, 0)
    file.write_text(file.read_text() + "SwapFree:        500 kB\n")
    assert host_memory(file) == (3000 << 10, 500 << 10)


def test_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert platform_name() == "linux-aarch64"
