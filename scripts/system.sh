#!/bin/sh
# system.sh [EXTRAS]: install the Debian packages that are missing: Python with venv, what OpenCV's
# wheel links to, and for development a C++ compiler, with which tests run CUDA kernels on the CPU,
# and what live sources and results are tested with: an RTSP server, FFmpeg as a sender, an OpenCV
# with GStreamer, an MQTT broker, a browser, an ssh server, what the Python backend of Triton links to,
# a front with TLS before it.
set -eu
missing=""
sh "$(dirname "$0")/python.sh" >/dev/null || missing="python3 python3-venv"
libraries=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)
case $libraries in *libGL.so.1*) ;; *) missing="$missing libgl1" ;; esac
case $libraries in *libgthread-2.0.so.0*) ;; *) missing="$missing libglib2.0-0" ;; esac
wanted=""
case ${1:-} in *dev*)
    command -v c++ >/dev/null || missing="$missing g++"
    for package in chromium ffmpeg openssh-client openssh-server libpython3-dev mosquitto nginx-light python3-gi gir1.2-gst-rtsp-server-1.0 python3-opencv \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
        gstreamer1.0-plugins-ugly gstreamer1.0-libav; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" ||
            wanted="$wanted $package"
    done ;;
esac
[ -n "$missing$wanted" ] || exit 0
if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
    [ -z "$wanted" ] || echo "Some tests are left out without (Debian's names):$wanted" >&2
    [ -n "$missing" ] || exit 0
    echo "Please install these first (Debian's names):$missing" >&2
    exit 1
fi
root=""; [ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -qq
install="$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
[ -z "$missing" ] || $install $missing
[ -z "$wanted" ] || $install $wanted || echo "Some tests are left out without:$wanted" >&2
