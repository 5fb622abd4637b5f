# JetPack 6.1 to 6.2.2 (Orin): Python 3.10, CUDA 12.6, TensorRT 10.3. docs/guide/jetson.md.
#   docker build -f docker/jetpack-6.2.Dockerfile -t jdetrt:jetpack-6.2 .
#   docker run --rm --runtime nvidia jdetrt:jetpack-6.2
# This file has not been built: neither a Docker daemon nor a Jetson was at hand.

# The tag: github.com/ultralytics/ultralytics docker/Dockerfile-jetson-jetpack6,
# github.com/roboflow/inference docker/dockerfiles/Dockerfile.onnx.jetson.6.2.0.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1

# OpenCV: the one that the image has, else Ubuntu's; pip's has no GStreamer
# (forum.opencv.org/t/no-gstreamer-support-in-opencv4-5-4/18168). It brings the library alone: the
# elements are packages of their own; nvv4l2decoder and nvvidconv come from the board, and need
# lsmod (github.com/roboflow/inference pulls 2816, 2817).
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv kmod \
        gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
        gstreamer1.0-plugins-bad gstreamer1.0-libav \
    && (python3 -c 'import cv2' || apt-get install -y --no-install-recommends python3-opencv) \
    && rm -rf /var/lib/apt/lists/*

# TensorRT's bindings and OpenCV are the system's: a closed environment would not see them.
RUN python3 -m venv --system-site-packages /opt/jdetrt
ENV PATH=/opt/jdetrt/bin:/usr/local/cuda/bin:$PATH CUDA_HOME=/usr/local/cuda

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY jdetrt jdetrt
COPY benchmarks benchmarks
COPY calibration calibration
COPY engine engine
COPY export export
COPY runtime runtime
COPY training training

# Not [video] and not [tensorrt]: they would hide the system's OpenCV and TensorRT.
# numpy<2: modules built with NumPy 1 do not load with 2 (github.com/opencv/opencv/issues/25772).
# cuda-bindings<13: of the CUDA major version of the board.
RUN pip install --no-cache-dir '.[cuda]' 'numpy<2' 'cuda-bindings<13'

# TensorRT cannot be imported here: libnvdla_compiler.so comes from the board, when a container
# starts (github.com/dusty-nv/jetson-containers/issues/644). That its bindings are seen can be said.
RUN python -c "from importlib.util import find_spec; assert find_spec('tensorrt')" \
    && jdetrt doctor

# Plans, timings and compiled kernels: keep them with -v jdetrt-cache:/cache.
ENV XDG_CACHE_HOME=/cache NUMBA_CACHE_DIR=/cache/numba
WORKDIR /data
ENTRYPOINT ["jdetrt"]
CMD ["doctor"]
