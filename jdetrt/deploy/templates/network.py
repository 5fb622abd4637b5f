"""The network in Triton's Python backend, by ONNX Runtime; of jdetrt, which is not needed here."""

import json
import os
import sys

# The interpreter of Triton's Python backend leaves this variable out of account.
sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402


class TritonPythonModel:
    """An ONNX model in the folder of its version."""

    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(r, self.input).as_numpy() for r in requests]
        values = self.session.run(self.outputs, {self.input: np.concatenate(inputs)})
        responses, first = [], 0
        for images in inputs:
            rows = slice(first, first + len(images))
            first += len(images)
            tensors = [
                pb_utils.Tensor(name, np.ascontiguousarray(value[rows]))
                for name, value in zip(self.outputs, values)
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
