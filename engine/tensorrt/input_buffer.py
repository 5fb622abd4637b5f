"""A place for one image on the GPU: uploaded while the network runs, letterboxed with it."""

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
    Stream,
    View,
    explained,
    free_later,
    quietly,
)
from jdetrt.engine.cuda.exchange import Exchange
from jdetrt.engine.cuda.letterbox import LetterboxKernel
from jdetrt.engine.tensorrt.execution_context import Contexts, nbytes
from jdetrt.engine.tensorrt.run import Run, Streams
from jdetrt.errors import DataError, SessionError
from jdetrt.runtime.pixels import Pixels, RawImage
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.types import Array

__all__ = ["FrameBuffer", "Kernels"]

Kernels = Callable[[Pixels], LetterboxKernel]


class FrameBuffer:
    """Implements :class:`jdetrt.runtime.input_buffer.InputBuffer` on a GPU.

    With a kernel the image goes up as it is, and its run letterboxes it. Without one the CPU
    letterboxes into page-locked memory, and that goes up.

    Args:
        contexts: of the plan.
        cuda: the GPU; its context is current while the buffer is made.
        streams: of the session.
        kernels: the letterbox for each form of images; None for that of the CPU.
        size: width and height of the network input.
        submit: starts the network on the buffer; None for one that only goes in batches, which has
            no input and no run of its own.

    Attributes:
        shape: of the network input, ``(1, 3, H, W)``.
        sent: reached when the image sets out.
        ready: reached when it is on the GPU.
        run: of the network on this buffer alone; None where it only goes in batches.
        open: it is submitted and has not been waited for.
    """

    def __init__(
        self,
        contexts: Contexts,
        cuda: Cuda,
        streams: Streams,
        kernels: Kernels | None,
        size: tuple[int, int],
        submit: Callable[[FrameBuffer], None] | None,
    ) -> None:
        (spec,) = contexts.inputs
        self.shape = (1, 3, size[1], size[0])
        self.open = False
        self._cuda, self._streams, self._kernels = cuda, streams, kernels
        self._size, self._submit = size, submit
        self._filled = False
        self._on_its_way = False  # an image that nobody has submitted
        self._lock = threading.Lock()  # held by the reader while it fills, and to free
        self._cleanup: ExitStack | None = ExitStack()
        self._images = ExitStack()
        self._image: Exchange | None = None  # made for the first image, and for larger ones
        self._fit: Letterbox | None = None
        self._form: tuple[tuple[int, int], Pixels] = ((0, 0), "bgr")
        self._enqueue: dict[int, Callable[[Stream], None]] = {}  # by address of the network's input
        self.run: Run | None = None
        with ExitStack() as made:
            room = nbytes(self.shape, spec.dtype)
            self._input: DeviceBuffer | View | None = None
            if kernels is None:
                tensor = Exchange(cuda, room, made)
                self._tensor = tensor
                self._array = tensor.array(0, self.shape, spec.dtype)[0]
                self._input = tensor.device
            elif submit is not None:
                self._input = free_later(made, cuda.buffer(room))
            self.sent: Event = free_later(made, cuda.event())
            self.ready: Event = free_later(made, cuda.event())
            made.callback(self._images.close)
            if submit is not None and self._input is not None:
                inputs, shapes = {spec.name: self._input}, {spec.name: self.shape}
                self.run = Run(contexts, cuda, streams, inputs, shapes, made)
            self._cleanup = made.pop_all()

    def fill(self, image: npt.NDArray[np.uint8] | RawImage) -> Letterbox:
        """Take an image and start its way to the GPU.

        Args:
            image: ``(H, W, 3)`` uint8, BGR; or, where the GPU letterboxes, as it was decoded.

        Raises:
            DataError: it is no such image.
            SessionError: the GPU refuses it, or the buffer is at the network.
        """
        image = image if isinstance(image, RawImage) else RawImage(image)
        if self._kernels is None and image.pixels != "bgr":
            raise DataError(f"image: {image.pixels} needs the letterbox of the GPU; convert to BGR")
        with self._lock:
            if self._cleanup is None:
                raise SessionError("the session is closed")
            if self.open:
                raise SessionError("the buffer is at the network: call wait() before fill()")
            self._filled = False
            try:
                with self._cuda.current():
                    if self._on_its_way:
                        self.ready.synchronize()
                    self._on_its_way = True
                    fit = self._upload(image)
                    self.ready.record(self._streams.uploads)
            except CudaError as err:
                raise SessionError(explained(err)) from err
            self._filled = True
        return fit

    def submit(self) -> None:
        """Start the network on the image. Raises SessionError."""
        self.check()
        if self._submit is None:
            raise SessionError("the buffer is for batches: use submit_batch()")
        self._submit(self)

    def check(self) -> None:
        """Raise SessionError if it holds no image, or is at the network already."""
        if not self._filled:
            raise SessionError("the buffer holds no image: call fill() before submit()")
        if self.open:
            raise SessionError("the buffer is at the network: call wait() before submit()")

    def start(self) -> None:
        """Enqueue its run, once the image has arrived. Raises SessionError."""
        assert self.run is not None
        assert self._input is not None
        self._streams.network.wait(self.ready)
        self.run.start(None if self._kernels is None else self._letterbox(self._input))
        self.open = True

    def enqueue(self, target: View) -> None:
        """Enqueue what puts the image into a network input, its place in a batch."""
        self._streams.network.wait(self.ready)
        if self._kernels is None:
            self._cuda.copy(target, self._tensor.device, self._streams.network)
        else:
            self._letterbox(target)(self._streams.network)

    def finish(self) -> dict[str, Array]:
        """Wait for its run and give the outputs, which its next run overwrites."""
        assert self.run is not None
        try:
            outputs = self.run.finish()
        except SessionError:
            self.open = False
            raise
        self.finished()
        return outputs

    def finished(self) -> None:
        """Note that the network is done with it."""
        self.open = self._on_its_way = False

    def free(self) -> None:
        """Free it, once nothing that was enqueued uses it; ``fill`` refuses from then on."""
        with self._lock:
            cleanup, self._cleanup = self._cleanup, None
            if cleanup is not None:
                quietly(self._streams.uploads.synchronize)  # the reader may have enqueued until now
                quietly(cleanup.close)

    def _upload(self, image: RawImage) -> Letterbox:
        stream = self._streams.uploads
        if self._kernels is None:
            single = self._array.dtype == np.float32
            made, fit = letterbox(image.data, self._size, out=self._array if single else None)
            if not single:
                np.copyto(self._array, made, casting="same_kind")
            self.sent.record(stream)
            self._tensor.upload(self._tensor.device.nbytes, stream)
            return fit
        if (image.size, image.pixels) != self._form or self._fit is None:
            self._fit = self._take_form(image)
        assert self._image is not None
        data = image.data
        np.copyto(self._image.host[: data.size].reshape(data.shape), data)
        self.sent.record(stream)
        self._image.upload(data.size, stream)
        return self._fit

    def _letterbox(self, target: DeviceBuffer | View) -> Callable[[Stream], None]:
        """Make what enqueues the letterbox, once for each network input."""
        if target.address not in self._enqueue:
            assert self._kernels is not None
            assert self._image is not None
            assert self._fit is not None
            bound = self._kernels(self._form[1]).bind(self._image.device, target, self._fit)
            self._enqueue[target.address] = bound
        return self._enqueue[target.address]

    def _take_form(self, image: RawImage) -> Letterbox:
        """Prepare for images of another form or size; the memory for them only grows."""
        fit = Letterbox.fit(image.size, self._size)
        self._fit = None
        self._enqueue.clear()
        if self.run is not None:
            self.run.drop_graph()
        if self._image is None or self._image.device.nbytes < image.data.size:
            self._image = None
            self._images.close()  # nothing uses it: `ready` was waited for
            self._image = Exchange(self._cuda, image.data.size, self._images)
        assert self._kernels is not None
        self._kernels(image.pixels)  # compiled here, not at the network
        self._form = image.size, image.pixels
        return fit
