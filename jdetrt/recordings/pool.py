"""Work on many items: one after the other in this process, or on several by Ray.

An item that fails stops no other. A worker that dies, as of a lack of memory, costs nothing but the
item that it was at: that is given to another worker, a few times.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jdetrt.account import counted
from jdetrt.errors import ConfigError, JdetrtError, MissingDependencyError

__all__ = ["ATTEMPTS", "Outcome", "Workers", "connect", "spread"]

ATTEMPTS = 4  # at an item whose worker dies
_STARTS = 3  # of Ray, which waits for 30 s each time
_OBJECT_STORE = 80 << 20  # bytes; Ray's own least is 75 MiB, and results are small
_T = TypeVar("_T")
_R = TypeVar("_R")

# Makes the function for the items, given the number of CPU threads; it is used as a context
# manager, and is pickled for workers elsewhere.
Make = Callable[["int | None"], AbstractContextManager[Callable[[_T], _R]]]


@dataclass(frozen=True, slots=True)
class Workers:
    """Number and place of the workers.

    Attributes:
        count: processes; None for one, or with ``address`` for as many as the cluster has room for.
        address: of a Ray cluster, ``"host:6379"`` or ``"auto"``; None for this machine.
        threads: CPU threads of each; by default all of this machine shared out, and on a cluster
            one.

    Raises:
        ConfigError: fewer than 1 worker or thread.
    """

    count: int | None = None
    address: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("count", self.count), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {value}")

    @property
    def in_process(self) -> bool:
        """True where this process does the work, without Ray."""
        return self.address is None and (self.count or 1) == 1


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_R]):
    """Outcome of an item: a result or an error.

    Attributes:
        index: of the item, from 0.
        result: of the function.
        error: in words; None where there is a result.
        attempts: at the item; more than 1 where workers died.
    """

    index: int
    result: _R | None = None
    error: str | None = None
    attempts: int = 1


def spread(
    make: Make[_T, _R],
    items: Sequence[_T],
    workers: Workers,
    fatal: type[JdetrtError] | tuple[type[JdetrtError], ...] = (),
) -> Iterator[Outcome[_R]]:
    """Call a function with every item and yield the outcomes as they come.

    Args:
        make: gives the function.
        items: what it is called with.
        workers: that call it.
        fatal: errors that no other item would escape, and that end the work.

    Raises:
        MissingDependencyError: several workers are asked for, and Ray is not installed.
        ConfigError: the cluster cannot be reached or started, or has no room for a worker.
        JdetrtError: a fatal error.
    """
    if workers.in_process:
        with make(workers.threads) as function:
            for index, item in enumerate(items):
                yield _judged(index, _call(function, item, fatal), 1)
    else:
        with _cluster(workers) as (ray, remote, count):
            makes = ray.cloudpickle.dumps((make, fatal))
            yield from _remotely(ray, remote, count, makes, items)


def _call(function: Callable[[_T], _R], item: _T, fatal: Any) -> tuple[str, Any]:
    """Outcome of an item, in a form that goes to another process."""
    try:
        return "result", function(item)
    except fatal as err:
        return "fatal", (type(err), str(err))
    except JdetrtError as err:
        return "error", " ".join(str(err).split())
    except Exception as err:  # of one item among thousands, and named with it
        return "error", f"defect of jdetrt: {type(err).__name__}: {err}"


def _judged(index: int, outcome: tuple[str, Any], attempts: int) -> Outcome[Any]:
    kind, value = outcome
    if kind == "fatal":
        raise value[0](value[1])
    if kind == "error":
        return Outcome(index, error=value, attempts=attempts)
    return Outcome(index, value, attempts=attempts)


# ---- Ray ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _made(makes: bytes, threads: int) -> tuple[Callable[[Any], Any], Any]:
    """The function of this worker, which keeps it for all of its items."""
    make, fatal = pickle.loads(makes)
    return make(threads).__enter__(), fatal


def _work(makes: bytes, threads: int, item: Any) -> tuple[str, Any]:
    """Work on an item in a worker of Ray."""
    return _call(lambda one: _made(makes, threads)[0](one), item, _made(makes, threads)[1])


def _remotely(
    ray: Any, remote: Any, count: int, makes: bytes, items: Sequence[Any]
) -> Iterator[Outcome[Any]]:
    """Keep as many items under way as there are workers."""
    waiting = iter(enumerate(items))
    under_way: dict[Any, tuple[int, int]] = {}  # index and number of the attempt, by reference

    def start(index: int, attempt: int) -> None:
        under_way[remote(makes, items[index])] = index, attempt

    for index, _ in waiting:
        start(index, 1)
        if len(under_way) == count:
            break
    while under_way:
        done, _ = ray.wait([*under_way])
        index, attempt = under_way.pop(done[0])
        try:
            outcome = ray.get(done[0])
        except ray.exceptions.RayTaskError as err:  # before the item: the function cannot be made
            raise ConfigError(f"a worker cannot begin: {_last_line(err)}") from err
        except ray.exceptions.RayError as err:  # the worker, or the machine under it, is gone
            if attempt < ATTEMPTS:
                start(index, attempt + 1)
                continue
            outcome = "error", f"its worker died {attempt} times, the last time: {_last_line(err)}"
        yield _judged(index, outcome, attempt)
        for following, _ in waiting:
            start(following, 1)
            break


def _last_line(err: BaseException) -> str:
    lines = [line for line in str(err).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(err).__name__


@contextmanager
def _cluster(workers: Workers) -> Iterator[tuple[Any, Callable[[bytes, Any], Any], int]]:
    """Ray, connected; a function that starts an item; and the number of workers."""
    with redirect_stdout(sys.stderr):  # where Ray tells of workers that died
        ray, ours = connect(workers)
        try:
            if workers.address is None:  # Ray is told of one CPU a worker
                shared = len(os.sched_getaffinity(0)) // (workers.count or 1)
                threads, cpus = workers.threads or max(1, shared), 1
            else:
                threads = cpus = workers.threads or 1
            room = ray.cluster_resources()
            count = workers.count or int(room.get("CPU", 0)) // cpus
            if count < 1 or cpus > room.get("CPU", 0):
                raise ConfigError(
                    f"{workers.address}: the cluster has {room.get('CPU', 0):g} CPUs, no room for "
                    f"a worker of {counted(threads, 'thread')}"
                )
            gpus = min(1.0, int(1e4 * room.get("GPU", 0) / count) / 1e4)  # Ray counts in 1/10000
            # Ray's own retries would not be seen: they are counted and told here.
            work = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_work)
            yield ray, lambda makes, item: work.remote(makes, threads, item), count
        finally:
            if ours:
                ray.shutdown()


def connect(workers: Workers) -> tuple[Any, bool]:
    """Connect this process to a Ray cluster, or to one of its own that ends with it.

    Returns:
        The module ``ray``, whose ``shutdown`` ends the connection; and whether it was made here:
        a program that is connected stays so.

    Raises:
        MissingDependencyError: Ray is not installed.
        ConfigError: the cluster cannot be reached or started.
    """
    ray: Any
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # GPUs are not hidden
    try:
        import ray
    except ImportError as err:
        note = "One worker needs no Ray: --workers 1"
        raise MissingDependencyError("ray", "ray", "Working in several processes", note) from err
    if ray.is_initialized():
        return ray, False
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if workers.address is None:
        options |= {
            "num_cpus": workers.count,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    for attempt in range(1, _STARTS + 1):
        try:
            with _signal_kept():
                ray.init(workers.address, **options)
            break
        except Exception as err:  # Ray raises it bare where a loaded machine is too slow for it
            ray.shutdown()
            if workers.address is not None:
                raise ConfigError(f"{workers.address}: {_no_answer(err)}") from err
            if attempt == _STARTS:
                raise ConfigError(f"Ray cannot be started ({_last_line(err)})") from err
    return ray, True


def _no_answer(err: BaseException) -> str:
    """Say why a cluster cannot be reached; a token that is missing is named by a cause alone."""
    reasons = [err]
    while (cause := reasons[-1].__cause__ or reasons[-1].__context__) is not None:
        reasons.append(cause)
    if any("AuthToken" in str(reason) for reason in reasons):
        return (
            "the Ray cluster asks for its token; set the environment variable RAY_AUTH_MODE=token, "
            "with the cluster's token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
        )
    return f"no Ray cluster answers ({_last_line(err)}); `ray start --head` starts one"


@contextmanager
def _signal_kept() -> Iterator[None]:
    """Keep what SIGTERM does here, which Ray sets to an end without a summary."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    with suppress(ValueError):  # not in the main thread, where Ray sets nothing either
        signal.signal(signal.SIGTERM, handler)
