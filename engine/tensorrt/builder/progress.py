"""Run a build so that it reports progress and ends on Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["Watch", "run_build"]

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = logging.getLogger(__name__)


class Watch:
    """Stop of a build between two of its steps.

    Attributes:
        stopped: set to stop it.
        monitor: the ``IProgressMonitor``; None where TensorRT has none.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.monitor: Any = None

    def check(self) -> None:
        """Between two calls of TensorRT: raise KeyboardInterrupt if the build is to stop."""
        if self.stopped:
            raise KeyboardInterrupt

    def over(self, config: Any) -> None:
        """Let the build of this ``IBuilderConfig`` report its steps, where it can."""
        if self.monitor is not None:
            config.progress_monitor = self.monitor


def run_build(trt: TensorRt, build: Callable[[Watch], _T], progress: Progress = NO_PROGRESS) -> _T:
    """Run a build so that Ctrl-C ends it.

    TensorRT is in a thread of its own while the caller's waits. In the caller's a signal could
    become an exception within a callback of TensorRT, its logger say, which swallows it. Here it
    arrives at once, and the next step that TensorRT reports is its last. A second Ctrl-C does not
    wait for it and ends the program. A TensorRT that reports no steps (8.5, 8.6) cannot be stopped:
    for the time of its build Ctrl-C and SIGTERM end the program, as they do programs that do not
    catch them. In either case nothing has been written.

    Args:
        trt: the module.
        build: what calls TensorRT, from its first object to the bytes of the plan.
        progress: told of the phases of the build.

    Raises:
        KeyboardInterrupt: after TensorRT has stopped, where Ctrl-C raises it.
        Exception: what ``progress`` raised.
    """
    if not trt.progress:
        _log.warning("TensorRT %s cannot be stopped: Ctrl-C ends the program", trt.version)
        with _deadly_signals():
            return build(Watch())
    watch = Watch()
    monitor = watch.monitor = _monitor(trt, watch, progress)
    # Leaving the pool waits for the thread; an exception there would leave TensorRT at work.
    with _second_signal_is_deadly(), ThreadPoolExecutor(1, "tensorrt-build") as pool:
        try:
            built = pool.submit(build, watch).result()
        except Exception as err:
            if monitor.error is not None:
                raise monitor.error from err
            raise
        finally:
            watch.stopped = True
    if monitor.error is not None:  # at the last step, which ended well
        raise monitor.error
    return built


def _monitor(trt: TensorRt, watch: Watch, progress: Progress) -> Any:
    base: Any = trt.module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # its base is only known here
        """Its methods must not raise: what calls them is C++."""

        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it by name
            self.error: Exception | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(lambda: progress.start(phase_name, num_steps, parent_phase))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(lambda: progress.advance(phase_name, step + 1))
            return not watch.stopped

        def phase_finish(self, phase_name: str) -> None:
            self._tell(lambda: progress.finish(phase_name))

        def _tell(self, call: Callable[[], None]) -> None:
            try:
                call()
            except Exception as err:  # whatever it is: TensorRT stops, and it is raised
                self.error, watch.stopped = err, True

    return Monitor()


@contextmanager
def _second_signal_is_deadly() -> Iterator[None]:
    """Let the first Ctrl-C raise and the second end the program; SIGTERM where it acts as Ctrl-C.

    A signal that does something else than to raise KeyboardInterrupt goes on doing that.
    """
    raising = [n for n in _SIGNALS if signal.getsignal(n) is signal.default_int_handler]
    if threading.current_thread() is not threading.main_thread():
        raising = []

    def first(number: int, frame: FrameType | None) -> None:
        for each in raising:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    for number in raising:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in raising:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def _deadly_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
