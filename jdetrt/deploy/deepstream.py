"""Hand-over to DeepStream: nvinfer's settings, an output parser, a probe that tracks."""

from __future__ import annotations

from pathlib import Path
from string import Template

import msgspec

from jdetrt.deploy.parts import copy_file, template
from jdetrt.engine.model import Model
from jdetrt.errors import ConfigError
from jdetrt.file_kind import FileKind
from jdetrt.files import write_text
from jdetrt.runtime.settings import label_in, settings_in

__all__ = ["write_deepstream_folder"]

_FP16 = 2  # network-mode of nvinfer


def write_deepstream_folder(model: str | Path, folder: Path, *, batch: int = 1) -> list[Path]:
    """Write what DeepStream needs to run a model on several streams.

    Args:
        model: an ONNX model, of which nvinfer builds an FP16 engine itself; or a plan.
        folder: for the files; others in it stay.
        batch: streams that are run at once.

    Returns:
        The files that were written.

    Raises:
        ConfigError: it is no such model, its metadata do not say its size, or it takes fewer
            images at a time.
        SessionError, PlanMismatchError: the model cannot be read.
        OutputError: a file cannot be written.
    """
    opened = Model(model)
    size, metadata = opened.size, opened.metadata
    if opened.kind not in (FileKind.ONNX, FileKind.PLAN):
        raise ConfigError(f"{opened.path}: is {opened.kind.value}; name an ONNX model or a plan")
    if size is None or "top_k" not in metadata:
        raise ConfigError(
            f"{opened.path}: its metadata do not say its size or its number of boxes; export it "
            "again with: jdetrt export CHECKPOINT -o MODEL.onnx"
        )
    is_plan = opened.kind is FileKind.PLAN
    if is_plan:
        spec = opened.plan.sidecar.inputs[0]
        most = opened.plan.sidecar.options.batch[2] if spec.shape[0] == -1 else spec.shape[0]
    else:
        most = opened.onnx.input_shape[0]
    if 0 < most < batch:
        raise ConfigError(
            f"{opened.path}: takes {most} image{'s' if most > 1 else ''} at a time, not {batch}; "
            "use a model of `jdetrt export --dynamic-batch`"
            + (f", built with --batch 1:{batch}:{batch}" if is_plan else "")
        )
    settings, label = settings_in(metadata), label_in(metadata)
    name = opened.path.name
    outputs = ["boxes", "scores", *(["embeddings"] if "embedding_dim" in metadata else [])]
    values = {
        "name": name,
        "width": str(size.width),
        "height": str(size.height),
        "batch": str(batch),
        "mode": str(_FP16),
        "model": f"model-engine-file={name}" if is_plan else f"onnx-file={name}",
        "outputs": ";".join(outputs),
        "score": f"{settings.score_threshold:g}",
        "iou": f"{settings.nms_iou:g}",
        "top_k": metadata["top_k"],
    }
    texts = {
        "config_infer_jde.txt": Template(template("config_infer.txt")).substitute(values),
        "nvdsinfer_jde.cpp": template("nvdsinfer_jde.cpp"),
        "Makefile": template("deepstream.mk"),
        "probe.py": Template(template("probe.py.txt")).substitute(values),
        "tracker.json": msgspec.json.encode(settings).decode() + "\n",
        "labels.txt": f"{label.name if label else 'person'}\n",
    }
    for path in opened.files:
        copy_file(path, folder / path.name)
    for file, text in texts.items():
        write_text(folder / file, text)
    return [folder / file for file in (*(path.name for path in opened.files), *texts)]
