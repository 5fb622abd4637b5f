"""A place for one image on the GPU: uploaded and letterboxed while the network runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from jdetrt.engine.cuda.api import (
    Cuda,
    CudaError,
    DeviceBuffer,
    Event,
    Pinned,
    Stream,
    explained,
    free_later,
    quietly,
)
from jdetrt.engine.cuda.letterbox import LetterboxKernel
from jdetrt.engine.tensorrt.execution_context import nbytes
from jdetrt.errors import DataError, SessionError
from jdetrt.runtime.preprocess import Letterbox, letterbox

__all__ = ["FrameBuffer"]


class FrameBuffer:
    """Implements :class:`jdetrt.runtime.input_buffer.InputBuffer` on a GPU.

    With a kernel the image goes up as it is and is letterboxed on the GPU. Without one the CPU
    letterboxes into page-locked memory, and that goes up.

    Args:
        cuda: the GPU; its context is current while the buffer is made.
        stream: for copies, beside that of the network.
        kernel: the letterbox; None for that of the CPU.
        size: width and height of the network input.
        dtype: of the network input.
        run: starts the network on the buffer.

    Attributes:
        shape: of the network input, ``(1, 3, H, W)``.
        buffer: the network input on the GPU.
        sent: reached when the image sets out.
        ready: reached when the input is complete.
    """

    def __init__(
        self,
        cuda: Cuda,
        stream: Stream,
        kernel: LetterboxKernel | None,
        size: tuple[int, int],
        dtype: str,
        run: Callable[[FrameBuffer], None],
    ) -> None:
        self.shape = (1, 3, size[1], size[0])
        self._cuda, self._stream, self._kernel = cuda, stream, kernel
        self._size, self._run = size, run
        self._filled = False
        self._lock = threading.Lock()  # held by the reader while it fills, and to free
        self._cleanup: ExitStack | None = ExitStack()
        self._pictures = ExitStack()
        self._picture: tuple[Pinned, DeviceBuffer] | None = None
        with ExitStack() as made:
            self.buffer = free_later(made, cuda.buffer(nbytes(self.shape, dtype)))
            self.sent: Event = free_later(made, cuda.event())
            self.ready: Event = free_later(made, cuda.event())
            if kernel is None:
                self._tensor: Pinned = free_later(made, cuda.pinned(self.shape, dtype))
            made.callback(self._pictures.close)
            self._cleanup = made.pop_all()

    def fill(self, image: npt.NDArray[np.uint8]) -> Letterbox:
        """Take an image and start its way to the GPU. Raises DataError, SessionError."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(
                f"image: expected uint8 of shape (H, W, 3), got {image.dtype} of shape "
                f"{image.shape}"
            )
        with self._lock:
            if self._cleanup is None:
                raise SessionError("the session is closed")
            try:
                with self._cuda.current():
                    self.ready.synchronize()  # the image before has left the page-locked memory
                    self._filled = False
                    fit = self._upload(image)
                    self.ready.record(self._stream)
                    self._filled = True
            except CudaError as err:
                raise SessionError(explained(err)) from err
        return fit

    def submit(self) -> None:
        """Start the network on the picture. Raises SessionError."""
        if not self._filled:
            raise SessionError("the buffer holds no image: call fill() before submit()")
        self._run(self)

    def free(self) -> None:
        """Free it, once nothing that was enqueued uses it; ``fill`` refuses from then on."""
        with self._lock:
            cleanup, self._cleanup = self._cleanup, None
            if cleanup is not None:
                quietly(self._stream.synchronize)  # the reader may have enqueued until now
                quietly(cleanup.close)

    def _upload(self, image: npt.NDArray[np.uint8]) -> Letterbox:
        if self._kernel is None:
            tensor = self._tensor.array[0]
            single = tensor.dtype == np.float32
            made, fit = letterbox(image, self._size, out=tensor if single else None)
            if not single:
                np.copyto(tensor, made, casting="same_kind")
            self.sent.record(self._stream)
            self._cuda.upload(self.buffer, self._tensor.array, self._stream)
            return fit
        fit = Letterbox.fit((image.shape[1], image.shape[0]), self._size)
        pinned, picture = self._room(image.nbytes)
        taken = pinned.array[: image.nbytes]
        np.copyto(taken.reshape(image.shape), image)
        self.sent.record(self._stream)
        self._cuda.upload(picture, taken, self._stream)
        self._kernel.launch(picture, self.buffer, fit, self._stream)
        return fit

    def _room(self, size: int) -> tuple[Pinned, DeviceBuffer]:
        """Memory for a picture on both sides; it grows with the pictures."""
        if self._picture is None or self._picture[1].nbytes < size:
            self._picture = None
            self._pictures.close()  # nothing uses them: `ready` was waited for
            pinned = free_later(self._pictures, self._cuda.pinned((size,), "uint8"))
            self._picture = pinned, free_later(self._pictures, self._cuda.buffer(size))
        return self._picture
