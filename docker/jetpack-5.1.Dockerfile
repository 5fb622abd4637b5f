# JetPack 5.1 (Xavier, Orin): CUDA 11.4, TensorRT 8.5.2. docs/guide/jetson.md.
#   docker build -f docker/jetpack-5.1.Dockerfile -t jdetrt:jetpack-5.1 .
#   docker run --rm --runtime nvidia jdetrt:jetpack-5.1
# This file has not been built: neither a Docker daemon nor a Jetson was at hand.
#
# JetPack's Python is 3.8, which jdetrt does not run on, and its bindings of TensorRT and its OpenCV
# are for 3.8 alone. So Python 3.10 is brought along, the bindings are compiled for it from NVIDIA's
# sources against JetPack's own libraries, and OpenCV is pip's, without GStreamer.

# The tag: github.com/ultralytics/ultralytics docker/Dockerfile-jetson-jetpack5.
FROM nvcr.io/nvidia/l4t-jetpack:r35.4.1
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1

# g++ stays: nvcc needs it when pycuda compiles a kernel. libgl1 and libglib2.0-0: pip's OpenCV.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential ca-certificates cmake git libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# Python 3.10 by uv: the packages of deadsnakes for Ubuntu 20.04 are deleted at its end of life
# (github.com/deadsnakes/issues/issues/251). The tag: docs.astral.sh/uv/guides/integration/docker.
COPY --from=ghcr.io/astral-sh/uv:0.13.7 /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python
RUN uv venv --managed-python --python 3.10 --seed /opt/jdetrt
ENV PATH=/opt/jdetrt/bin:/usr/local/cuda/bin:$PATH

# The steps are those of NVIDIA/TensorRT python/README.md; that they do on a Jetson:
# github.com/blakeblackshear/frigate docker/tensorrt/detector/build_python_tensorrt.sh (Python 3.9).
# pybind11 from 2.12 on works with NumPy 1 and 2.
RUN pip install --no-cache-dir pybind11==2.13.6 setuptools wheel
RUN git clone --depth 1 --branch 8.5.2 https://github.com/NVIDIA/TensorRT.git /opt/TensorRT \
    && mkdir /opt/external \
    && ln -s "$(python -c 'import pybind11; print(pybind11.__path__[0])')" /opt/external/pybind11 \
    && ln -s "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')" /opt/external/python3.10 \
    && ln -s /usr/include/aarch64-linux-gnu/NvOnnxParser.h /opt/TensorRT/parsers/onnx/ \
    && sed -i 's/make -j12/make -j2/' /opt/TensorRT/python/build.sh \
    && cd /opt/TensorRT/python \
    && TRT_OSSPATH=/opt/TensorRT EXT_PATH=/opt/external TARGET_ARCHITECTURE=aarch64 \
        PYTHON_MAJOR_VERSION=3 PYTHON_MINOR_VERSION=10 bash ./build.sh \
    && pip install --no-cache-dir --no-deps build/dist/tensorrt-*.whl \
    && rm -rf /opt/TensorRT /opt/external

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY jdetrt jdetrt
COPY benchmarks benchmarks
COPY calibration calibration
COPY engine engine
COPY export export
COPY runtime runtime
COPY training training

# pycuda, compiled against CUDA 11.4: the extra [cuda] begins at CUDA 12.6.
RUN pip install --no-cache-dir '.[video]' 'pycuda>=2024.1'

# TensorRT cannot be imported here: libnvdla_compiler.so comes from the board, when a container
# starts (github.com/dusty-nv/jetson-containers/issues/644). That its bindings are seen can be said.
RUN python -c "from importlib.util import find_spec; assert find_spec('tensorrt')" \
    && jdetrt doctor

# Plans, timings and compiled kernels: keep them with -v jdetrt-cache:/cache.
ENV XDG_CACHE_HOME=/cache NUMBA_CACHE_DIR=/cache/numba
WORKDIR /data
ENTRYPOINT ["jdetrt"]
CMD ["doctor"]
