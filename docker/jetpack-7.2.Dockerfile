# JetPack 7.2 (Orin, Thor): Python 3.12, CUDA 13.2, TensorRT 10.16. docs/guide/jetson.md.
#   docker build -f docker/jetpack-7.2.Dockerfile -t jdetrt:jetpack-7.2 .
#   docker run --rm --runtime nvidia jdetrt:jetpack-7.2
# This file has not been built: neither a Docker daemon nor a Jetson was at hand.

# From Ubuntu and NVIDIA's packages for Jetson Linux 39.2, so that TensorRT is the board's own and
# plans of board and container are the same. Not an "igpu" image: their TensorRT wants
# libnvdla_compiler.so, which JetPack 7.2 has not
# (github.com/Jonah-May-OSS/wyoming-whisper-trt/issues/1038).
FROM ubuntu:24.04
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1

# Key, repository, r39.2 and NVIDIA's package names:
# github.com/roboflow/inference docker/dockerfiles/Dockerfile.onnx.jetson.7.2.0 and pull 2531
# (TensorRT 10.16.2.10, read off a board); cuda-cudart and tensorrt-libs also in ...jetson.7.1.0.
ADD --chmod=644 https://repo.download.nvidia.com/jetson/jetson-ota-public.asc /usr/share/keyrings/nvidia-jetson.asc
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && for part in common som; do \
        echo "deb [signed-by=/usr/share/keyrings/nvidia-jetson.asc] https://repo.download.nvidia.com/jetson/$part r39.2 main"; \
    done >/etc/apt/sources.list.d/nvidia-jetson.list \
    && apt-get update \
    && apt-get install -y --no-install-recommends \
        cuda-cudart-13-2 cuda-nvrtc-13-2 tensorrt-libs python3-libnvinfer \
        python3-opencv python3-venv kmod nvidia-l4t-gstreamer \
        gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
        gstreamer1.0-plugins-bad gstreamer1.0-libav \
    && rm -rf /var/lib/apt/lists/*

# Ubuntu's OpenCV brings GStreamer's library alone: the elements are packages of their own, and
# hardware decoding needs lsmod (github.com/roboflow/inference pulls 2816, 2817).
# TensorRT's bindings and OpenCV are the system's: a closed environment would not see them.
RUN python3 -m venv --system-site-packages /opt/jdetrt
ENV PATH=/opt/jdetrt/bin:$PATH CUDA_HOME=/usr/local/cuda-13.2

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
# cuda-bindings<14: of the CUDA major version of the board.
RUN pip install --no-cache-dir '.[cuda]' 'numpy<2' 'cuda-bindings<14'

RUN python -c "from importlib.util import find_spec; assert find_spec('tensorrt')" \
    && jdetrt doctor

# Ubuntu's image does not ask for the GPU by itself.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
# Plans, timings and compiled kernels: keep them with -v jdetrt-cache:/cache.
ENV XDG_CACHE_HOME=/cache NUMBA_CACHE_DIR=/cache/numba
WORKDIR /data
ENTRYPOINT ["jdetrt"]
CMD ["doctor"]
