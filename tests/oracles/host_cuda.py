"""CUDA C++ kernels compiled for the CPU, by the compiler of the host, and run thread by thread."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

__all__ = ["COMPILER", "host_kernel"]

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

_BEFORE = """
struct Index { int x, y; };
static Index blockIdx, blockDim, threadIdx;
#define __device__
#define __global__
"""
# One entry for each kernel: all blocks, all threads, one after the other.
_AFTER = """
extern "C" void all_threads_of_{name}(int gx, int gy, int bx, int by, void **a) {{
    blockDim = {{bx, by}};
    for (blockIdx.y = 0; blockIdx.y < gy; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < gx; ++blockIdx.x)
    for (threadIdx.y = 0; threadIdx.y < by; ++threadIdx.y)
    for (threadIdx.x = 0; threadIdx.x < bx; ++threadIdx.x)
        {name}({arguments});
}}
"""
_ARGUMENTS = {
    f"letterbox_{pixels}_{dtype}": ["const unsigned char *", f"{kind} *"] + ["int"] * 11
    for pixels in ("bgr", "bgrx", "nv12_bt601", "nv12_bt709")
    for dtype, kind in (("float32", "float"), ("float16", "unsigned short"))
}

Launch = Callable[[tuple[int, int], tuple[int, int], Sequence[np.generic]], None]


@functools.cache
def _library(source: str) -> ctypes.CDLL:
    assert COMPILER is not None
    text = _BEFORE + source
    for name, types in _ARGUMENTS.items():
        arguments = ", ".join(f"*({kind}*)a[{i}]" for i, kind in enumerate(types))
        text += _AFTER.format(name=name, arguments=arguments)
    folder = Path(tempfile.mkdtemp(prefix="host-cuda-"))
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.so"
    try:
        command = [COMPILER, "-x", "c++", "-std=c++14", "-O2", "-fPIC", "-shared", "-Wall"]
        subprocess.run([*command, "-Werror", "-o", file, "-"], input=text, text=True, check=True)
        return ctypes.CDLL(str(file))
    finally:
        shutil.rmtree(folder)


def host_kernel(source: str, name: str) -> Launch:
    """The kernel ``name`` of ``source`` as a function of grid, block and arguments."""
    function = getattr(_library(source), f"all_threads_of_{name}")

    def launch(
        grid: tuple[int, int], block: tuple[int, int], arguments: Sequence[np.generic]
    ) -> None:
        values = [np.atleast_1d(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        function(*grid, *block, pointers)

    return launch
