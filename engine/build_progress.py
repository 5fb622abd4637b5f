"""A build that tells how far it is and ends on Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeVar

from jdetrt.engine.compat import TensorRt

__all__ = ["Progress", "run_build"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Who wants to know; called from a thread of the build, perhaps from several at a time."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins, within another one or by itself."""

    def step(self, phase: str, index: int) -> None:
        """Step ``index`` of a phase, from 0, is done."""

    def finish(self, phase: str) -> None:
        """A phase ends, perhaps before its last step."""


def run_build(
    trt: TensorRt, config: Any, build: Callable[[], _T], progress: Progress | None = None
) -> _T:
    """Run a build so that Ctrl-C ends it.

    TensorRT is in a thread of its own while the caller's waits, so that a signal arrives at once;
    the next step that TensorRT reports is then its last. A second Ctrl-C does not wait for it and
    ends the program. A TensorRT that reports no steps (8.5, 8.6) cannot be stopped: for the time of
    its build Ctrl-C and SIGTERM end the program, as they do programs that do not catch them. In
    either case nothing has been written.

    Args:
        trt: the module.
        config: the ``IBuilderConfig`` of the build.
        build: what calls TensorRT.
        progress: who wants to know.

    Raises:
        KeyboardInterrupt: after TensorRT has stopped, where Ctrl-C raises it.
    """
    if not trt.progress:
        _log.warning("TensorRT %s cannot be stopped: Ctrl-C ends the program", trt.version)
        with _deadly_signals():
            return build()
    monitor = _monitor(trt, progress)
    config.progress_monitor = monitor
    # Leaving the pool waits for the thread; an exception there would leave TensorRT at work.
    with _second_ctrl_c_is_deadly(), ThreadPoolExecutor(1, "tensorrt-build") as pool:
        try:
            return pool.submit(build).result()
        except Exception as err:
            if monitor.error is not None:
                raise monitor.error from err
            raise
        finally:
            monitor.stopped = True


def _monitor(trt: TensorRt, progress: Progress | None) -> Any:
    base: Any = trt.module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # its base is only known here
        """Its methods must not raise: what calls them is C++."""

        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it by name
            self.stopped = False
            self.error: Exception | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if progress is not None:
                self._tell(lambda: progress.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            if progress is not None:
                self._tell(lambda: progress.step(phase_name, step))
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            if progress is not None:
                self._tell(lambda: progress.finish(phase_name))

        def _tell(self, call: Callable[[], None]) -> None:
            try:
                call()
            except Exception as err:  # whatever it is: TensorRT stops, and it is raised
                self.error, self.stopped = err, True

    return Monitor()


@contextmanager
def _second_ctrl_c_is_deadly() -> Iterator[None]:
    """The first raises KeyboardInterrupt; one more does what the system does by default.

    Where Ctrl-C does something else already, it goes on doing that.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not main:
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _deadly_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
