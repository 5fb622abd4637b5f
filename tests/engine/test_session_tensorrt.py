"""TensorRtSession on a GPU in NumPy that punishes misuse, with the TensorRT of each version."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from fake_machine import KERNELS, ORIN, SIZE, V10, Make, check, noise, tensors, to_bgr
from fake_tensorrt import RTX, VERSIONS

from jdetrt.cli.track import command
from jdetrt.engine.cuda.api import CudaError, CudaMemoryError
from jdetrt.engine.tensorrt import session as session_module
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.plan import Host
from jdetrt.engine.tensorrt.session import TensorRtSession
from jdetrt.errors import DataError, PlanMismatchError, SessionError
from jdetrt.runtime.input_buffer import BufferedSession
from jdetrt.runtime.pixels import Pixels, RawImage
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Session, TensorSpec


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("graphs", [False, True])
def test_gives_what_the_network_gives(version: str, graphs: bool, machine: Make) -> None:
    here = machine(version)
    images = [tensors() for _ in range(5)]
    with TensorRtSession(here.plan(), graphs=graphs) as session:
        assert isinstance(session, Session)
        assert isinstance(session, BufferedSession)
        assert session.inputs == (TensorSpec("images", "float32", (1, 3, 32, 64)),)
        assert [spec.name for spec in session.outputs] == ["boxes", "scores", "probe"]
        assert session.metadata == {"width": "64", "height": "32", "precision": "fp32"}
        results = [session.infer({"images": image}) for image in images]
        assert session.last_run_seconds is not None
        assert session.last_run_seconds > 0.0
        assert set(session.last_stage_seconds) == {"upload", "download"}
        assert min(session.last_stage_seconds.values()) > 0.0
    for outputs, image in zip(results, images, strict=True):  # later runs leave them alone
        check(outputs, image)
    # TensorRT-RTX captures by itself; elsewhere: once eagerly, once to capture, then replays.
    by_us = graphs and version != RTX
    assert here.network.runs == (2 if by_us else 5)
    assert [graph.launches for graph in here.cuda.graphs] == ([4] if by_us else [])
    whole = ["WHOLE_GRAPH_CAPTURE"] if graphs and version == RTX else []
    assert here.network.strategies == whole


def test_submit_returns_before_the_gpu_has_worked(machine: Make) -> None:
    here = machine()
    image = tensors()
    with TensorRtSession(here.plan()) as session:
        session.submit({"images": image})
        assert here.cuda.pending()  # nothing waited for the GPU yet
        image_then = image.copy()
        image[:] = 0.0  # it was copied: the caller's array is free again
        with pytest.raises(SessionError, match="open already"):
            session.submit({"images": image})
        check(session.wait(), image_then)
        with pytest.raises(SessionError, match="no run is open"):
            session.wait()


@pytest.mark.parametrize("core", [None, 0, 1])
def test_a_plan_for_a_dla_runs_on_the_core_that_it_was_built_for(
    core: int | None, machine: Make
) -> None:
    here = machine()
    here.trt.module._scenario.dla_cores = 2
    plan = here.plan(options=BuildOptions(dla_core=core))
    TensorRtSession(plan).close()
    assert here.trt.module._scenario.ran_on == [core]
    plan = (there := machine()).plan(options=BuildOptions(dla_core=core))
    assert there.trt.module._scenario.dla_cores == 0
    if core is not None:
        with pytest.raises(SessionError, match=f"for DLA core {core}, but this machine has 0"):
            TensorRtSession(plan)


@pytest.mark.parametrize("version", [V10, RTX])
@pytest.mark.parametrize("graphs", [False, True])
def test_single_frames_through_a_plan_of_many_batch_sizes(
    version: str, graphs: bool, machine: Make
) -> None:
    """A buffer holds one image; the network's own input, with room for four, is larger."""
    here = machine(version, free_batch=True)
    pictures = [noise(96, 80) for _ in range(4)]
    several = np.concatenate([tensors() for _ in range(3)])
    with TensorRtSession(here.plan(batch=(1, 2, 4)), graphs=graphs) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        for picture in pictures:  # eagerly, captured, replayed
            buffer.fill(picture)
            buffer.submit()
            check(session.wait(), letterbox(picture, SIZE)[0][None])
        check(session.infer({"images": several}), several)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_frames_go_through_buffers_while_the_network_runs(
    graphs: bool, on_gpu: bool, machine: Make
) -> None:
    here = machine()
    # Buffers grow with the pictures, and keep their room for smaller ones.
    sizes = [(96, 80), (96, 80), (200, 90), (96, 80), (64, 32), (33, 47)]
    pictures = [noise(*size) for size in sizes]
    with TensorRtSession(here.plan(), graphs=graphs, gpu_letterbox=on_gpu) as session:
        buffers = session.frame_buffers(SIZE, 2)
        fits = [buffers[0].fill(pictures[0])]
        results = []
        for i, following in enumerate([*pictures[1:], None]):
            buffers[i % 2].submit()
            if following is not None:  # while the network is at work on the picture before
                mine = following.copy()
                fits.append(buffers[(i + 1) % 2].fill(mine))
                mine[:] = 0  # it was copied
            results.append(session.wait())
            assert min(session.last_stage_seconds.values()) > 0.0
        assert session.frame_buffers(SIZE, 2) == buffers  # no new ones
    for picture, outputs, fit in zip(pictures, results, fits, strict=True):
        tensor, wanted = letterbox(picture, SIZE)
        assert fit == wanted
        check(outputs, tensor[None])
    assert ("kernel" in here.cuda.freed) == on_gpu


