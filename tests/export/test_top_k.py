"""Top-k in groups against one TopK of ONNX Runtime over the whole axis, ties included."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch

from jdetrt.errors import ExportError
from jdetrt.export.top_k import TopK, groups_of, take_rows

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Floats = npt.NDArray[np.float32]


def run(module: TopK, scores: Floats, folder: Path) -> list[npt.NDArray[np.generic]]:
    path = folder / "top_k.onnx"
    free = {"scores": {0: "batch"}} if len(scores) > 1 else None
    sample = torch.from_numpy(scores[:1])
    torch.onnx.export(
        module, (sample,), path, dynamo=False, input_names=["scores"], dynamic_axes=free
    )
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[npt.NDArray[np.generic]] = session.run(None, {"scores": scores})
    return outputs


@pytest.mark.parametrize(
    ("images", "length", "k", "groups"), [(1, 504, 100, 7), (2, 96, 40, 8), (1, 96, 96, 8)]
)
@pytest.mark.parametrize("steps", [1, 3, 1 << 20])
def test_numbers_and_indices_are_those_of_one_top_k(
    images: int, length: int, k: int, groups: int, steps: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(steps)
    scores = random.integers(0, steps, (images, length)).astype(np.float32)  # 1: all are equal
    grouped = run(TopK(length, k, groups), scores, tmp_path)
    whole = run(TopK(length, k, 1), scores, tmp_path)
    for have, want in zip(grouped, whole, strict=True):
        np.testing.assert_array_equal(have, want)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # the lower index first
    np.testing.assert_array_equal(grouped[1], best)


@pytest.mark.parametrize(
    ("length", "groups"), [(3780, 1), (15120, 1), (34020, 7), (54264, 8), (18144, 8)]
)
def test_only_a_long_axis_is_cut_and_evenly(length: int, groups: int) -> None:
    assert groups_of(length) == groups
    assert length % groups == 0


def test_k_is_at_most_the_length() -> None:
    assert TopK(50, 256).k == 50
    with pytest.raises(ExportError, match="top-k 0: expected 1 to 3840"):
        TopK(50, 0)


def test_rows_of_each_image() -> None:
    rows = torch.arange(2 * 5 * 3).reshape(2, 5, 3)
    chosen = torch.tensor([[4, 0], [1, 1]])
    expected = torch.stack([rows[0, [4, 0]], rows[1, [1, 1]]])
    assert torch.equal(take_rows(rows, chosen), expected)
