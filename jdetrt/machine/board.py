"""The board of a Jetson, by the files that its kernel and its containers show."""

from __future__ import annotations

import re

from jdetrt.machine.probe import Probe

__all__ = ["board_model", "l4t_release", "on_jetson"]

_HERE = Probe()
# Docker hides the device tree; the nodes of the GPU are what a container with a GPU has at least.
_NODES = ("dev/nvhost-gpu", "dev/nvhost-ctrl-gpu", "dev/nvgpu", "dev/nvmap")


def on_jetson(probe: Probe = _HERE) -> bool:
    """Tell whether this machine is an NVIDIA Jetson, also from within a container."""
    compatible = probe.text("proc/device-tree/compatible") or ""
    return (
        "nvidia,tegra" in compatible
        or l4t_release(probe) is not None
        or any((probe.root / node).exists() for node in _NODES)
    )


def board_model(probe: Probe = _HERE) -> str | None:
    """Model of the board, such as "NVIDIA Jetson Orin NX"; None where this is no Jetson."""
    compatible = probe.text("proc/device-tree/compatible") or ""
    return probe.text("proc/device-tree/model") if "nvidia,tegra" in compatible else None


def l4t_release(probe: Probe = _HERE) -> str | None:
    """Release of Jetson Linux, which each JetPack has its own of; None on other machines."""
    # "# R36 (release), REVISION: 4.3, GCID: ..." is 36.4.3.
    text = probe.text("etc/nv_tegra_release") or ""
    match = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{match[1]}.{match[2]}" if match else None
