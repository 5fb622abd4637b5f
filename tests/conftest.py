"""Settings and fixtures for all tests."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The first call of a kernel compiles it: no example has a deadline.
settings.register_profile("jdetrt", deadline=None)
settings.load_profile("jdetrt")

# A shell lets what it starts in the background ignore Ctrl-C; tests send that very signal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, which small networks are fastest on, for a module."""
    import torch  # not at the top: most tests do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
