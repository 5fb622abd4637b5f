"""Whether ONNX Runtime's fast integer kernels compute right on this CPU."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

__all__ = ["keep_exact", "products_overflow"]

_CPU_INFO = Path("/proc/cpuinfo")


def keep_exact(options: Any) -> None:
    """Have ONNX Runtime take its slower kernels (uint8 weights) where the faster ones overflow.

    Not everywhere: where they do not, the option costs half of the speed and gains nothing.

    Args:
        options: an ``onnxruntime.SessionOptions``, changed in place.
    """
    if products_overflow():
        options.add_session_config_entry("session.x64quantprecision", "1")


def products_overflow(machine: str | None = None, cpu_info: Path = _CPU_INFO) -> bool:
    """Whether this CPU adds products of uint8 and int8 in 16 bits: x86 without VNNI does.

    Args:
        machine: architecture; default: of this machine.
        cpu_info: what the Linux kernel says of the CPU. Where there is none, nobody knows, and the
            answer is no.
    """
    if (machine or platform.machine()) not in ("x86_64", "AMD64", "i686"):
        return False
    try:
        return "vnni" not in cpu_info.read_text()
    except OSError:
        return False
