"""The live page: hub, server, and the page itself in a browser."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from jdetrt.errors import DataError, OutputError
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.regions import Regions
from jdetrt.runtime.live.hub import LiveHub, LiveStream
from jdetrt.runtime.live.server import LiveServer
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.types import Frame, Tracks

BLUE = np.full((120, 240, 3), (200, 60, 20), np.uint8)


def result(index: int, stream: str = "door", x: float = 60, **given: Any) -> FrameResult:
    """Someone of 20 pixels, whose feet are at ``x``, 60."""
    tracks = Tracks([3], [[x - 5, 40, x + 5, 60]], [0.9], age=[9])
    frame = Frame(given.get("image", BLUE), index, index / 30)
    return FrameResult(stream, frame, tracks, given.get("age"), {"network": 0.012})


@pytest.fixture
def hub(tmp_path: Path) -> LiveHub:
    hub = LiveHub()
    counter = EventCounter(Regions(min_age=0))
    hub.add(LiveStream("door", counter=counter, regions_file=tmp_path / "door.toml"))
    return hub


@pytest.fixture
def client(hub: LiveHub) -> Iterator[httpx.Client]:
    with LiveServer(hub) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def test_frame_is_the_newest_with_its_tracks(hub: LiveHub, client: httpx.Client) -> None:
    for index in range(1, 5):
        hub(result(index))
    answer = client.get("/frame/door.jpg")
    assert (answer.status_code, answer.headers["X-Frame"]) == (200, "4")
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == BLUE.shape
    difference = np.abs(image.astype(int) - BLUE).max(axis=2)
    assert difference[50, 52:58].max() > 40  # the box
    assert difference[100:, 120:].max() < 15


def test_frame_waits_for_the_next(hub: LiveHub, client: httpx.Client) -> None:
    hub(result(1))
    timer = threading.Timer(0.3, lambda: hub(result(2)))
    timer.start()
    answer = client.get("/frame/door.jpg?after=1")
    assert answer.headers["X-Frame"] == "2"


def test_end_of_the_run_leaves_nobody_waiting(hub: LiveHub, client: httpx.Client) -> None:
    threading.Timer(0.3, hub.close).start()
    assert client.get("/frame/door.jpg").status_code == 204


def test_state(hub: LiveHub, client: httpx.Client) -> None:
    for index in (1, 2, 3, 6):
        hub(result(index, age=0.04))
    hub(result(1, "yard"))
    door, yard = client.get("/api/state").json()["streams"]
    assert (door["name"], door["frames"], door["dropped"], door["people"]) == ("door", 4, 2, 1)
    assert door["age_ms"] == pytest.approx(40)
    assert door["stages"] == {"network": pytest.approx(12)}
    assert (yard["name"], yard["editable"]) == ("yard", False)


def test_mjpeg_parts_are_jpegs(hub: LiveHub, client: httpx.Client) -> None:
    hub(result(1))
    with client.stream("GET", "/stream/door.mjpg") as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        data = b""
        for chunk in answer.iter_bytes():
            data += chunk
            if b"\r\n--frame" in data or len(data) > 1000:
                break
        hub.close()
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"--frame\r\nContent-Type: image/jpeg")
    assert body.startswith(b"\xff\xd8")


def test_regions_are_saved_and_count(hub: LiveHub, client: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "door.toml"
    path.write_text("# of the east door\nmin_age = 0\n")
    drawing = {"line": [{"name": "exit", "points": [[0.1, 0.3], [0.1, 0.9]]}]}
    answer = client.put("/api/regions/door", json=drawing)
    assert answer.status_code == 200, answer.text
    assert Regions.read(path).line[0].points == ((0.1, 0.3), (0.1, 0.9))
    assert path.read_text().startswith("# of the east door\nmin_age = 0\n")
    counter = hub["door"].counter
    assert counter is not None
    for index, x in enumerate((80, 10), 1):  # to the right of a line that leads downwards
        counter.write(result(index, x=x).frame, result(index, x=x).tracks)
    assert counter.lines["exit"].crossings == {"in": 1, "out": 0}
    assert client.get("/api/regions/door").json()["line"][0]["name"] == "exit"


@pytest.mark.parametrize(
    ("drawing", "reason"),
    [
        ({"line": [{"name": "a", "points": [[0, 0], [2, 2]]}]}, "0 to 1"),
        ({"zone": [{"name": "a", "points": [[0, 0], [1, 1]]}]}, "zone[0].points"),
        ({"zone": [{"name": "", "points": [[0, 0], [1, 1], [1, 0]]}]}, "zone[0].name"),
        ({"min_age": 3}, "min_age"),
        ([], "regions"),
    ],
)
def test_wrong_drawing_changes_nothing(
    drawing: object, reason: str, client: httpx.Client, tmp_path: Path
) -> None:
    answer = client.put("/api/regions/door", json=drawing)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert not (tmp_path / "door.toml").exists()


def test_requests_of_other_pages_are_refused(hub: LiveHub, client: httpx.Client) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 401
    form = client.put("/api/regions/door", content="{}", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415


def test_unknown_source(client: httpx.Client) -> None:
    for path in ("/frame/cellar.jpg", "/stream/cellar.mjpg", "/api/regions/cellar", "/etc"):
        assert client.get(path).status_code == 404, path
    assert client.get("/frame/door.jpg?after=-1").status_code == 400


def test_page_of_one_who_may_only_look() -> None:
    hub = LiveHub()
    hub.add(LiveStream("door", counter=EventCounter(Regions())))
    with LiveServer(hub) as server, httpx.Client(base_url=server.url) as client:
        assert client.put("/api/regions/door", json={}).status_code == 403


def test_token(hub: LiveHub) -> None:
    hub(result(1))
    with LiveServer(hub, host="0.0.0.0") as server:
        base, _, query = server.url.partition("?token=")
        base = base.replace("0.0.0.0", "127.0.0.1")
        paths = ("", "api/state", "frame/door.jpg", "stream/door.mjpg", "api/regions/door")
        for path in paths:
            for wrong in ({}, {"token": "x"}, {"token": query[:-1]}, {"token": "é"}):
                assert httpx.get(base + path, params=wrong).status_code == 401, path
        with httpx.Client(base_url=base) as client:
            assert client.get("/", params={"token": query}).status_code == 200
            assert client.get("/frame/door.jpg").status_code == 200  # by the cookie
        bearer = {"Authorization": f"Bearer {query}"}
        assert httpx.get(base + "api/state", headers=bearer).status_code == 200


def test_port_in_use(hub: LiveHub) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1:{port}"):
            LiveServer(hub, port=port)


def test_two_sources_of_a_name(hub: LiveHub) -> None:
    with pytest.raises(DataError, match="door"):
        hub.add(LiveStream("door"))


def test_slow_browsers_hold_up_nobody(hub: LiveHub) -> None:
    """Twenty who asked for MJPEG and read nothing: publishing goes on, and others are served."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    with LiveServer(hub) as server:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        sleepers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for sleeper in sleepers:
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sleeper.sendall(b"GET /stream/door.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for index in range(1, 101):  # 100 images of a megabyte: far more than the sockets hold
            hub(result(index, image=noise))
            time.sleep(0.01)
        assert hub["door"].sequence == 100
        with httpx.Client(base_url=server.url, timeout=20) as client:  # one who is fast is served
            assert client.get("/frame/door.jpg?after=99").headers["X-Frame"] == "100"
        for sleeper in sleepers:
            sleeper.close()


def test_zone_drawn_with_the_mouse_counts(hub: LiveHub, tmp_path: Path) -> None:
    """In Chromium: look at the page, draw a zone, give it a name, save it, see it count."""
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("no Chromium on this machine (Debian's package: chromium)")
    counter = hub["door"].counter
    assert counter is not None
    stop = threading.Event()

    def run() -> None:
        index = 0
        while not stop.wait(0.03):
            index += 1
            shot = result(index, x=60, age=0.05)
            counter.write(shot.frame, shot.tracks)
            hub(shot)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with LiveServer(hub) as server, sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(server.url)
            page.wait_for_selector(".view img[src^='blob:']")
            page.click("text=Edit lines and zones")
            page.locator(".view svg").wait_for()
            page.click("[data-kind=zone]")
            board = page.locator(".view svg").bounding_box()
            for x, y in ((0.1, 0.2), (0.6, 0.2), (0.6, 0.9), (0.1, 0.9), (0.1, 0.2)):
                page.mouse.click(board["x"] + x * board["width"], board["y"] + y * board["height"])
            page.fill(".region input", "queue")
            page.click("text=Save")
            page.wait_for_selector("td:has-text('1 person now')")
            width = page.locator(".view img").evaluate("image => image.naturalWidth")
            page.screenshot(path=str(tmp_path / "page.png"))
            browser.close()
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert width == BLUE.shape[1]
    assert counter.zones["queue"].occupancy == 1
    saved = Regions.read(tmp_path / "door.toml").zone[0]
    assert saved.name == "queue"
    expected = [(0.1, 0.2), (0.6, 0.2), (0.6, 0.9), (0.1, 0.9)]
    assert np.array(saved.points) == pytest.approx(np.array(expected), abs=0.01)


def test_trails_are_kept_only_while_somebody_watches(
    hub: LiveHub, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = hub["door"]
    for index in range(1, 4):
        hub(result(index, x=40 * index))
    assert stream._trails.update(result(9).tracks) == {3: [(60, 60)]}  # nothing before
    client.get("/frame/door.jpg")
    for index in range(4, 7):
        hub(result(index, x=20 * index))
    assert len(stream._trail_points[3]) == 4
    monkeypatch.setattr("jdetrt.runtime.live.hub._WATCHED", 0.0)
    hub(result(7))
    assert stream._trail_points == {}


def test_file_that_cameras_share_is_named(tmp_path: Path) -> None:
    hub = LiveHub()
    counter = EventCounter(Regions(min_age=0))
    hub.add(LiveStream("door", counter=counter, shared_file=tmp_path / "site-regions.toml"))
    with LiveServer(hub) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        state = client.get("/api/state").json()["streams"][0]
        assert (state["editable"], state["shared_file"]) == (False, "site-regions.toml")
        answer = client.put("/api/regions/door", json={"line": []})
    assert answer.status_code == 403
    assert "site-regions.toml" in answer.json()["error"]
