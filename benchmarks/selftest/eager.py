"""PyTorch's eager float32 as the baseline: the deployed graph of a checkpoint on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from jdetrt.config import ExportConfig
from jdetrt.export.deploy_graph import DeployGraph
from jdetrt.export.torch_session import load_network
from jdetrt.runtime.session import SessionBase
from jdetrt.runtime.settings import tracker_note
from jdetrt.training.checkpoints import checkpoint as checkpoints
from jdetrt.types import Array, Size, TensorSpec

__all__ = ["EagerSession", "torch_facts"]


def torch_facts() -> dict[str, Any]:
    """Settings of torch that a speed depends on; TF32 is at its default."""
    return {
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


class EagerSession(SessionBase):
    """A checkpoint on the GPU. ``submit`` enqueues, as torch does, and ``wait`` copies back.

    Args:
        checkpoint: of any kind that ``jdetrt export`` takes.
        size: network width and height.
        device: of torch; another than ``"cuda"`` has no clock of its own.

    Attributes:
        last_run_seconds: of the network, on the GPU's clock, as in `TensorRtSession`.
        last_stage_seconds: ``upload`` and ``download`` likewise.
    """

    def __init__(self, checkpoint: Path, size: Size, device: str = "cuda") -> None:
        network, _, anchors = load_network(checkpoint, size)
        top_k = ExportConfig().top_k
        self._device = torch.device(device)
        self._graph = DeployGraph(network, size, anchors, top_k).eval().to(self._device)
        dim = network.embedding_dim
        super().__init__(
            [TensorSpec("images", "float32", (1, 3, size.height, size.width))],
            [
                TensorSpec("boxes", "float32", (1, top_k, 4)),
                TensorSpec("scores", "float32", (1, top_k)),
                TensorSpec("embeddings", "float32", (1, top_k, dim)),
            ],
            tracker_note(checkpoints.load(checkpoint)[1].config.tracker),
        )
        self.last_stage_seconds: dict[str, float] = {}

    @torch.inference_mode()
    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        images = torch.from_numpy(feeds["images"])
        if self._device.type != "cuda":
            outputs = self._graph(images)._asdict()
            return lambda: {name: value.numpy() for name, value in outputs.items()}
        event: Any = torch.cuda.Event
        sent, begin, end, done = (event(enable_timing=True) for _ in range(4))
        sent.record()
        images = images.pin_memory().cuda(non_blocking=True)
        begin.record()
        values = self._graph(images)._asdict()
        end.record()

        def result() -> dict[str, Array]:
            outputs = {name: value.cpu().numpy() for name, value in values.items()}
            done.record()
            done.synchronize()
            self.last_run_seconds = begin.elapsed_time(end) / 1e3
            self.last_stage_seconds = {
                "upload": sent.elapsed_time(begin) / 1e3,
                "download": end.elapsed_time(done) / 1e3,
            }
            return outputs

        return result
