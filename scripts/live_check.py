"""Check live sources against real RTSP cameras; write what was seen as JSON.

    python scripts/live_check.py outages age eight memory clients --output benchmarks/results

The cameras are tests/live/rtsp_server.py: GStreamer's RTSP server, which draws the time and a
moving block into each frame. Parts:

- ``outages``: one camera is killed for a minute, stalls, comes back with another resolution, and
  asks for another password for a while.
- ``age``: seconds from the drawing of a frame to its result, by the clock in the frame.
- ``eight``: eight cameras and nano; three of them die, stall or reboot in turn. nano runs on each
  frame; its boxes are replaced by that of the block, whose height in the frame tells the cameras
  apart, so that a mix of streams would be seen.
- ``memory``: 200,000 frames of a simulated camera with people, outages and rotated files: memory
  and time a frame.
- ``clients``: FPS of nano on a rendered clip, in turn without the live page, with one browser that
  watches and with 20 that read slowly.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

import jdetrt
from jdetrt.engine.open import open_session
from jdetrt.files import write_text
from jdetrt.runtime.live.hub import LiveHub, LiveStream
from jdetrt.runtime.live.server import LiveServer
from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.sinks.rotation import Rotation
from jdetrt.runtime.sinks.text import JsonLinesSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.shipped import resolve
from jdetrt.synthetic.clip import SyntheticClip
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Frame, TensorSpec

SERVER = Path(__file__).parents[1] / "tests" / "live" / "rtsp_server.py"
SIZE = (640, 360)


class RtspCamera:
    """A camera that can be killed, stopped and started."""

    def __init__(self, **options: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.options = options
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def url(self, login: str = "") -> str:
        """Its address."""
        return f"rtsp://{login}127.0.0.1:{self.port}/cam"

    def start(self, **changes: object) -> None:
        """Start it, with options of the server that last."""
        self.options |= changes
        words = [w for key, value in self.options.items() for w in (f"--{key}", str(value))]
        python = shutil.which("python3", path="/usr/bin") or "python3"
        self._process = subprocess.Popen(
            [python, str(SERVER), "--port", str(self.port), *words],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.communicate()
            self._process = None

    def pause(self, on: bool) -> None:
        """Stop it in its tracks, connections open, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)


def drawn_age(image: Array) -> float:
    """Seconds since a frame was drawn; the corner is that of 640x360."""
    cells = image[:16, :128, 1].reshape(2, 8, 16, 8)[:, 2:6, :, 2:6].mean((1, 3)) > 120
    drawn = sum(1 << bit for bit, one in enumerate(cells.ravel()) if one)
    return time.monotonic() - drawn / 1000


def block_session(real: Any, width: int, height: int) -> FakeSession:
    """Nano's time, and the box of the block."""

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        real.infer(dict(feeds))
        below = int(height * 2 / 16)
        bright = feeds["images"][0, 1, below:] > 0.62
        rows, columns = np.flatnonzero(bright.sum(1) > 8), np.flatnonzero(bright.sum(0) > 8)
        box = np.zeros((1, 1, 4), np.float32)
        score = np.zeros((1, 1), np.float32)
        if len(rows) and len(columns):
            box[0, 0] = columns[0], rows[0] + below, columns[-1] + 1, rows[-1] + 1 + below
            score[0, 0] = 0.9
        return {"boxes": box, "scores": score}

    session = FakeSession(run, size=(width, height))
    session._inputs = (TensorSpec(real.inputs[0].name, "float32", (1, 3, height, width)),)
    return session


