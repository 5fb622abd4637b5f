"""Make an INT8 model from frames of your own camera and compare it with the model in float32.

python examples/int8.py camera.mp4
"""

import itertools
import sys

import jdetrt
from jdetrt.evaluation.agreement import verify

uri, output = sys.argv[1], "nano.int8.onnx"
record = jdetrt.calibrate("nano", output, [uri], max_frames=100, cpu_output="nano.int8.cpu.onnx")
print(f"{output}: median cosine of embeddings {record.chosen.cosine:.4f}")

# ONNX Runtime's integer kernels take the second file; the first one is for TensorRT.
with (
    jdetrt.load("nano") as float32,
    jdetrt.load("nano.int8.cpu.onnx") as int8,
    jdetrt.open_source(uri) as source,
):
    comparison = verify(int8.session, float32.session, itertools.islice(source, 20))
print(f"{comparison.pairs} people in both, {comparison.unmatched:.1%} in one of the two alone")
