"""Recordings on a real local cluster of Ray: two processes, of which one is killed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import jdetrt

from jdetrt.errors import ConfigError
from jdetrt.recordings.manifest import read_manifest
from jdetrt.recordings.pool import ATTEMPTS, Workers, _no_answer, connect, spread
from jdetrt.recordings.run import ManifestReport, track_manifest
from jdetrt.recordings.scoring import score_manifest
from jdetrt.recordings.tracking import TrackSettings

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)
os.environ.setdefault("RAY_AUTH_MODE", "token")  # which Ray looks at when it is imported
ALONE = Workers()
MARK = "JDETRT_TEST_OF_RAY"


_HOST = """
import sys
from jdetrt.recordings.pool import Workers, connect
ray, _ = connect(Workers(count=2))
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


class Cluster(NamedTuple):
    """A cluster of this machine.

    Attributes:
        workers: the two that it has.
        mark: in the environment of its processes.
    """

    workers: Workers
    mark: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers for all tests of this module, started as by `--workers 2` in another process."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", _HOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, MARK: mark},
        text=True,
    ) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        address = host.stdout.readline().strip()
        assert address
        workers = Workers(count=2, address=address)
        ray, ours = connect(workers)
        assert ours
        assert connect(workers) == (ray, False)
        yield Cluster(workers, mark)
        ray.shutdown()
        host.stdin.close()


def workers_at_work(mark: str) -> list[int]:
    """Processes of the cluster that have an item in hand."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::_work"):
                environment = (folder / "environ").read_bytes()
                pids += [int(folder.name)] if f"{MARK}={mark}".encode() in environment else []
    return pids


def track(videos: Path, name: str, workers: Workers = ALONE) -> ManifestReport:
    folder = videos.parent / name
    settings = TrackSettings(folder=str(folder), outputs={"mot": f"{folder}/{{name}}.txt"})
    return track_manifest(read_manifest(videos), settings, workers)


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def test_same_tracks_though_a_worker_is_killed(videos: Path, cluster: Cluster) -> None:
    alone = track(videos, "alone")
    ended = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not ended.is_set() and not killed:
            for pid in workers_at_work(cluster.mark)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    report = track(videos, "spread", cluster.workers)
    ended.set()
    killer.join()
    assert killed
    assert report.totals.retries >= 1
    assert report.totals.failed == 0
    assert texts(videos.parent / "spread") == texts(videos.parent / "alone")
    for name in ("frames", "detections", "tracks"):
        assert getattr(report.totals, name) == getattr(alone.totals, name) > 0
    assert [one.name for one in report.recordings] == [one.name for one in alone.recordings]
    assert not [path for path in (videos.parent / "spread").iterdir() if path.name[0] == "."]
    assert track(videos, "spread", cluster.workers).totals.up_to_date == len(report.recordings)


def test_command_line_with_a_recording_that_fails(
    videos: Path, clips: Path, cluster: Cluster
) -> None:
    shutil.copytree(clips / "clip1", videos.parent / "broken")
    image = next((videos.parent / "broken" / "img1").iterdir())
    image.unlink()
    videos.write_text(f"{clips}/clip0\nbroken\n{clips}/clip2\n")
    out = videos.parent / "out"
    where = ("--workers", 2, "--address", cluster.workers.address)
    done = jdetrt("track", "--manifest", videos, "-o", out, *where, "--json", "-")
    assert done.code == 1
    assert done.out.startswith("{")
    assert "Failed: broken: " in done.err
    assert "3 recordings: 2 tracked, 0 up to date, 1 failed" in done.err


def test_scores_are_those_of_one_process(videos: Path, cluster: Cluster) -> None:
    track(videos, "out")
    manifest, folder = read_manifest(videos), videos.parent / "out"
    one, two = (score_manifest(manifest, folder, workers) for workers in (ALONE, cluster.workers))
    assert one.scores.combined == two.scores.combined
    assert one.scores.sequences == two.scores.sequences
    assert list(one.scores.sequences) == list(two.scores.sequences)
    assert one.scores.to_dict() == two.scores.to_dict()


def test_an_item_that_kills_every_worker_is_given_up(cluster: Cluster) -> None:
    def make(threads: int | None) -> Any:
        import contextlib
        import os

        def work(item: int) -> int:
            if item == 1:
                os.kill(os.getpid(), 9)
            if item == 2:
                raise ValueError("two")
            return item * item

        return contextlib.nullcontext(work)

    outcomes = {one.index: one for one in spread(make, [0, 1, 2, 3], cluster.workers)}
    assert [outcomes[index].result for index in (0, 3)] == [0, 9]
    assert outcomes[1].attempts == ATTEMPTS
    assert "worker died" in (outcomes[1].error or "")
    assert outcomes[2].error == "defect of jdetrt: ValueError: two"


def test_an_error_that_no_item_escapes_ends_the_work(cluster: Cluster) -> None:
    def make(threads: int | None) -> Any:
        import contextlib

        def work(item: int) -> int:
            from jdetrt.errors import SessionError

            raise SessionError("no such model")

        return contextlib.nullcontext(work)

    from jdetrt.errors import SessionError

    with pytest.raises(SessionError, match="no such model"):
        list(spread(make, [0, 1, 2], cluster.workers, fatal=SessionError))


def test_no_more_items_are_under_way_than_there_are_workers(cluster: Cluster) -> None:
    """Memory does not grow with the length of a manifest."""
    taken = most = 0

    class Items(list[int]):
        def __getitem__(self, index: Any) -> Any:
            nonlocal taken
            taken += 1
            return super().__getitem__(index)

    def make(threads: int | None) -> Any:
        import contextlib

        return contextlib.nullcontext(lambda item: item)

    for done, _ in enumerate(spread(make, Items(range(20)), cluster.workers), start=1):
        most = max(most, taken - done)
    assert taken == 20
    assert most <= 2


def test_why_a_cluster_does_not_answer() -> None:
    err = ConnectionError("Failed to connect")
    assert "ray start --head" in _no_answer(err)
    err.__cause__ = RuntimeError("RPC error: InvalidAuthToken: missing or incorrect")
    assert "RAY_AUTH_MODE=token" in _no_answer(err)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"threads": 0}, {"count": -3}])
def test_numbers_of_workers(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        Workers(**wrong)