@pytest.mark.parametrize("graphs", [False, True])
def test_a_frame_may_queue_behind_the_one_at_work(graphs: bool, machine: Make) -> None:
    here = machine()
    pictures = [noise() for _ in range(8)]
    with TensorRtSession(here.plan(), graphs=graphs) as session:
        buffers = session.frame_buffers(SIZE, 3)
        for buffer, picture in zip(buffers[:2], pictures[:2], strict=True):
            buffer.fill(picture)
            buffer.submit()
        assert here.cuda.pending()  # both are enqueued, and nobody has waited
        results = []
        for i, following in enumerate(pictures[2:], start=2):
            buffers[i % 3].fill(following)
            with pytest.raises(SessionError, match="2 runs are open already"):
                buffers[i % 3].submit()
            results.append(session.wait())
            buffers[i % 3].submit()
            with pytest.raises(SessionError, match="open already"):
                session.submit({"images": tensors()})
        results += [session.wait(), session.wait()]
        with pytest.raises(SessionError, match="no run is open"):
            session.wait()
    assert bool(here.cuda.graphs) == graphs
    for picture, outputs in zip(pictures, results, strict=True):
        check(outputs, letterbox(picture, SIZE)[0][None])


@pytest.mark.parametrize("graphs", [False, True])
def test_a_run_that_fails_leaves_the_open_one_its_outputs(graphs: bool, machine: Make) -> None:
    here = machine()
    pictures = [noise() for _ in range(3)]
    with TensorRtSession(here.plan(), graphs=graphs) as session:
        buffers = session.frame_buffers(SIZE, 3)
        for buffer, picture in zip(buffers, pictures, strict=True):
            buffer.fill(picture)
        buffers[0].submit()
        here.network.refuse_at = 2
        with pytest.raises(SessionError, match="cannot run the plan"):
            buffers[1].submit()
        buffers[2].submit()
        check(session.wait(), letterbox(pictures[0], SIZE)[0][None])
        check(session.wait(), letterbox(pictures[2], SIZE)[0][None])


def test_a_frame_queues_behind_a_run_of_another_shape(machine: Make) -> None:
    here = machine(free_batch=True)
    picture, images = noise(), tensors(4)
    with TensorRtSession(here.plan(batch=(1, 2, 4))) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        buffer.fill(picture)
        session.submit({"images": images})
        buffer.submit()
        check(session.wait(), images)
        check(session.wait(), letterbox(picture, SIZE)[0][None])


def test_an_empty_buffer_is_refused(machine: Make) -> None:
    with TensorRtSession(machine().plan()) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        with pytest.raises(SessionError, match="holds no image"):
            buffer.submit()
        session.infer({"images": tensors()})


def test_buffers_are_filled_from_another_thread(machine: Make) -> None:
    here = machine()
    pictures = [noise() for _ in range(20)]
    with TensorRtSession(here.plan()) as session:
        buffers = session.frame_buffers(SIZE, 3)
        free, ready = threading.Semaphore(len(buffers)), threading.Semaphore(0)

        def read() -> None:
            for i, picture in enumerate(pictures):
                assert free.acquire(timeout=20)
                buffers[i % 3].fill(picture)
                ready.release()

        thread = threading.Thread(target=read)
        thread.start()
        for i, picture in enumerate(pictures):
            assert ready.acquire(timeout=20)
            buffers[i % 3].submit()
            check(session.wait(), letterbox(picture, SIZE)[0][None])
            free.release()
        thread.join()


