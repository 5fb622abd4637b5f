"""Images of several buffers in one run of TensorRtSession, and several sources through it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from fake_machine import KERNELS, SIZE, Make, check, noise
from fake_trt_runtime import expected

from jdetrt.engine.tensorrt.session import TensorRtSession
from jdetrt.errors import SessionError
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.input_buffer import BatchSession
from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream
from jdetrt.runtime.preprocess import letterbox
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Array, Detections, Frame


def _tensors(pictures: list[Array]) -> Array:
    return np.stack([letterbox(picture, SIZE)[0] for picture in pictures])


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("kernels", [KERNELS, None], ids=["gpu", "cpu"])
def test_batches_of_every_size_two_at_a_time(graphs: bool, kernels: Any, machine: Make) -> None:
    here = machine(free_batch=True, kernels=kernels)
    with TensorRtSession(here.plan(batch=(1, 4, 6)), graphs=graphs) as session:
        assert isinstance(session, BatchSession)
        assert session.largest_batch == 6
        buffers = list(session.batch_buffers(SIZE, 18))
        waiting = []
        for turn, count in enumerate([1, 6, 3, 2, 5, 6, 4, 6, 6, 3, 1, 6]):
            mine, buffers = buffers[:count], buffers[count:]
            pictures = [noise(90 + 7 * turn, 60 + i) for i in range(count)]
            for buffer, picture in zip(mine, pictures, strict=True):
                buffer.fill(picture)
            if len(waiting) == session.depth:
                with pytest.raises(SessionError, match="2 runs are open already"):
                    session.submit_batch(mine)
                before, images = waiting.pop(0)
                check(session.wait(), _tensors(images))
                buffers += before
            session.submit_batch(mine)
            waiting.append((mine, pictures))
        for _, images in waiting:
            check(session.collect(), _tensors(images))
    # At most two of each padded size: not one for each choice of buffers.
    assert len(here.cuda.graphs) <= (8 if graphs else 0)
    assert bool(here.cuda.graphs) == graphs


def test_what_is_no_batch_is_refused_and_does_no_harm(machine: Make) -> None:
    here = machine(free_batch=True)
    with TensorRtSession(here.plan(batch=(1, 2, 2))) as session:
        one, two, three = session.batch_buffers(SIZE, 3)
        pictures = [noise() for _ in range(3)]
        one.fill(pictures[0])
        for buffers, words in (
            ([], "a batch of 0 images: the plan takes 1 to 2"),
            ([one, two, three], "a batch of 3 images"),
            ([one, two], "holds no image"),
        ):
            with pytest.raises(SessionError, match=words):
                session.submit_batch(buffers)
        with pytest.raises(SessionError, match="use submit_batch"):
            one.submit()
        two.fill(pictures[1])
        three.fill(pictures[2])
        session.submit_batch([one, two])
        with pytest.raises(SessionError, match=r"is at the network"):
            session.submit_batch([three, one])
        session.submit_batch([three])
        check(session.wait(), _tensors(pictures[:2]))
        check(session.wait(), _tensors(pictures[2:]))


def test_a_batch_that_tensorrt_refuses_leaves_its_buffers_usable(machine: Make) -> None:
    here = machine(free_batch=True)
    with TensorRtSession(here.plan(batch=(1, 2, 2))) as session:
        buffers = session.batch_buffers(SIZE, 2)
        pictures = [noise(), noise()]
        for buffer, picture in zip(buffers, pictures, strict=True):
            buffer.fill(picture)
        here.network.refuse_at = 1
        with pytest.raises(SessionError, match="cannot run the plan"):
            session.submit_batch(buffers)
        session.submit_batch(buffers)
        check(session.wait(), _tensors(pictures))


class _Source:
    """Frames of noise of one size, from a seed."""

    uri = name = "test"
    frame_rate = 30.0
    live = False

    def __init__(self, seed: int, frames: int, size: tuple[int, int]) -> None:
        self.size: tuple[int, int] | None = size
        self.length: int | None = frames
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (frames, size[1], size[0], 3), np.uint8)

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self.images, start=1):
            yield Frame(image, index)

    def close(self) -> None: ...

    def __enter__(self) -> _Source:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class _Probing(Detector):
    """Keeps what the network gave for each image, in the order of decoding."""

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self.probes: list[Array] = []

    def decode(self, outputs: Any, letterbox: Any, batch_index: int = 0) -> Detections:
        self.probes.append(outputs["probe"][batch_index].copy())
        return super().decode(outputs, letterbox, batch_index)


@pytest.mark.parametrize("batch", [None, (1, 2, 2), (1, 4, 8)])
def test_several_sources_through_one_plan(
    batch: tuple[int, int, int] | None, machine: Make
) -> None:
    """With one image at a time, fewer than there are sources, and room for more."""
    here = machine(free_batch=batch is not None)
    plan = here.plan() if batch is None else here.plan(batch=batch)
    sources = [_Source(1, 9, (96, 80)), _Source(2, 4, (120, 70)), _Source(3, 12, (64, 32))]
    with TensorRtSession(plan) as session:
        detector = _Probing(session)
        streams = [Stream(source, Tracker("iou")) for source in sources]
        report = MultiPipeline(streams, detector).run()
    assert [stream.frames for stream in report.streams] == [9, 4, 12]
    most = 1 if batch is None else min(batch[-1], 3)
    assert report.batches >= -(-25 // most)
    assert max(1.0, report.batch) <= most
    wanted = [
        expected(letterbox(image, SIZE)[0][None])["probe"][0]
        for source in sources
        for image in source.images
    ]
    assert len(detector.probes) == 25
    assert sorted(p.tobytes() for p in detector.probes) == sorted(w.tobytes() for w in wanted)
    for source in sources:  # each source's frames in their order
        mine = [expected(letterbox(i, SIZE)[0][None])["probe"][0].tobytes() for i in source.images]
        order = [p.tobytes() for p in detector.probes if p.tobytes() in mine]
        assert order == mine
    assert "kernel" in here.cuda.freed  # the GPU letterboxed
    assert sum(graph.launches for graph in here.cuda.graphs) > 0
    assert threading.active_count() < 10


def test_frames_before_a_batch_that_fails_are_finished(machine: Make) -> None:
    here = machine(free_batch=True)
    sources = [_Source(seed, 20, (96, 80)) for seed in (1, 2)]
    with TensorRtSession(here.plan(batch=(1, 2, 2)), graphs=False) as session:
        here.network.refuse_at = 4
        streams = [Stream(source, Tracker("iou")) for source in sources]
        pipeline = MultiPipeline(streams, session)
        with pytest.raises(SessionError, match="cannot run the plan"):
            pipeline.run()
        assert [stream.frames for stream in pipeline.report().streams] == [3, 3]
        session._check_room(1)
