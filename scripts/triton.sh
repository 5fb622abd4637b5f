#!/bin/sh
# triton.sh: put a real Triton server, of PyPI's nvidia-pytriton, into .venv/triton for the tests,
# with what its Python backend imports. That backend (2.51) sends no bytes with NumPy 2.
set -eu
cd "$(dirname "$0")/.."
packages="nvidia-pytriton==0.7.0 numpy==1.26.4 onnxruntime==1.20.1 flatbuffers protobuf sympy mpmath coloredlogs humanfriendly packaging opencv-python-headless==4.10.0.84"
[ "$(uname -sm)" = "Linux x86_64" ] || exit 0
[ "$(cat .venv/triton/packages 2>/dev/null)" != "$packages" ] || exit 0
rm -rf .venv/triton
.venv/bin/python -m pip install -q ${JDETRT_PIP_ARGS:-} --no-deps --target .venv/triton $packages
echo "$packages" >.venv/triton/packages
