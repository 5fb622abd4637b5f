"""Damage of a model whose boxes are given by distances: its graph is the oracle."""

from __future__ import annotations

import numpy as np
import onnx

from jdetrt.calibration.damage import Observer
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.runtime.detector import network_size
from jdetrt.shipped import resolve


def test_boxes_are_those_of_the_graph() -> None:
    model = onnx.load(resolve("nano"))
    with OrtSession(resolve("nano"), provider="cpu", threads=1) as session:
        width, height = network_size(session)
        image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        outputs = session.infer({"images": image})
    observer = Observer(model, threads=1)
    maps = observer.run(image)
    best = np.argsort(-maps.margins, kind="stable")[:20]
    scores = 1 / (1 + np.exp(-maps.margins[best]))
    np.testing.assert_allclose(scores, outputs["scores"][0, :20], rtol=1e-4)
    np.testing.assert_allclose(observer.boxes(maps, best), outputs["boxes"][0, :20], atol=0.05)
    vectors = maps.embeddings[:, observer.cells[best]]
    units = (vectors / np.linalg.norm(vectors, axis=0)).T
    np.testing.assert_allclose(units, outputs["embeddings"][0, :20], atol=1e-4)
