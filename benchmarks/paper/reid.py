"""The two networks that JDE replaces: a detector, and a re-identification network.

Both are JDE cut in two, so that a comparison is of the idea and not of two code bases: the
detector is the very JDE model without its embeddings, and the other is a body of ``BODIES`` with a
mean over its last map, as the IDE and Triplet networks of the paper's figure 3 have on ResNet-50.
Their weights are random: a time does not depend on them.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.errors import ConfigError, MissingDependencyError
from jdetrt.files import atomic_path
from jdetrt.runtime.opencv import load_cv2

__all__ = ["CROP", "crops", "write_detector", "write_reid"]

CROP = (128, 256)  # width and height of a person, as re-identification networks take them


def write_detector(model: str | Path, output: str | Path) -> None:
    """Write a JDE model without its embeddings.

    Raises:
        MissingDependencyError: onnx is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from onnx.utils import extract_model
    except ImportError as err:
        raise MissingDependencyError("onnx", "export", "Cutting a model") from err
    with atomic_path(output) as temporary:
        extract_model(str(model), str(temporary), ["images"], ["boxes", "scores"])


def write_reid(output: str | Path, body: str = "resnet50") -> None:
    """Write a re-identification network with random weights: ``crops`` to ``embeddings``.

    Args:
        output: the ONNX file; any number of crops.
        body: a name in ``jdetrt.training.network.model.BODIES``.

    Raises:
        ConfigError: no body of that name.
        MissingDependencyError: torch is not installed.
        OutputError: the file cannot be written.
    """
    try:
        import torch

        from jdetrt.training.network.model import BODIES, initialise
    except ImportError as err:
        raise MissingDependencyError("torch", "export", "Making a network") from err
    if body not in BODIES:
        raise ConfigError(f"body '{body}': expected {', '.join(BODIES)}")

    class Reid(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = BODIES[body]()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.body(images)[-1].mean(dim=(2, 3)))

    network = Reid()
    initialise(network)
    with atomic_path(output) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as in export.onnx_writer
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, CROP[1], CROP[0]),),
            temporary,
            dynamo=False,
            opset_version=17,
            input_names=["crops"],
            output_names=["embeddings"],
            dynamic_axes={"crops": {0: "people"}, "embeddings": {0: "people"}},
        )


def crops(image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cut people out of an image, all to one size.

    Args:
        image: ``(H, W, 3)`` uint8, BGR.
        boxes: ``(N, 4)`` float32, x1 y1 x2 y2 in pixels; clipped to the image.

    Returns:
        ``(N, 3, 256, 128)`` float32, RGB from 0 to 1.
    """
    cv2 = load_cv2()
    height, width = image.shape[:2]
    cut = np.empty((len(boxes), 3, CROP[1], CROP[0]), np.float32)
    for index, (x1, y1, x2, y2) in enumerate(boxes.astype(int).tolist()):
        left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        right, bottom = max(min(x2, width), left + 1), max(min(y2, height), top + 1)
        person = cv2.resize(image[top:bottom, left:right], CROP)
        cut[index] = person[..., ::-1].transpose(2, 0, 1)
    cut /= 255
    return cut
