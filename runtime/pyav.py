"""PyAV, FFmpeg's libraries for Python, imported at the first use: it is optional."""

from __future__ import annotations

from types import ModuleType

__all__ = ["load_av"]


def load_av() -> ModuleType | None:
    """PyAV, where it is installed and loads."""
    try:
        import av
    except ImportError:
        return None
    module: ModuleType = av
    return module
