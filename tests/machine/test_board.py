"""The board of a Jetson: on the host, and in containers that show less of it."""

from pathlib import Path

import pytest

from jdetrt.machine.board import board_model, l4t_release, on_jetson
from jdetrt.machine.probe import Probe

MODEL = "NVIDIA Jetson Orin Nano Developer Kit"
TREE = {
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
    "proc/device-tree/model": f"{MODEL}\0",
}
RELEASE = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081"}


@pytest.mark.parametrize(
    ("files", "jetson", "model"),
    [
        (TREE | RELEASE, True, MODEL),
        (TREE, True, MODEL),  # a plain image
        (RELEASE, True, None),  # the device tree is hidden
        ({"dev/nvmap": ""}, True, None),  # nothing but the GPU is shown
        ({}, False, None),
        (
            {
                "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
                "proc/device-tree/model": "Raspberry Pi 5\0",
            },
            False,
            None,
        ),
    ],
)
def test_what_shows_a_jetson(
    files: dict[str, str], jetson: bool, model: str | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    probe = Probe(root=tmp_path)
    assert on_jetson(probe) == jetson
    assert board_model(probe) == model
    assert l4t_release(probe) == ("36.4.3" if files.keys() & RELEASE.keys() else None)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R35 (release), REVISION: 2.1, GCID: 32413640, BOARD: t186ref", "35.2.1"),
        ("something else", None),
    ],
)
def test_the_release_of_jetson_linux(text: str, release: str | None, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(text)
    assert l4t_release(Probe(root=tmp_path)) == release
