"""From images to the input of the network, in Triton's Python backend; of jdetrt.

Takes letterboxed RGB images as uint8, or JPEG files of them, for which the server needs OpenCV.
"""

import json
import os
import sys

# The interpreter of Triton's Python backend leaves this variable out of account.
sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))

import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402


class TritonPythonModel:
    """Images of one size to float32 of 0 to 1, channels first."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.shape = tuple(int(size) for size in config["output"][0]["dims"][-2:])
        self.unit = np.arange(256, dtype=np.float32) / np.float32(255)

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        values = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        try:
            images = values if values.dtype == np.uint8 else self.decode(values)
        except ValueError as err:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(err)))
        tensor = np.ascontiguousarray(self.unit[images].transpose(0, 3, 1, 2))
        return pb_utils.InferenceResponse([pb_utils.Tensor("images", tensor)])

    def decode(self, files):
        import cv2

        images = []
        for file in files.reshape(-1):
            image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError("image: not a JPEG file")
            if image.shape[:2] != self.shape:
                height, width = self.shape
                raise ValueError(
                    f"image: {image.shape[1]}x{image.shape[0]}, the network takes {width}x{height}"
                )
            images.append(image[..., ::-1])
        return np.stack(images)
