"""The baseline of scripts/gpu_report.py: the deployed graph in PyTorch's eager float32."""

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
from jdetrt.types import Array, TensorSpec


def settings() -> dict[str, Any]:
    """Settings of torch that a speed depends on; TF32 is at its default."""
    return {
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


class EagerSession(SessionBase):
    """A checkpoint on the GPU. ``submit`` enqueues, as torch does, and ``wait`` copies back.

    Attributes:
        last_run_seconds: of the network, on the GPU's clock, as in TensorRtSession.
    """

    def __init__(self, checkpoint: Path, size: tuple[int, int]) -> None:
        network, size, anchors = load_network(checkpoint, size)
        top_k = ExportConfig().top_k
        self._graph = DeployGraph(network, size, anchors, top_k).eval().cuda()
        width, height = size
        dim = network.embedding_dim
        super().__init__(
            [TensorSpec("images", "float32", (1, 3, height, width))],
            [
                TensorSpec("boxes", "float32", (1, top_k, 4)),
                TensorSpec("scores", "float32", (1, top_k)),
                TensorSpec("embeddings", "float32", (1, top_k, dim)),
            ],
            tracker_note(checkpoints.load(checkpoint)[1].config.tracker),
        )

    @torch.inference_mode()
    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        images = torch.from_numpy(feeds["images"]).pin_memory().cuda(non_blocking=True)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        found = self._graph(images)
        end.record()

        def result() -> dict[str, Array]:
            outputs = {name: value.cpu().numpy() for name, value in found._asdict().items()}
            end.synchronize()
            self.last_run_seconds = begin.elapsed_time(end) / 1e3
            return outputs

        return result
