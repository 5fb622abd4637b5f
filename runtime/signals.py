"""Hold Ctrl-C until a frame is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupt_held", "sigterm_as_ctrl_c"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block has ended, then let them take effect.

    A block that writes half a line or half an image and is then left by KeyboardInterrupt would
    leave a broken file. Keep such blocks short. Outside of the main thread, where no signal
    arrives, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by C code, which Python cannot put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if held:
            signal.raise_signal(held[0])


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does.

    It is what a service manager or a container sends, and its default is to end the process at
    once, with the results of the run not kept. Outside of the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
