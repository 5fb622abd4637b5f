"""Joint detection and tracking (JDE) of people on Jetson and desktop NVIDIA GPUs.

::

    import jdetrt

    for frame, tracks in jdetrt.track("video.mp4"):
        print(frame.index, tracks.ids, tracks.boxes)

The names below are loaded on first use, so that the import is light. Values are documented in
``jdetrt.types``, functions in ``jdetrt.api``.
"""

TYPE_CHECKING = False  # for type checkers it is true; typing itself need not be loaded

if TYPE_CHECKING:
    from jdetrt.api import (
        build_plan,
        calibrate,
        evaluate,
        export_onnx,
        load,
        track,
        track_many,
        train,
    )
    from jdetrt.errors import (
        BuildError,
        CalibrationError,
        CheckpointError,
        ConfigError,
        DataError,
        EngineError,
        ExportError,
        JdetrtError,
        MissingDependencyError,
        OutputError,
        ParityError,
        PlanMismatchError,
        SessionError,
        SourceError,
        TrainingError,
    )
    from jdetrt.runtime.detector import Detector
    from jdetrt.runtime.sources.open import open_source
    from jdetrt.runtime.tracking.tracker import Tracker
    from jdetrt.types import Detections, Size, Tracks

__version__ = "0.1.0"

__all__ = [
    "BuildError",
    "CalibrationError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Detections",
    "Detector",
    "EngineError",
    "ExportError",
    "JdetrtError",
    "MissingDependencyError",
    "OutputError",
    "ParityError",
    "PlanMismatchError",
    "SessionError",
    "Size",
    "SourceError",
    "Tracker",
    "Tracks",
    "TrainingError",
    "__version__",
    "build_plan",
    "calibrate",
    "evaluate",
    "export_onnx",
    "load",
    "open_source",
    "track",
    "track_many",
    "train",
]

_MODULES = {
    "Detections": "jdetrt.types",
    "Detector": "jdetrt.runtime.detector",
    "Size": "jdetrt.types",
    "Tracker": "jdetrt.runtime.tracking.tracker",
    "Tracks": "jdetrt.types",
    "open_source": "jdetrt.runtime.sources.open",
}


if not TYPE_CHECKING:  # else a type checker would take every name to exist

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'jdetrt' has no attribute '{name}'")
        from importlib import import_module

        module = _MODULES.get(name, "jdetrt.errors" if name.endswith("Error") else "jdetrt.api")
        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
