"""Sensors: recorded lines and made-up counters; what is absent is said and is never a zero."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jdetrt.machine.power import Monitor
from jdetrt.machine.probe import Probe
from jdetrt.machine.sensors.base import AbsentError, Reading, Sensors
from jdetrt.machine.sensors.jtop import Jtop, open_jtop
from jdetrt.machine.sensors.nvml import Nvml
from jdetrt.machine.sensors.open import open_sensors
from jdetrt.machine.sensors.rapl import Rapl
from jdetrt.machine.sensors.tegrastats import open_tegrastats, parse

# As the boards printed them.
NANO_JP4 = (
    "RAM 1766/3964MB (lfb 197x4MB) SWAP 0/2048MB (cached 0MB) "
    "CPU [24%@1224,15%@1224,13%@1224,10%@1224] EMC_FREQ 0% GR3D_FREQ 0% PLL@21C CPU@25C PMIC@100C "
    "GPU@23.5C AO@33.5C thermal@24.5C POM_5V_IN 2545/2547 POM_5V_GPU 0/0 POM_5V_CPU 549/529"
)
XAVIER_JP4 = (
    "RAM 14700/15692MB (lfb 3x2MB) SWAP 898/8192MB (cached 23MB) "
    "CPU [0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190] EMC_FREQ 0% "
    "GR3D_FREQ 0% AO@30C GPU@30.5C Tboard@31C Tdiode@32C AUX@30.5C CPU@31.5C thermal@30.8C "
    "PMIC@100C GPU 463/463 CPU 618/618 SOC 2936/2936 CV 0/0 VDDRQ 309/309 SYS5V 3306/3306"
)
ORIN_NANO_JP6 = (
    "04-27-2026 15:00:54 RAM 779/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [0%@1344,0%@1344,0%@1344,0%@1344,off,off] GR3D_FREQ 0% cpu@50.125C soc2@49.125C "
    "soc0@49.25C gpu@50.562C tj@50.562C soc1@50.437C VDD_IN 6626mW/6625mW "
    "VDD_CPU_GPU_CV 1228mW/1230mW VDD_SOC 2380mW/2380mW "
)
AGX_ORIN_JP6 = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) "
    "CPU [0%@729,0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 "
    "CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C Tdiode@33C GPU@-256C tj@44.343C "
    "VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
THOR_JP7 = (
    "08-08-2026 21:00:39 RAM 8353/125749MB (lfb 31x4MB) CPU [90%@2601,75%@2601,off,7%@2601] "
    "EMC_FREQ 34%@4266 GR3D_FREQ 87%@[1574,1574,1574] NVENC0_FREQ @1691 VIC off "
    "cpu@58.25C/61.75C tj@66.625C/66.625C gpu@56.937C/66.625C soc012@55.375C/58.781C "
    "VDD_GPU 37939mW/8660mW/37939mW VDD_CPU_SOC_MSS 30059mW/12281mW/30059mW "
    "VIN_SYS_5V0 15486mW/7424mW/15486mW VIN 124486mW/36487mW/124486mW FUTURE_TOKEN value"
)
THOR_IDLE = (
    "RAM 3429/125749MB CPU [0%,5%,off]@2601 EMC_FREQ @4266 GR3D_FREQ @[314,314,314] VIN 1mW/1mW"
)


@pytest.mark.parametrize(
    ("line", "watts", "rails", "gpu", "mhz"),
    [
        (NANO_JP4, 2.545, 3, 23.5, {"cpu": 1224.0}),
        (XAVIER_JP4, 7.632, 6, 30.5, {"cpu": 1190.0}),
        (ORIN_NANO_JP6, 6.626, 3, 50.562, {"cpu": 1344.0}),
        (AGX_ORIN_JP6, 6.755, 5, None, {"gpu": 0.0, "cpu": 729.0, "memory": 2133.0}),
        (THOR_JP7, 124.486, 4, 56.937, {"gpu": 1574.0, "cpu": 2601.0, "memory": 4266.0}),
        (THOR_IDLE, 0.001, 1, None, {"gpu": 314.0, "cpu": 2601.0, "memory": 4266.0}),
        ("GR3D_FREQ 10%@1300 gpu@40C VDD_IN 5W", None, 0, 40.0, {"gpu": 1300.0}),
    ],
    ids=["nano", "xavier", "orin-nano", "agx-orin", "thor", "thor-idle", "unknown-unit"],
)
def test_lines_of_every_jetpack(
    line: str, watts: float | None, rails: int, gpu: float | None, mhz: dict[str, float]
) -> None:
    reading = parse(line)
    assert reading is not None
    assert reading.watts == (None if watts is None else pytest.approx(watts))
    assert len(reading.rails) == rails
    assert reading.celsius.get("gpu") == gpu  # a part that is off has no temperature
    assert dict(reading.mhz) == mhz
    assert "pmic" not in reading.celsius  # a constant 100 of the driver, not measured
    assert max(reading.celsius.values(), default=0) < 70


@pytest.mark.parametrize("line", ["", "no such thing", "RAM 1/2MB (lfb 3x4MB) SWAP 5/6MB"])
def test_a_line_without_a_sensor_is_no_reading(line: str) -> None:
    assert parse(line) is None


def wait_for(sensor: Any) -> Reading:
    """The first reading of a sensor that follows a program."""
    for _ in range(1000):
        reading = sensor.read()
        if reading is not None:
            assert isinstance(reading, Reading)
            return reading
        time.sleep(0.01)
    raise AssertionError("no reading came")


def test_the_program_is_followed_and_ended(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\necho '{ORIN_NANO_JP6}'\nexec sleep 60\n")
    program.chmod(0o755)
    counter = tmp_path / "sys/class/hwmon/hwmon3/oc3_event_cnt"
    counter.parent.mkdir(parents=True)
    counter.write_text("27\n")
    sensor = open_tegrastats(Probe(tmp_path), str(program))
    try:
        reading = wait_for(sensor)
        assert (reading.watts, reading.throttled) == (6.626, ())
        counter.write_text("30\n")
        assert wait_for(sensor).throttled == ("oc3",)
        assert wait_for(sensor).throttled == ()
    finally:
        sensor.close()
    assert sensor.read() is None
    assert sensor.last_line == ORIN_NANO_JP6.strip()


def test_a_program_that_is_missing_or_no_program(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="not on the PATH"):
        open_tegrastats(Probe(tmp_path), "no-such-tegrastats")
    broken = tmp_path / "tegrastats"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    with pytest.raises(AbsentError, match="does not start"):
        open_tegrastats(Probe(tmp_path), str(broken))


def rapl_tree(root: Path, energies: list[int], limit: int = 10**12) -> None:
    for index, energy in enumerate(energies):
        folder = root / f"sys/class/powercap/intel-rapl:{index}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"package-{index}\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
        (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    for name, text in (("intel-rapl:0:0", "core"), ("intel-rapl:9", "psys")):
        folder = root / "sys/class/powercap" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(text)
        (folder / "energy_uj").write_text("999999999")


def test_rapl_adds_up_the_packages_and_goes_round(tmp_path: Path) -> None:
    rapl_tree(tmp_path, [1_000_000, 9_000_000], limit=10_000_000)
    sensor = Rapl(Probe(tmp_path))
    rapl_tree(tmp_path, [3_000_000, 500_000], limit=10_000_000)  # the second went round
    reading = sensor.read()
    assert reading is not None
    assert reading.joules == pytest.approx(2.0 + 1.5)
    assert reading.watts is not None
    assert reading.watts > 0
    assert (reading.celsius, reading.throttled) == ({}, None)


def test_rapl_that_is_not_there_or_not_for_us(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="no counters"):
        Rapl(Probe(tmp_path))
    rapl_tree(tmp_path, [5])
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(AbsentError, match="only be read by root"):
        Rapl(Probe(tmp_path))


class NvmlError(Exception):
    pass


def fake_nvml(**changes: Any) -> Any:
    """Something like pynvml, with one GPU."""

    def refuse(*_: object) -> None:
        raise NvmlError("Not Supported")

    functions: dict[str, Any] = {
        "NVMLError": NvmlError,
        "NVML_TEMPERATURE_GPU": 0,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetPowerUsage": lambda device: 70_500,
        "nvmlDeviceGetTemperature": lambda device, place: 61,
        "nvmlDeviceGetClockInfo": lambda device, unit: 1410,
        "nvmlDeviceGetTotalEnergyConsumption": lambda device: 5_000,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda device: 0x1 | 0x4 | 0x40,
    }
    return (
        SimpleNamespace(**functions, refuse=refuse)
        if not changes
        else SimpleNamespace(
            **{**functions, **{name: value or refuse for name, value in changes.items()}}
        )
    )


def test_nvml_says_what_the_gpu_knows() -> None:
    assert Nvml(fake_nvml()).read() == Reading(
        watts=70.5,
        rails={"gpu0": 70.5},
        celsius={"gpu0": 61.0},
        mhz={"gpu0": 1410.0},
        throttled=("power cap", "thermal (hardware)"),
        joules=5.0,
    )
    poor = fake_nvml(
        nvmlDeviceGetPowerUsage=None,
        nvmlDeviceGetTotalEnergyConsumption=None,
        nvmlDeviceGetCurrentClocksEventReasons=None,
    )
    reading = Nvml(poor).read()
    assert reading is not None
    assert (reading.watts, reading.joules, reading.throttled) == (None, None, None)


def test_nvml_without_a_driver_or_a_gpu() -> None:
    with pytest.raises(AbsentError, match="Not Supported"):
        Nvml(fake_nvml(nvmlInit=None))
    with pytest.raises(AbsentError, match="no GPU"):
        Nvml(fake_nvml(nvmlDeviceGetCount=lambda: 0))


def test_jtop_where_the_user_has_it() -> None:
    client = SimpleNamespace(
        start=lambda: None,
        close=lambda: None,
        power={"tot": {"power": 6500}, "rail": {"VDD_SOC": {"power": 1500}}},
        temperature={
            "gpu": {"temp": 48.5, "online": True},
            "cv0": {"temp": -256, "online": False},
            "PMIC-Die": {"temp": 100.0},
        },
        gpu={"gpu": {"freq": {"cur": 1_300_500}}},
    )
    assert Jtop(client).read() == Reading(
        watts=6.5, rails={"VDD_SOC": 1.5}, celsius={"gpu": 48.5}, mhz={"gpu": 1300.5}
    )

    def refuse() -> None:
        raise RuntimeError("the service is inactive")

    with pytest.raises(AbsentError, match="service is inactive"):
        Jtop(SimpleNamespace(start=refuse))
    with pytest.raises(AbsentError, match="not installed"):
        open_jtop()


def test_a_pc_names_all_that_is_absent(tmp_path: Path) -> None:
    found = open_sensors(Probe(tmp_path, lambda command: None))
    assert {"tegrastats", "jtop", "RAPL"} <= set(found.absent)
    assert found.absent["tegrastats"] == "this is not a Jetson"
    assert "no counters" in found.absent["RAPL"]
    for sensor in found.present:  # a machine with an NVIDIA GPU
        sensor.close()


def test_a_jetson_has_one_sensor_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "tegrastats"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{ORIN_NANO_JP6}'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    tree = tmp_path / "proc/device-tree/compatible"
    tree.parent.mkdir(parents=True)
    tree.write_text("nvidia,tegra234")
    rapl_tree(tmp_path, [1])
    found = open_sensors(Probe(tmp_path, lambda command: None))
    with Monitor(found):
        assert [sensor.name for sensor in found.present] == ["tegrastats"]
        assert "sees the whole module" in found.absent["RAPL"]


class Steady:
    """A sensor of a constant power, or of a counter that runs."""

    name, scope = "steady", "all"

    def __init__(self, *, watts: float | None = None, joules: bool = False) -> None:
        self.watts, self.counts, self.closed = watts, joules, False
        self.temperature = 40.0

    def read(self) -> Reading | None:
        self.temperature += 1
        return Reading(
            watts=self.watts,
            celsius={"gpu": self.temperature, "pmic": 20.0},
            mhz={"gpu": 900.0},
            throttled=("power cap",) if self.temperature > 43 else (),
            joules=7.0 * time.perf_counter() if self.counts else None,
        )

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "sensor", [Steady(watts=7.0), Steady(joules=True)], ids=["power", "joules"]
)
def test_energy_is_power_by_time(sensor: Steady) -> None:
    with Monitor(Sensors([sensor], {}), interval=0.01) as monitor:
        with monitor.phase("before"):
            pass
        with monitor.phase("during"):
            time.sleep(0.05)
        report = monitor.report(frames=10)
    assert sensor.closed
    assert report.watts == pytest.approx(7.0, rel=0.02)
    assert report.scope == "all"
    [one] = report.sensors
    during = one.phases["during"]
    assert during.seconds is not None
    assert during.seconds >= 0.05
    assert during.joules == pytest.approx(7.0 * during.seconds, rel=0.02)
    assert report.joules_per_frame == pytest.approx((during.joules or 0) / 10)
    assert during.readings >= 3
    assert (during.celsius_start or 99) < (during.celsius_end or 0) == during.celsius_max
    assert during.throttled == ["power cap"]
    assert one.phases["before"].throttled == []
    assert during.mhz == {"gpu": {"min": 900.0, "mean": 900.0}}


class Nominal(Steady):
    """Another chip whose driver states a constant."""

    def read(self) -> Reading | None:
        reading = super().read()
        assert reading is not None
        return replace(reading, celsius={**reading.celsius, "regulator": 100.0})


def test_a_constant_is_not_the_hottest_place() -> None:
    with Monitor(Sensors([Nominal()], {}), interval=0.01) as monitor:
        with monitor.phase("during"):
            time.sleep(0.03)
        during = monitor.report(frames=1).sensors[0].phases["during"]
    assert during.celsius_start == 41
    assert during.celsius_max is not None
    assert 41 < during.celsius_max < 100


def test_a_sensor_without_power_leaves_it_unknown() -> None:
    with Monitor(Sensors([Steady()], {"RAPL": "why"}), interval=0.01) as monitor:
        with monitor.phase("during"):
            time.sleep(0.02)
        report = monitor.report(frames=1)
    assert (report.watts, report.scope, report.joules_per_frame) == (None, None, None)
    assert report.sensors[0].phases["during"].joules is None
    assert report.absent == {"RAPL": "why"}


def test_two_sensors_of_different_parts_are_added() -> None:
    pair = [Steady(watts=7.0), Steady(watts=3.0), Steady()]
    with Monitor(Sensors(list(pair), {}), interval=0.01) as monitor:
        with monitor.phase("during"):
            time.sleep(0.02)
        assert monitor.report(frames=1).watts == pytest.approx(10.0)
