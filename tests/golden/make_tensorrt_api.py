"""Write tensorrt_api.json: which TensorRT has which attribute, of the classes that jdetrt touches.

    python tests/golden/make_tensorrt_api.py FOLDER

FOLDER holds a JSON a version, `{class: [public attributes]}`, listed from that version's bindings:
tensorrt-8.5.3.1.json and so on, tensorrt_rtx-1.7.1.json. In the extract an attribute has a text of
one digit a version, "1" where the version has it.
"""

import json
import re
import sys
from pathlib import Path

CLASSES = (
    *("Builder", "IBuilderConfig", "INetworkDefinition", "IOptimizationProfile", "ITimingCache"),
    *("OnnxParser", "ParserError", "ILayer", "ITensor", "IHostMemory"),
    *("Runtime", "ICudaEngine", "IExecutionContext", "EngineInspector", "IRuntimeConfig"),
    *("ILogger", "IProgressMonitor", "IInt8EntropyCalibrator2", "IErrorRecorder"),
    *("BuilderFlag", "NetworkDefinitionCreationFlag", "OnnxParserFlag", "MemoryPoolType"),
    *("ComputeCapability", "HardwareCompatibilityLevel", "CudaGraphStrategy", "DeviceType"),
    *("TacticSource", "PreviewFeature", "ExecutionContextAllocationStrategy"),
    *("DataType", "LayerType", "TensorIOMode", "TensorLocation"),
    *("ProfilingVerbosity", "LayerInformationFormat"),
)


def extract(folder: Path) -> dict[str, object]:
    """The extract, ready for JSON."""
    surfaces = {
        path.stem.removeprefix("tensorrt-"): json.loads(path.read_text())
        for path in sorted(folder.glob("tensorrt*.json"), key=_order)
    }
    classes = {}
    for name in sorted(CLASSES):
        present = [surface.get(name, []) for surface in surfaces.values()]
        attributes = sorted(set().union(*present))
        classes[name] = {a: "".join(str(int(a in p)) for p in present) for a in attributes}
    return {"versions": list(surfaces), "classes": classes}


def _order(path: Path) -> list[int]:
    """By number; TensorRT-RTX, which counts its own, comes last."""
    return [int("rtx" in path.stem), *map(int, re.findall(r"\d+", path.stem))]


if __name__ == "__main__":
    text = json.dumps(extract(Path(sys.argv[1])), indent=1)
    Path(__file__).with_name("tensorrt_api.json").write_text(text + "\n")
