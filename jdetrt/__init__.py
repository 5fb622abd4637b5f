"""Joint detection and tracking (JDE) on Jetson and desktop NVIDIA GPUs.

The parts are ``jdetrt.export``, ``jdetrt.engine``, ``jdetrt.runtime``, ``jdetrt.calibration``,
``jdetrt.training`` and ``jdetrt.benchmarks``; the values that pass between them are in
``jdetrt.types``, the errors in ``jdetrt.errors`` and the settings in ``jdetrt.config``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
