"""On which CPUs ONNX Runtime has to take its slower integer kernels."""

from pathlib import Path

import pytest

from jdetrt.engine import onnxruntime
from jdetrt.engine.onnxruntime import products_overflow, session_options

KEY = "session.x64quantprecision"


@pytest.mark.parametrize(
    ("machine", "flags", "overflows"),
    [
        ("x86_64", "avx2 avx512f avx512bw", True),
        ("x86_64", "avx2 avx512_vnni", False),
        ("x86_64", "avx2 avx_vnni", False),
        ("aarch64", "asimd", False),
        ("x86_64", None, False),
    ],
)
def test_products(machine: str, flags: str | None, overflows: bool, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    assert products_overflow(machine, info) is overflows


@pytest.mark.parametrize("overflows", [True, False])
def test_the_option(overflows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "products_overflow", lambda: overflows)
    options = session_options()
    if overflows:
        assert options.get_session_config_entry(KEY) == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(KEY)
