"""The letterbox of `jdetrt.runtime.preprocess` as one CUDA kernel, from uint8 to network input.

A pixel of the network's input covers an area of the picture; its value is the mean over that area,
rounded to a whole level. This is what OpenCV's INTER_AREA means, downwards and upwards, and here it
is one formula: with the ratio of the sizes in lowest terms as span : cell, output pixel x covers
[x span, (x + 1) span) and source pixel i covers [i cell, (i + 1) cell), all whole numbers.

OpenCV computes the same with rounded weights, so a level may come out one higher or lower;
docs/guide/gpu.md says how often.

Images come as BGR, or as a decoder gives them: BGRx, or NV12, whose pixels are first converted to
whole levels of BGR. The matrices are those of ITU-R BT.601-7 and BT.709-6, limited range.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jdetrt.engine.cuda.api import Cuda, DeviceBuffer, Stream, View
from jdetrt.runtime.pixels import Pixels
from jdetrt.runtime.preprocess import BORDER, Letterbox

__all__ = ["SOURCE", "LetterboxKernel", "letterbox_arguments"]


def _nv12(red: float, blue: float) -> str:
    """The reader of NV12 of limited range, from the weights of red and blue in the luma."""
    green = 1 - red - blue
    luma, chroma = 255 / 219, 255 / 224
    to_blue, to_red = 2 * (1 - blue) * chroma, 2 * (1 - red) * chroma
    numbers = luma, to_blue, to_blue * blue / green, to_red * red / green, to_red
    return f"Nv12<{', '.join(str(round(number * (1 << 20))) for number in numbers)}>"


_READERS: dict[Pixels, str] = {
    "bgr": "Packed<3>",
    "bgrx": "Packed<4>",
    "nv12_bt601": _nv12(0.299, 0.114),
    "nv12_bt709": _nv12(0.2126, 0.0722),
}

# CUDA C++ that is plain C++ as well, but for the launch: tests compile it for the CPU.
SOURCE = (
    r"""
static __device__ int least(int a, int b) { return a < b ? a : b; }
static __device__ int most(int a, int b) { return a > b ? a : b; }

static __device__ void store(float *out, float value) { *out = value; }

// To half precision, to the nearest, ties to even; for 0 and for values from 2^-14 to 1.
static __device__ void store(unsigned short *out, float value) {
    union { float number; unsigned int bits; } as;
    as.number = value;
    const unsigned int rounded = as.bits + 0xfffu + ((as.bits >> 13) & 1u);
    *out = value == 0.0f ? 0 : (unsigned short)((rounded >> 13) - (112u << 10));
}

// How a pixel is read: blue, green and red.
template <int BYTES>
struct Packed {
    static __device__ void read(
        const unsigned char *image, int width, int height, int x, int y, int *bgr)
    {
        const unsigned char *pixel = image + BYTES * ((long long)y * width + x);
        for (int c = 0; c < 3; ++c) bgr[c] = pixel[c];
    }
};

static __device__ int whole_level(int value) {  // of a number with 20 binary places
    return value < 0 ? 0 : least((value + (1 << 19)) >> 20, 255);
}

// Luma, then rows of chroma of half the height: U and V in turn, each for two by two pixels.
template <int LUMA, int BLUE_U, int GREEN_U, int GREEN_V, int RED_V>
struct Nv12 {
    static __device__ void read(
        const unsigned char *image, int width, int height, int x, int y, int *bgr)
    {
        const unsigned char *chroma = image + (long long)width * (height + y / 2) + (x & ~1);
        const int luma = LUMA * (image[(long long)y * width + x] - 16);
        const int u = chroma[0] - 128, v = chroma[1] - 128;
        bgr[0] = whole_level(luma + BLUE_U * u);
        bgr[1] = whole_level(luma - GREEN_U * u - GREEN_V * v);
        bgr[2] = whole_level(luma + RED_V * v);
    }
};

