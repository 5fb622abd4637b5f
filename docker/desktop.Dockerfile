# A PC or server, x86-64, with an NVIDIA card from Turing on: Python 3.12, CUDA 13, TensorRT of pip.
#   docker build -f docker/desktop.Dockerfile -t jdetrt:desktop .
#   docker run --rm --gpus all jdetrt:desktop
# This file has not been built: no Docker daemon was at hand. docs/guide/jetson.md.

# The tag: github.com/NVIDIA/TensorRT docker/ubuntu-24.04-aarch64.Dockerfile (10.14; the image is
# of both architectures). "devel": pycuda needs CUDA's headers, nvcc and libcuda's stub.
FROM nvidia/cuda:13.0.0-devel-ubuntu24.04
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1

# g++: pycuda and nvcc. libgl1 and libglib2.0-0: pip's OpenCV.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        g++ libgl1 libglib2.0-0 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Ubuntu's Python takes no packages outside an environment (PEP 668).
RUN python3 -m venv /opt/jdetrt
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

# cuda-bindings<14: of the CUDA major version of the image.
RUN pip install --no-cache-dir '.[video,tensorrt,cuda]' 'cuda-bindings<14'
RUN jdetrt doctor

# Plans, timings and compiled kernels: keep them with -v jdetrt-cache:/cache.
ENV XDG_CACHE_HOME=/cache NUMBA_CACHE_DIR=/cache/numba
WORKDIR /data
ENTRYPOINT ["jdetrt"]
CMD ["doctor"]
