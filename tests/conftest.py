"""Settings and fixtures for all tests."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Threads of a library that multiplies matrices cost small ones more than they save, above all where
# other work waits for the same cores. Before NumPy and torch are imported; programs that tests
# start inherit it.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# The first call of a kernel compiles it: no example has a deadline.
settings.register_profile("jdetrt", deadline=None)
settings.load_profile("jdetrt")

# A shell lets what it starts in the background ignore Ctrl-C; tests send that very signal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the trackers' kernels once, before the first test, where tests use them."""
    if "jdetrt.runtime.tracking.tracker" in sys.modules and not session.config.option.collectonly:
        from jdetrt.config import PRESETS
        from jdetrt.runtime.tracking.tracker import Tracker

        for preset in PRESETS:
            Tracker(preset).warm_up()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, which small networks are fastest on, for a module."""
    import torch  # not at the top: most tests do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