template <typename Pixels, typename Out>
static __device__ void letterbox(
    const unsigned char *image, Out *out, int width, int net_width, int net_height,
    int left, int top, int picture_width, int picture_height,
    int span_x, int cell_x, int span_y, int cell_y)
{
    const int net_x = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    const int net_y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (net_x >= net_width || net_y >= net_height) return;
    const int x = net_x - left, y = net_y - top;
    float level[3] = {BORDER, BORDER, BORDER};
    if (x >= 0 && x < picture_width && y >= 0 && y < picture_height) {
        const int first_x = x * span_x, last_x = first_x + span_x;
        const int first_y = y * span_y, last_y = first_y + span_y;
        const int height = (int)((long long)picture_height * span_y / cell_y);
        const float area = (float)span_x * (float)span_y;
        float sum[3] = {0.0f, 0.0f, 0.0f};
        for (int i = first_y / cell_y; i * cell_y < last_y; ++i) {
            const int high = least((i + 1) * cell_y, last_y) - most(i * cell_y, first_y);
            int row[3] = {0, 0, 0};  // below 2^24 for pictures up to 65 536 wide
            for (int j = first_x / cell_x; j * cell_x < last_x; ++j) {
                const int wide = least((j + 1) * cell_x, last_x) - most(j * cell_x, first_x);
                int pixel[3];
                Pixels::read(image, width, height, j, i, pixel);
                for (int c = 0; c < 3; ++c) row[c] += wide * pixel[c];
            }
            for (int c = 0; c < 3; ++c) sum[c] += (float)high * (float)row[c];
        }
        for (int c = 0; c < 3; ++c) level[c] = (float)(int)(sum[c] / area + 0.5f);
    }
    const long long plane = (long long)net_width * net_height;
    Out *target = out + (long long)net_y * net_width + net_x;
    for (int c = 0; c < 3; ++c) store(target + c * plane, level[2 - c] / 255.0f);  // BGR to RGB
}

#define ENTRY(NAME, OUT, ...) \
    extern "C" __global__ void NAME( \
        const unsigned char *image, OUT *out, int width, int net_width, int net_height, \
        int left, int top, int picture_width, int picture_height, \
        int span_x, int cell_x, int span_y, int cell_y) \
    { \
        letterbox<__VA_ARGS__>(image, out, width, net_width, net_height, left, top, picture_width, \
                               picture_height, span_x, cell_x, span_y, cell_y); \
    }
"""
    + "".join(
        f"ENTRY(letterbox_{pixels}_{dtype}, {out}, {reader})\n"
        for pixels, reader in _READERS.items()
        for dtype, out in (("float32", "float"), ("float16", "unsigned short"))
    )
).replace("BORDER", f"{BORDER}.0f")
_BLOCK = (32, 8)


def letterbox_arguments(image: int, out: int, fit: Letterbox) -> list[np.generic]:
    """Arguments of the kernels.

    Args:
        image: address of the image.
        out: address of the ``(3, height, width)`` network input.
        fit: where the picture goes.
    """
    numbers = [
        fit.source_size[0],
        *fit.network_size,
        fit.left,
        fit.top,
        *fit.resized_size,
    ]
    for source, picture in zip(fit.source_size, fit.resized_size, strict=True):
        common = math.gcd(source, picture)
        numbers += [source // common, picture // common]
    return [np.uint64(image), np.uint64(out), *(np.int32(number) for number in numbers)]


class LetterboxKernel:
    """The kernel, compiled for one GPU.

    Args:
        cuda: the GPU; its context is current.
        dtype: of the network's input, ``"float32"`` or ``"float16"``.
        pixels: of the images: a `jdetrt.runtime.pixels.Pixels`.

    Raises:
        CudaError: the compiler refuses it.
    """

    def __init__(self, cuda: Cuda, dtype: str, pixels: Pixels = "bgr") -> None:
        self._kernel = cuda.kernel(SOURCE, f"letterbox_{pixels}_{dtype}")

    def bind(
        self, image: DeviceBuffer | View, out: DeviceBuffer | View, fit: Letterbox
    ) -> Callable[[Stream], None]:
        """Make the letterbox of an image that is on the GPU: what enqueues it, time and again.

        Args:
            image: of the size ``fit.source_size``, as `jdetrt.runtime.pixels.RawImage` has it.
            out: gets ``(3, height, width)``, RGB, 0..1, of the size ``fit.network_size``.
            fit: where the picture goes.
        """
        width, height = fit.network_size
        grid = (-(-width // _BLOCK[0]), -(-height // _BLOCK[1]))
        arguments = letterbox_arguments(image.address, out.address, fit)
        return lambda stream: self._kernel.launch(grid, _BLOCK, arguments, stream)

    def free(self) -> None:
        """Unload it."""
        self._kernel.free()
