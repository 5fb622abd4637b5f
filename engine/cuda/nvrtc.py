"""Compile CUDA C++ with NVRTC, which needs no GPU and no compiler of the host."""

from __future__ import annotations

from typing import Any

from jdetrt.engine.cuda.api import CudaError

__all__ = ["compile_kernel", "has_nvrtc"]


def has_nvrtc() -> bool:
    """Tell whether NVRTC is installed, with CUDA or as the package nvidia-cuda-nvrtc."""
    from cuda.bindings import nvrtc

    try:
        nvrtc.nvrtcVersion()
    except RuntimeError:  # the library is not found
        return False
    return True


def compile_kernel(source: str, compute_capability: tuple[int, int]) -> bytes:
    """Compile for one kind of GPU.

    Args:
        source: CUDA C++.
        compute_capability: major and minor.

    Returns:
        A cubin.

    Raises:
        CudaError: NVRTC refuses it; the message is its log.
    """
    from cuda.bindings import nvrtc

    def call(function: Any, *arguments: Any) -> Any:
        status, *values = function(*arguments)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CudaError(f"NVRTC failed: {status.name}")
        return values[0] if values else None

    major, minor = compute_capability
    options = [f"--gpu-architecture=sm_{major}{minor}".encode(), b"--std=c++14"]
    program = call(nvrtc.nvrtcCreateProgram, source.encode(), b"kernel.cu", 0, [], [])
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log: bytes = b" " * call(nvrtc.nvrtcGetProgramLogSize, program)
            call(nvrtc.nvrtcGetProgramLog, program, log)
            text = log.rstrip(b"\0 \n").decode()
            raise CudaError(f"NVRTC cannot compile for sm_{major}{minor}: {text or status.name}")
        binary: bytes = b" " * call(nvrtc.nvrtcGetCUBINSize, program)
        call(nvrtc.nvrtcGetCUBIN, program, binary)
        return binary
    finally:
        call(nvrtc.nvrtcDestroyProgram, program)
