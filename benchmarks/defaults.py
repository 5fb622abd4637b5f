"""Backends and precisions of a sweep where none are named: those that suit the machine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from jdetrt.engine.tensorrt.compat import BACKENDS as PLAN_BACKENDS
from jdetrt.machine.hardware import gpus
from jdetrt.machine.probe import Probe

__all__ = ["default_backends", "default_precisions"]


def default_backends(probe: Probe | None = None) -> list[str]:
    """TensorRT on a machine with an NVIDIA GPU and TensorRT; otherwise ONNX Runtime.

    Args:
        probe: where to look for a GPU; default this machine.
    """
    if gpus(probe or Probe()):
        for backend, module in PLAN_BACKENDS.items():
            if find_spec(module) is not None:
                return [backend]
    return ["onnxruntime"]


def default_precisions(backends: Sequence[str], *, calibration: bool) -> list[str]:
    """Float16 for TensorRT, float32 for ONNX Runtime, and INT8 where it can be calibrated.

    Args:
        backends: of the sweep.
        calibration: whether there is a source to calibrate on.

    >>> default_precisions(["tensorrt"], calibration=True)
    ['fp16', 'int8']
    >>> default_precisions(["onnxruntime"], calibration=False)
    ['fp32']
    """
    full = [] if all(backend in PLAN_BACKENDS for backend in backends) else ["fp32"]
    half = ["fp16"] if any(backend in PLAN_BACKENDS for backend in backends) else []
    return full + half + (["int8"] if calibration else [])
