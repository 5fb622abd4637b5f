#!/bin/sh
# system.sh [EXTRAS]: install the Debian packages that are missing: Python with venv, what OpenCV's
# wheel links to, and for development a C++ compiler, with which tests run CUDA kernels on the CPU.
set -eu
missing=""
sh "$(dirname "$0")/python.sh" >/dev/null || missing="python3 python3-venv"
libraries=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)
case $libraries in *libGL.so.1*) ;; *) missing="$missing libgl1" ;; esac
case $libraries in *libgthread-2.0.so.0*) ;; *) missing="$missing libglib2.0-0" ;; esac
case ${1:-} in *dev*) command -v c++ >/dev/null || missing="$missing g++" ;; esac
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
    echo "Please install these first (Debian's names):$missing" >&2
    exit 1
fi
root=""; [ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -qq
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