def test_a_buffer_that_nobody_submitted_is_filled_again(machine: Make) -> None:
    first, second = noise(), noise(300, 200)
    with TensorRtSession(machine().plan()) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        buffer.fill(first)  # as of a camera whose newer frame takes its place
        buffer.fill(second)  # larger: the memory of the first is freed, so it must not be in use
        buffer.submit()
        check(session.wait(), letterbox(second, SIZE)[0][None])


@pytest.mark.parametrize("kernels", [KERNELS, None], ids=["gpu", "cpu"])
def test_buffers_in_half_precision(kernels: Any, machine: Make) -> None:
    here = machine(kernels=kernels)
    here.network.inputs = (("images", "HALF", (1, 3, 32, 64)),)
    here.trt.module._scenario.inputs = here.network.inputs
    picture = noise()
    with TensorRtSession(here.plan()) as session:
        assert session.inputs[0].dtype == "float16"
        (buffer,) = session.frame_buffers(SIZE, 1)
        buffer.fill(picture)
        buffer.submit()
        check(session.wait(), letterbox(picture, SIZE)[0][None].astype(np.float16))


def test_without_a_compiler_the_cpu_letterboxes_and_says_so(
    machine: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here = machine(kernels=None)
    picture = noise()
    with TensorRtSession(here.plan()) as session, caplog.at_level(logging.WARNING):
        session.frame_buffers(SIZE, 1)
        (buffer,) = session.frame_buffers(SIZE, 1)
        buffer.fill(picture)
        buffer.submit()
        check(session.wait(), letterbox(picture, SIZE)[0][None])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the CPU letterboxes" in caplog.text


@pytest.mark.parametrize("graphs", [False, True])
def test_a_free_batch_within_the_profile(graphs: bool, machine: Make) -> None:
    here = machine(free_batch=True)
    plan = here.plan(batch=(1, 2, 4))
    with TensorRtSession(plan, graphs=graphs) as session:
        assert session.inputs[0].shape == (-1, 3, 32, 64)
        for n in (1, 4, 4, 4, 2, 2, 2, 1):
            images = tensors(n)
            check(session.infer({"images": images}), images)
        with pytest.raises(SessionError, match=r"from \(1, 3, 32, 64\) to \(4, 3, 32, 64\)"):
            session.infer({"images": tensors(5)})
        images = tensors(2)
        check(session.infer({"images": images}), images)
    # 1, 4 and 2 pictures in turn: a graph is only kept while the shape stays
    assert [graph.launches for graph in here.cuda.graphs] == ([2, 2] if graphs else [])


def test_feeds_are_checked(machine: Make) -> None:
    with TensorRtSession(machine().plan()) as session:
        with pytest.raises(SessionError, match=r"expected float32 \(1, 3, 32, 64\), got float64"):
            session.submit({"images": tensors().astype(np.float64)})
        with pytest.raises(SessionError, match=r"takes 'images', got 'image'"):
            session.submit({"image": tensors()})
        with pytest.raises(SessionError, match="built for shapes"):
            session.frame_buffers((96, 32), 1)
        (buffer,) = session.frame_buffers(SIZE, 1)
        with pytest.raises(DataError, match=r"expected uint8 of shape \(H, W, 3\)"):
            buffer.fill(np.zeros((4, 4), np.uint8))


def test_memory_and_its_peak_are_reported(machine: Make) -> None:
    here = machine()
    with TensorRtSession(here.plan()) as session:
        loaded = session.memory()
        assert loaded.activations == 1 << 10
        assert loaded.buffers == 4 * (3 * 32 * 64 + 5 * 4 + 5 + 3 * 64)  # floats in and out
        assert loaded.used == loaded.peak == loaded.activations  # more with the first run
        session.infer({"images": tensors()})
        loaded = session.memory()
        spare = 3 * 256  # outputs begin at whole addresses
        assert loaded.buffers <= loaded.used - loaded.activations <= loaded.buffers + spare
        assert (loaded.free, loaded.total) == (here.cuda.left, here.cuda.total)
        with here.cuda.current():
            taken = here.cuda.buffer(1 << 20)  # what TensorRT allocates while it runs, say
            session.infer({"images": tensors()})
            taken.free()
        after = session.memory()
        assert after.used == loaded.used
        assert after.peak == loaded.used + (1 << 20)
    with pytest.raises(SessionError, match="closed"):
        session.memory()


# ---- endings -------------------------------------------------------------------------------------


def test_close_ends_an_open_run_and_refuses_the_rest(machine: Make) -> None:
    session = TensorRtSession(machine().plan())
    (buffer,) = session.frame_buffers(SIZE, 1)
    buffer.fill(noise())
    session.submit({"images": tensors()})
    session.close()
    session.close()
    for call in (
        lambda: session.submit({"images": tensors()}),
        lambda: session.frame_buffers(SIZE, 1),
        lambda: buffer.fill(noise()),
        buffer.submit,
    ):
        with pytest.raises(SessionError, match="closed"):
            call()


def test_a_picture_that_is_put_in_while_it_closes_is_waited_for(machine: Make) -> None:
    """The reader's thread may fill one buffer after the streams were waited for."""
    session = TensorRtSession(machine().plan())
    first, second = session.frame_buffers(SIZE, 2)
    free = first.free

    def free_late() -> None:
        second.fill(noise())
        free()

    first.free = free_late  # type: ignore[method-assign]
    session.close()
    with pytest.raises(SessionError, match="closed"):
        second.fill(noise())


def test_everything_is_freed_in_order(machine: Make) -> None:
    here = machine()
    session = TensorRtSession(here.plan(), graphs=True)
    (buffer,) = session.frame_buffers(SIZE, 1)
    buffer.fill(noise())
    for _ in range(3):
        session.infer({"images": tensors()})
    session.close()
    order = here.cuda.freed
    assert order[-3:] == ["stream"] * 3  # after all that used them
    assert order.index("graph") < order.index("event", order.index("graph"))
    assert order.index("graph") < order.index("context", 6)  # which it was captured of
    assert set(order) == {"graph", "event", "buffer", "pinned", "context", "kernel", "stream"}


@pytest.mark.parametrize("graphs", [False, True])
def test_whatever_fails_nothing_is_left(graphs: bool, machine: Make) -> None:
    """Let the first creation fail, then the second and so on, until all is well."""
    failed = 0
    for at in range(1, 100):
        here = machine(fail_at=at)
        try:
            with TensorRtSession(here.plan(), graphs=graphs) as session:
                (buffer,) = session.frame_buffers(SIZE, 1)
                buffer.fill(noise())
                buffer.submit()
                session.wait()
                for _ in range(3):
                    session.infer({"images": tensors()})
        except SessionError as err:
            failed += "made to fail" in str(err)
        here.cuda.check_all_freed()
        if here.cuda.created < at:
            break
    # 3 streams, activations; kernel, input, 2 events, 2 + 3 of a run, 2 of an image; arrays: 2 + 2,
    # and 2 + 3 of their run. Where a graph fails, the run goes on without.
    assert failed == (3 + 1) + (4 + 5 + 2) + (2 + 2 + 5)
    assert at - 1 == failed + graphs


def test_a_fault_of_the_gpu_is_one_error_and_all_is_freed(machine: Make) -> None:
    here = machine()
    with TensorRtSession(here.plan()) as session:
        session.infer({"images": tensors()})
        session.submit({"images": tensors()})
        here.cuda.fault = CudaError("CUDA failed: waiting for the GPU (illegal address)")
        for stream in here.cuda.streams.values():
            stream.queue.clear()  # it will do nothing more
        with pytest.raises(SessionError, match="illegal address"):
            session.wait()


# ---- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_not_enough_memory_for_the_context(version: str, machine: Make) -> None:
    here = machine(version, memory=1 << 20, activations=2 << 20)
    with pytest.raises(SessionError) as caught:
        TensorRtSession(here.plan())
    text = str(caught.value)
    assert text.startswith(f"{here.folder / 'model.plan'}: TensorRT cannot make")
    for part in ("out of memory", "2 MiB of GPU memory", "1 MiB of 1 MiB are free", "FP16"):
        assert part in text


def test_a_context_that_tensorrt_does_not_make(machine: Make) -> None:
    here = machine()
    here.network.no_context = True
    with pytest.raises(SessionError, match=r"cannot make an execution context: OutOfMemory"):
        TensorRtSession(here.plan())


def test_not_enough_memory_for_buffers_and_frame_buffers(machine: Make) -> None:
    here = machine(memory=20_000)
    with (
        TensorRtSession(here.plan()) as session,
        pytest.raises(SessionError, match=r"out of memory: 24576 bytes.*Close other"),
    ):
        session.infer({"images": tensors()})
    here = machine(memory=120_000)
    with TensorRtSession(here.plan()) as session:
        session.infer({"images": tensors()})
        with pytest.raises(SessionError, match=r"out of memory.*Close other"):
            session.frame_buffers(SIZE, 4)
        images = tensors()
        check(session.infer({"images": images}), images)  # it runs on


def test_not_enough_memory_for_a_largernoise(machine: Make) -> None:
    here = machine(memory=200_000)
    with TensorRtSession(here.plan()) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        buffer.fill(noise())
        with pytest.raises(SessionError, match=r"out of memory: 3000000 bytes.*Close other"):
            buffer.fill(noise(1000, 1000))
        with pytest.raises(SessionError, match="holds no image"):
            buffer.submit()
        picture = noise()
        buffer.fill(picture)
        buffer.submit()
        check(session.wait(), letterbox(picture, SIZE)[0][None])


def test_not_enough_page_locked_memory(machine: Make) -> None:
    here = machine()
    images = tensors()
    with TensorRtSession(here.plan()) as session:
        with here.patch.context() as patch:

            def refuse(shape: tuple[int, ...], dtype: str, *, mapped: bool) -> Any:
                raise CudaMemoryError("out of memory: page-locked")

            patch.setattr(here.cuda, "pinned", refuse)
            with pytest.raises(SessionError, match=r"out of memory: page-locked\. Close other"):
                session.infer({"images": images})
        check(session.infer({"images": images}), images)


def test_ctrl_c_while_the_first_run_compiles(machine: Make, when_said: Any) -> None:
    here = machine()
    here.network.refuse_at = 1
    when_said(here.network.refusal, lambda: os.kill(os.getpid(), signal.SIGINT))
    with TensorRtSession(here.plan()) as session, pytest.raises(KeyboardInterrupt):
        session.infer({"images": tensors()})


def test_ctrl_c_while_a_context_is_made(machine: Make, when_said: Any) -> None:
    here = machine()
    here.network.no_context = True
    when_said("OutOfMemory", lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        TensorRtSession(here.plan())


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("at", [1, 2])
def test_a_run_that_tensorrt_refuses_leaves_the_session_usable(
    graphs: bool, at: int, machine: Make
) -> None:
    here = machine()
    here.network.refuse_at = at
    images = tensors()
    with TensorRtSession(here.plan(), graphs=graphs) as session:
        for _ in range(at - 1):
            session.infer({"images": images})
        if graphs and at == 2:  # while it is captured: it runs without a graph
            check(session.infer({"images": images}), images)
        else:
            with pytest.raises(SessionError, match=r"cannot run the plan.*out of memory.*Close"):
                session.infer({"images": images})
        for _ in range(3):
            check(session.infer({"images": images}), images)


def test_a_plan_that_cannot_be_captured_runs_without_graphs_and_that_is_said_once(
    machine: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here = machine()
    pictures = [noise() for _ in range(9)]

    def refuse(stream: Any, enqueue: Callable[[], None]) -> Any:
        raise CudaError("CUDA failed: ending a capture (error 901)")

    here.patch.setattr(here.cuda, "capture", refuse)
    with TensorRtSession(here.plan()) as session, caplog.at_level(logging.WARNING):
        buffers = session.frame_buffers(SIZE, 3)
        for i, picture in enumerate(pictures):
            buffers[i % 3].fill(picture)
            buffers[i % 3].submit()
            check(session.wait(), letterbox(picture, SIZE)[0][None])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "CUDA graphs are off" in caplog.text
    assert "error 901" in caplog.text


def test_a_driver_without_graphs_is_said_once(
    machine: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here = machine(graphs=False)
    with caplog.at_level(logging.WARNING), TensorRtSession(here.plan()) as session:
        for _ in range(3):
            images = tensors()
            check(session.infer({"images": images}), images)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    other = machine(graphs=False)
    with caplog.at_level(logging.WARNING):
        TensorRtSession(other.plan(), graphs=False).close()
    assert not caplog.records


def test_each_buffer_has_a_graph_of_letterbox_and_network(machine: Make) -> None:
    """A larger image, and one of another size, need another graph."""
    here = machine()
    with TensorRtSession(here.plan()) as session:
        buffers = session.frame_buffers(SIZE, 2)
        for size, runs in (((96, 80), 4), ((200, 90), 3)):
            for _ in range(runs):
                picture = noise(*size)
                for buffer in buffers:
                    buffer.fill(picture)
                    buffer.submit()
                    check(session.wait(), letterbox(picture, SIZE)[0][None])
    # Once as it is; then captured, and captured anew, which nothing else makes necessary.
    assert [graph.launches for graph in here.cuda.graphs] == [3, 3, 3, 3]
    assert all(len(graph.work) == 2 for graph in here.cuda.graphs)
    assert here.network.contexts == 2


def test_where_gpu_and_cpu_share_their_memory_nothing_is_copied(machine: Make) -> None:
    """The fake refuses copies there."""
    here = machine(integrated=True)
    pictures = [noise() for _ in range(6)]
    with TensorRtSession(here.plan()) as session:
        images = tensors()
        check(session.infer({"images": images}), images)
        buffers = session.frame_buffers(SIZE, 2)
        for i, picture in enumerate(pictures):
            buffers[i % 2].fill(picture)
            buffers[i % 2].submit()
            check(session.wait(), letterbox(picture, SIZE)[0][None])


def test_outputs_that_are_lent_are_good_until_the_buffer_is_used_again(machine: Make) -> None:
    here = machine()
    with TensorRtSession(here.plan()) as session:
        buffers = session.frame_buffers(SIZE, 2)
        first, second = noise(), noise()
        for buffer, picture in zip(buffers, (first, second), strict=True):
            buffer.fill(picture)
            buffer.submit()
        lent = session.collect()
        check(session.collect(), letterbox(second, SIZE)[0][None])
        check(lent, letterbox(first, SIZE)[0][None])
        buffers[1].fill(first)
        buffers[1].submit()
        session.collect()
        check(lent, letterbox(first, SIZE)[0][None])
        assert not any(array.flags.owndata for array in lent.values())


def test_images_as_a_decoder_gives_them(machine: Make) -> None:
    here = machine()
    forms: list[tuple[Pixels, tuple[int, ...]]] = [
        *(("bgr", (80, 96, 3)), ("nv12_bt601", (120, 96)), ("bgrx", (80, 96, 4))),
        *(("bgrx", (40, 60, 4)), ("nv12_bt601", (60, 60)), ("bgr", (80, 96, 3))),
    ]
    with TensorRtSession(here.plan()) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        for pixels, shape in forms:
            for _ in range(3):  # as it is, captured, replayed
                image = np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)
                fit = buffer.fill(RawImage(image, pixels))
                buffer.submit()
                tensor, wanted = letterbox(to_bgr(image, pixels), SIZE)
                assert fit == wanted
                check(session.wait(), tensor[None])
    assert here.cuda.freed.count("kernel") == 3  # each compiled once


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        *(("bgr", (4, 4)), ("bgr", (4, 4, 4)), ("bgrx", (4, 4, 3)), ("bgr", (0, 4, 3))),
        *(("nv12_bt709", (4, 4)), ("nv12_bt601", (6, 5)), ("nv12_bt601", (6, 4, 1))),
    ],
)
def test_an_image_of_another_shape_than_its_form_has(
    pixels: Pixels, shape: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match="expected uint8 of shape"):
        RawImage(np.zeros(shape, np.uint8), pixels)


def test_where_the_cpu_letterboxes_only_bgr_is_taken(machine: Make) -> None:
    with TensorRtSession(machine(kernels=None).plan()) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        with pytest.raises(DataError, match=r"nv12_bt709 needs the letterbox of the GPU"):
            buffer.fill(RawImage(np.zeros((6, 4), np.uint8), "nv12_bt709"))


def test_a_buffer_at_the_network_is_not_filled(machine: Make) -> None:
    with TensorRtSession(machine().plan()) as session:
        (buffer,) = session.frame_buffers(SIZE, 1)
        picture = noise()
        buffer.fill(picture)
        buffer.submit()
        with pytest.raises(SessionError, match=r"is at the network: call wait"):
            buffer.fill(noise())
        check(session.wait(), letterbox(picture, SIZE)[0][None])
        buffer.fill(noise())


def test_a_shape_that_tensorrt_refuses_is_set_again(machine: Make) -> None:
    here = machine(free_batch=True)
    context = here.trt.module.IExecutionContext
    set_shape = context.set_input_shape
    with TensorRtSession(here.plan(batch=(1, 2, 4))) as session:
        images = tensors(2)
        session.infer({"images": images})

        def refuse(context: Any, name: str, shape: Any) -> bool:
            set_shape(context, name, (4, 3, 32, 64))  # and is left in between
            return False

        here.patch.setattr(context, "set_input_shape", refuse)
        with pytest.raises(SessionError, match=r"'images': TensorRT refuses \(1, 3, 32, 64\)"):
            session.infer({"images": tensors(1)})
        here.patch.setattr(context, "set_input_shape", set_shape)
        check(session.infer({"images": images}), images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("truncated", r"is cut short, 10 of \d+ bytes"),
        ("tampered", "its bytes were changed"),
        ("no sidecar", r"its sidecar model.plan.json.* is missing"),
        ("other version", r"was made with TensorRT 0\.1 .*here is TensorRT 10\.3\.0"),
        ("other GPU", r"was made with .*Xavier.*compute capability of the GPU differs"),
    ],
)
def test_plans_that_do_not_fit(change: str, message: str, machine: Make) -> None:
    here = machine()
    made = Host.here(here.trt, ORIN)
    facts: dict[str, Any] = {
        "other version": {"host": msgspec.structs.replace(made, tensorrt="0.1")},
        "other GPU": {
            "host": msgspec.structs.replace(made, gpu="Xavier", compute_capability="7.2")
        },
    }
    plan = here.plan(**facts.get(change, {}))
    if change == "truncated":
        plan.write_bytes(plan.read_bytes()[:10])
    elif change == "tampered":
        plan.write_bytes(plan.read_bytes()[:-1] + b"x")
    elif change == "no sidecar":
        plan.with_name("model.plan.json").unlink()
    with pytest.raises(PlanMismatchError, match=message):
        TensorRtSession(plan)
    assert not here.opened  # the GPU was not touched


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_is_no_plan(version: str, machine: Make) -> None:
    here = machine(version)
    with pytest.raises(SessionError, match=r"model.plan: TensorRT \S+ refuses the plan: Serial"):
        TensorRtSession(here.plan(data=b"not a plan"))


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_driver(version: str, machine: Make) -> None:
    """TensorRT may start without one (11) or not (8): the CUDA library is asked first."""
    here = machine(version)
    plan = here.plan()
    here.trt.module._scenario.driver = False
    here.patch.setattr(session_module, "current_device", lambda: None)
    with pytest.raises(SessionError, match=r"model.plan: TensorRT .*"):
        TensorRtSession(plan)

    def refuse() -> Any:
        raise CudaError("the GPU cannot be used (pycuda: libcuda.so.1). Install NVIDIA's driver")

    here.patch.setattr(session_module, "open_cuda", refuse)
    with pytest.raises(SessionError, match="Install NVIDIA's driver"):
        TensorRtSession(plan)


def test_output_sizes_that_are_known_only_afterwards(machine: Make) -> None:
    here = machine()
    here.network.outputs = (*here.network.outputs, ("kept", "FLOAT", (1, -1)))
    with pytest.raises(SessionError, match=r"output 'kept': its size \(1, -1\) is known only"):
        TensorRtSession(here.plan())


@pytest.mark.parametrize("graph", [False, True])
def test_tracks_from_the_command_line(graph: bool, machine: Make) -> None:
    here = machine()
    frames = here.folder / "frames"
    frames.mkdir()
    for i in range(12):
        assert cv2.imwrite(str(frames / f"{i}.png"), noise())
    arguments = [str(frames), "--model", str(here.plan()), "--max-frames", "10"]
    arguments += ["--mot", str(here.folder / "tracks.txt"), *([] if graph else ["--no-cuda-graph"])]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.exception
    assert (here.folder / "tracks.txt").exists()
    assert re.search(r"GPU memory +\d+\.\d MB +peak \d+\.\d MB", done.output)
    assert "kernel" in here.cuda.freed  # the GPU letterboxed
    # Each of the four buffers runs once without.
    assert sum(g.launches for g in here.cuda.graphs) == (6 if graph else 0)
