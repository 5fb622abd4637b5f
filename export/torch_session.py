"""A torch network behind the ``Session`` protocol: a checkpoint is judged as a model is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from jdetrt.config import AnyTrackerConfig, ExportConfig, LabelConfig
from jdetrt.errors import SessionError
from jdetrt.export.deploy_graph import Decode, DeployGraph, normalise
from jdetrt.export.sizes import load_sized
from jdetrt.runtime.session import SessionBase
from jdetrt.runtime.settings import label_note, tracker_note
from jdetrt.training.network.anchors import anchor_sizes, grids, network_anchors
from jdetrt.training.network.model import JdeNetwork
from jdetrt.types import Array, TensorSpec

__all__ = ["TorchSession", "load_network", "open_checkpoint"]

_MAPS = "embedding_maps"  # the output that exported models do not have


class TorchSession(SessionBase):
    """The graph that would be exported, run by torch. Implements :class:`jdetrt.types.Session`.

    It takes any number of images at a time and runs where the network is. Beside ``boxes``,
    ``scores`` and ``embeddings`` it gives ``embedding_maps [N, cells, D]``: the unit embedding of
    every cell, cells counted over the heads /32, /16, /8 (``candidate_cells``); these only where
    boxes are predicted by anchors. As with a model of
    ONNX Runtime, the caller's Python goes on between ``submit`` and ``wait``.

    Args:
        network: is copied as it stands; later training does not change the session.
        size: network width and height.
        anchors: ``(3, 4, 2)`` anchor sizes that it was trained with; those of ``size`` by default.
        top_k: candidates that it gives, or all where there are fewer; by default that of exports.
        tracker: settings that suit the network; they go into the session's metadata.
        label: what it detects, likewise.

    Raises:
        ConfigError: width or height is not a multiple of 32.
        ExportError: ``top_k`` is less than 1, or more than can be exported.
    """

    def __init__(
        self,
        network: JdeNetwork,
        size: tuple[int, int],
        anchors: npt.NDArray[np.float32] | None = None,
        *,
        top_k: int | None = None,
        tracker: AnyTrackerConfig | None = None,
        label: LabelConfig | None = None,
    ) -> None:
        width, height = size
        anchors = anchor_sizes(*size) if anchors is None else anchors
        anchored = network.body.boxes == "anchors"
        cells = sum(columns * rows for columns, rows in grids(*size))
        self._device = next(network.parameters()).device
        asked = ExportConfig().top_k if top_k is None else top_k
        self._graph = DeployGraph(network, size, anchors, asked).eval().to(self._device)
        k = self._graph.decode.top_k.k
        dim = network.embedding_dim
        maps = [TensorSpec(_MAPS, "float32", (-1, cells, dim))] if anchored else []
        super().__init__(
            [TensorSpec("images", "float32", (-1, 3, height, width))],
            [
                TensorSpec("boxes", "float32", (-1, k, 4)),
                TensorSpec("scores", "float32", (-1, k)),
                TensorSpec("embeddings", "float32", (-1, k, dim)),
                *maps,
            ],
            {
                "body": network.body_name,
                **({"anchors": json.dumps(anchors.tolist())} if anchored else {}),
                **tracker_note(tracker),
                **label_note(label),
            },
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="torch")

    def close(self) -> None:
        """Wait for a run that is still open; a second call does nothing."""
        super().close()
        self._worker.shutdown()

    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        return self._worker.submit(self._run, feeds["images"]).result

    @torch.inference_mode()
    def _run(self, images: Array) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            heads = self._graph.network(torch.from_numpy(images).to(self._device))
            outputs = self._graph.decode(heads)._asdict()
            if isinstance(self._graph.decode, Decode):
                outputs[_MAPS] = normalise(self._graph.decode.embedding_rows(heads).float())
        except RuntimeError as err:  # torch's only word for everything, too little memory too
            raise SessionError(f"torch failed to run the network: {err}") from err
        arrays = {name: tensor.cpu().numpy() for name, tensor in outputs.items()}
        self.last_run_seconds = time.perf_counter() - begin  # on a GPU with the copy back
        return arrays


def open_checkpoint(
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    trained_size: tuple[int, int] | None = None,
    device: str = "cpu",
) -> TorchSession:
    """Open a checkpoint for inference with torch.

    Args:
        path: any weight file that ``jdetrt.training.checkpoints.checkpoint.load`` reads.
        size: network width and height; by default those at training.
        trained_size: width and height at training, where the checkpoint does not record them.
        device: of torch, ``"cpu"`` or ``"cuda"``.

    Raises:
        SessionError: the device is not there.
        CheckpointError, ConfigError, ExportError: as `load_network`.
    """
    network, info, (size, trained) = load_sized(Path(path), size, trained_size)
    if device != "cpu" and not torch.cuda.is_available():
        raise SessionError(f"device '{device}': torch {torch.__version__} finds no CUDA GPU here")
    anchors = network_anchors(info.config, trained)
    config = info.config
    return TorchSession(
        network.to(device), size, anchors, tracker=config.tracker, label=config.label
    )


def load_network(
    path: str | Path,
    size: tuple[int, int] | None = None,
    trained_size: tuple[int, int] | None = None,
) -> tuple[JdeNetwork, tuple[int, int], npt.NDArray[np.float32]]:
    """Read a whole network, and settle its size and its anchors.

    Args:
        path: any weight file that ``jdetrt.training.checkpoints.checkpoint.load`` reads.
        size: network width and height; by default those at training.
        trained_size: width and height at training, where the checkpoint does not record them.

    Returns:
        The network in evaluation mode, its width and height, and ``(3, 4, 2)`` anchor sizes: its
        own, or else those of the size of training.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: a width or height is not a multiple of 32.
        ExportError: the checkpoint is of a body alone, or there is no size.
    """
    network, info, (size, trained) = load_sized(Path(path), size, trained_size)
    return network, size, network_anchors(info.config, trained)