def percentiles(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and number of values."""
    p50, p99 = np.percentile(values, (50, 99))
    return {"median": round(float(p50), 4), "p99": round(float(p99), 4), "count": len(values)}


def outages() -> dict[str, Any]:
    """One camera through everything."""
    camera = RtspCamera(size="640x360", fps=10)
    start, said, sizes = time.monotonic(), [], Counter[str]()
    log: list[dict[str, Any]] = []

    def say(text: str) -> None:
        said.append(text)
        log.append({"second": round(time.monotonic() - start, 1), "said": text})

    def event(text: str) -> None:
        log.append({"second": round(time.monotonic() - start, 1), "done": text})

    def go_through() -> None:
        time.sleep(8)
        event("camera killed")
        camera.kill()
        time.sleep(60)
        event("camera started again after 60 s, now 320x180")
        camera.start(size="320x180")
        time.sleep(25)
        event("camera stopped with its connections open (SIGSTOP)")
        camera.pause(True)
        time.sleep(25)
        event("camera goes on (SIGCONT)")
        camera.pause(False)
        time.sleep(25)
        event("camera asks for a password that nobody gave")
        camera.kill()
        camera.start(login="me:other")
        time.sleep(20)
        event("camera asks for none")
        camera.kill()
        del camera.options["login"]
        camera.start()
        time.sleep(25)
        source.close()

    with open_source(camera.url(), say=say) as source:
        threading.Thread(target=go_through, daemon=True).start()
        longest, last, frames = 0.0, time.monotonic(), 0
        for frame in source:
            now = time.monotonic()
            longest, last, frames = max(longest, now - last), now, frames + 1
            sizes[f"{frame.image.shape[1]}x{frame.image.shape[0]}"] += 1
        status = source.status()  # type: ignore[attr-defined]
    camera.kill()
    return {
        "frames": frames,
        "frames_by_size": dict(sizes),
        "longest_gap_seconds": round(longest, 2),
        "status": msgspec.to_builtins(status),
        "log": log,
    }


def age(seconds: float = 40.0) -> dict[str, Any]:
    """Age of results by the clock in the frames."""
    camera = RtspCamera(size="640x360", fps=25)
    drawn: list[float] = []
    with open_session(resolve("nano:576x320")) as session, open_source(camera.url()) as source:
        end = time.monotonic() + seconds

        def watch(result: FrameResult) -> None:
            drawn.append(drawn_age(result.frame.image))
            if time.monotonic() > end:
                pipeline.stop()

        pipeline = Pipeline(source, session, Tracker("iou", 25.0), watchers=[watch])
        report = pipeline.run()
    camera.kill()
    return {
        "model": "nano:576x320",
        "camera": "640x360, 25 FPS, x264 zerolatency",
        "seconds_from_drawing_to_result": percentiles(drawn[25:]),
        "of_them_milliseconds_from_arrival_to_result": msgspec.to_builtins(report.age),
        "frames": report.frames,
        "dropped": report.dropped,
        "system_fps": report.system_fps,
        "network_fps": report.network_fps,
    }


def eight(seconds: float = 110.0) -> dict[str, Any]:
    """Eight cameras, three of which die in turn."""
    cameras = {f"cam{k}": RtspCamera(size="640x360", fps=10, row=k + 3) for k in range(8)}
    start = time.monotonic()  # set anew when all have given a result
    begun = threading.Event()
    done: list[tuple[float, str]] = []  # second, stream
    mixed: list[str] = []
    log: list[dict[str, Any]] = []
    ids: dict[str, set[int]] = {name: set() for name in cameras}

    def say(text: str) -> None:
        log.append({"second": round(time.monotonic() - start, 1), "said": text})

    def event(text: str) -> None:
        log.append({"second": round(time.monotonic() - start, 1), "done": text})

    def watch(result: FrameResult) -> None:
        nonlocal start
        if not begun.is_set() and len({name for _, name in done}) == len(cameras):
            start = time.monotonic()
            done.clear()
            begun.set()
        done.append((time.monotonic() - start, result.stream))
        height = result.frame.image.shape[0]
        top = (int(result.stream[3:]) + 3) * height / 16
        if len(result.tracks) and abs(result.tracks.boxes[:, 1] - top).max() > height / 40:
            mixed.append(f"{result.stream} frame {result.frame.index}: {result.tracks.boxes}")
        ids[result.stream] |= set(result.tracks.ids.tolist())
        if begun.is_set() and time.monotonic() - start > seconds:
            pipeline.stop()

    def go_through() -> None:
        begun.wait()
        time.sleep(25)
        event("cam1 killed")
        cameras["cam1"].kill()
        time.sleep(15)
        cameras["cam1"].start()
        event("cam1 started again")
        time.sleep(10)
        event("cam4 stopped with its connections open")
        cameras["cam4"].pause(True)
        time.sleep(20)
        cameras["cam4"].pause(False)
        event("cam4 goes on")
        time.sleep(5)
        event("cam6 killed")
        cameras["cam6"].kill()
        time.sleep(10)
        cameras["cam6"].start(size="320x180")
        event("cam6 started again with 320x180")

    with open_session(resolve("nano:576x320"), threads=2) as real:
        streams = [
            Stream(
                open_source(camera.url(), wait=True, say=say, frame_rate=10.0),
                Tracker("iou", 10.0),
                name=name,
            )
            for name, camera in cameras.items()
        ]
        session = block_session(real, 576, 320)
        pipeline = MultiPipeline(streams, session, watchers=[watch], say=say)
        threading.Thread(target=go_through, daemon=True).start()
        report = pipeline.run()
    for camera in cameras.values():
        camera.kill()
    steady = Counter(name for second, name in done if second < 25)
    untouched = [name for name in cameras if name not in ("cam1", "cam4", "cam6")]
    whole = Counter(name for _, name in done)

    def fps(names: list[str], begin: float, end: float) -> float:
        frames = sum(1 for second, name in done if begin <= second < end and name in names)
        return round(frames / (end - begin) / len(names), 3)

    def jain(counts: list[int]) -> float:
        return round(sum(counts) ** 2 / (len(counts) * sum(c * c for c in counts)), 5)

    return {
        "model": "nano:576x320, 2 threads",
        "cameras": "eight of 640x360 at 10 FPS, encoded and decoded on the same two cores",
        "seconds": seconds,
        "all_streams_fps": round(report.fps, 2),
        "frames_of_other_streams_in_a_stream": len(mixed),
        "examples": mixed[:3],
        "ids_from_one": {
            name: sorted(one) == list(range(1, len(one) + 1)) for name, one in ids.items()
        },
        "frames_all_alive_0_to_25_s": dict(sorted(steady.items())),
        "frames_of_the_untouched_over_all": {name: whole[name] for name in untouched},
        "fairness_jain_index_all_alive": jain([steady[name] for name in cameras]),
        "fairness_jain_index_of_the_five_untouched_over_all": jain([whole[n] for n in untouched]),
        "fps_of_each_untouched_stream": {
            "all_alive_0_to_25_s": fps(untouched, 0, 25),
            "cam1_dead_26_to_40_s": fps(untouched, 26, 40),
            "cam4_stalled_51_to_70_s": fps(untouched, 51, 70),
            "cam6_dead_76_to_85_s": fps(untouched, 76, 85),
            "all_alive_95_to_110_s": fps(untouched, 95, 110),
        },
        "streams": {
            name: msgspec.to_builtins(one)
            for name, one in zip(report.names, report.streams, strict=True)
        },
        "log": log,
    }


class SimulatedCamera:
    """A camera of 10 FPS for hours of its own time; away for two minutes each hour."""

    live, length, frame_rate = True, None, 10.0
    uri = name = "simulated"
    size: tuple[int, int] | None = (96, 64)

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.number = 0
        self.taken = threading.Semaphore(2)

    def __iter__(self) -> Iterator[Frame]:
        image = np.full((64, 96, 3), 90, np.uint8)
        seconds = time.monotonic() - 1e6
        for index in range(1, self.frames + 1):
            self.taken.acquire()
            seconds += 120.0 if index % 36_000 == 0 else 0.1
            self.number = index
            yield Frame(image, index, seconds)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> SimulatedCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def memory(frames: int = 200_000) -> dict[str, Any]:
    """Memory and time a frame over a long simulated run."""
    rng = np.random.default_rng(0)
    source = SimulatedCamera(frames)
    walkers: list[list[float]] = []  # x, y, velocity

    def people(_: Mapping[str, Array]) -> dict[str, Array]:
        walkers[:] = [[x + v, y, v] for x, y, v in walkers if 0 <= x + v < 84]
        if len(walkers) < 8 and rng.random() < 0.1:
            walkers.append([0.0, float(rng.uniform(0, 30)), float(rng.uniform(0.2, 1.0))])
        boxes = np.array([[x, y, x + 12, y + 30] for x, y, _ in walkers], np.float32)
        boxes = boxes.reshape(-1, 4) + rng.normal(0, 0.3, (len(walkers), 4)).astype(np.float32)
        scores = np.full((1, len(walkers)), 0.9, np.float32)
        return {"boxes": boxes[None], "scores": scores}

    points: list[dict[str, float]] = []
    every = frames // 20
    last = [time.perf_counter()]
    count = [0]

    def watch(result: FrameResult) -> None:
        count[0] += 1
        source.taken.release()
        if result.frame.index // every > len(points):
            now = time.perf_counter()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            points.append(
                {
                    "frames": result.frame.index,
                    "hours": round(result.frame.index / 36_000, 2),
                    "rss_mb": round(pages * resource.getpagesize() / 1e6, 2),
                    "milliseconds_a_frame": round((now - last[0]) / every * 1e3, 4),
                    "ids": int(result.tracks.ids.max(initial=0)),
                }
            )
            last[0] = now

    def keep_going() -> None:  # frames that were dropped are not to stop the camera
        while not over.is_set():
            before = count[0]
            if over.wait(0.2) or count[0] == before:
                source.taken.release()

    over = threading.Event()
    threading.Thread(target=keep_going, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, FakeSession(people, size=(96, 64)) as session:
        rotation = Rotation(size=5_000_000, keep=3)
        sink = JsonLinesSink(Path(folder, "tracks.jsonl"), live=rotation, clock=True)
        pipeline = Pipeline(source, session, Tracker("iou", 10.0), [sink], watchers=[watch])
        report = pipeline.run()
        files = sorted(path.name for path in Path(folder).iterdir())
    over.set()
    half = points[len(points) // 2 :]
    return {
        "frames": report.frames,
        "dropped": report.dropped,
        "tracks": report.tracks,
        "simulated_hours": round(frames / 36_000, 1),
        "rss_mb_second_half": {
            "least": min(p["rss_mb"] for p in half),
            "most": max(p["rss_mb"] for p in half),
        },
        "files_left": len(files),
        "points": points,
    }


# Browsers in a process of their own: the first argument is the port, then bytes a second of each.
CLIENTS = """
import socket, sys, threading, time

read = [0] * len(sys.argv[2:])

def watch(k, rate):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as stream:
        if rate < 1e6:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.sendall(b"GET /stream/clip.mjpg HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
        while data := stream.recv(min(rate // 4, 65536)):
            read[k] += len(data)
            time.sleep(len(data) / rate)

for k, rate in enumerate(sys.argv[2:]):
    threading.Thread(target=watch, args=(k, int(rate)), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
print(*read)
"""


def clients(rounds: int = 5, frames: int = 25) -> dict[str, Any]:
    """FPS while nobody, one browser and twenty slow ones watch the live page, in turn."""
    watchers = {"nobody": [], "one": [10_000_000], "twenty slow": [4000] * 20}
    fps: dict[str, list[float]] = {name: [] for name in watchers}
    cpu: dict[str, list[float]] = {name: [] for name in watchers}  # which other load hardly changes
    read: dict[str, list[list[int]]] = {name: [] for name in watchers}
    with tempfile.TemporaryDirectory() as folder, open_session(resolve("nano:576x320")) as session:
        clip = Path(folder, "clip.mp4")
        people = SyntheticClip(seed=1, frames=frames, size=(640, 480), people=8)
        writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, people.size)
        for frame, _ in people:
            writer.write(frame.image)
        writer.release()
        for turn in range(rounds + 1):
            for name in list(watchers)[:: 1 if turn % 2 else -1]:
                hub = LiveHub()
                hub.add(LiveStream("clip"))
                with LiveServer(hub) as server, open_source(clip) as source:
                    port = server.url.rpartition(":")[2].strip("/")
                    rates = [str(rate) for rate in watchers[name]]
                    with subprocess.Popen(
                        [sys.executable, "-c", CLIENTS, port, *rates],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    ) as browsers:
                        assert browsers.stdout is not None
                        browsers.stdout.readline()
                        tracker = Tracker("fused", source.frame_rate)
                        begin = time.process_time()
                        report = Pipeline(source, session, tracker, watchers=[hub]).run()
                        cpu[name].append(1e3 * (time.process_time() - begin) / report.frames)
                        read[name].append([int(n) for n in browsers.communicate()[0].split()])
                fps[name].append(report.system_fps)
    fps = {name: one[1:] for name, one in fps.items()}  # the first turn warms up
    cpu = {name: one[1:] for name, one in cpu.items()}
    medians = {name: float(np.median(one)) for name, one in fps.items()}
    return {
        "model": "nano:576x320",
        "clip": f"rendered, 640x480, {frames} frames, as fast as it goes",
        "slow": "each reads 4 kB a second",
        "fps": fps,
        "median_fps": medians,
        "cpu_milliseconds_a_frame": cpu,
        "median_cpu_milliseconds_a_frame": {n: float(np.median(one)) for n, one in cpu.items()},
        "median_of_twenty_slow_to_nobody": medians["twenty slow"] / medians["nobody"],
        "median_of_twenty_slow_to_one": medians["twenty slow"] / medians["one"],
        "bytes_read_in_the_last_run": {name: one[-1] for name, one in read.items()},
    }


def main() -> None:
    """Run the parts that are asked for."""
    parts = {
        "outages": outages,
        "age": age,
        "eight": eight,
        "memory": memory,
        "clients": clients,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[*parts])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    for name in options.parts:
        load = os.getloadavg()[0]
        result = {
            "what": (parts[name].__doc__ or "").strip(),
            "jdetrt": jdetrt.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
            "load_average_before": round(load, 2),
            "load_average_after": 0.0,
            **parts[name](),
        }
        result["load_average_after"] = round(os.getloadavg()[0], 2)
        path = options.output / f"live-{name}.json"
        write_text(path, json.dumps(result, indent=2, default=str) + "\n")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
