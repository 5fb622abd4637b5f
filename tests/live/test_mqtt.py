"""Results to a real broker: mosquitto, on the loopback."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jdetrt.errors import ConfigError
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.sinks.mqtt import MqttAddress, MqttPublisher
from jdetrt.types import Frame, Tracks

PATIENCE = 30.0  # seconds
BROKER = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_broker = pytest.mark.skipif(BROKER is None, reason="mosquitto is not installed")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Broker:
    """A mosquitto that can be stopped and started again."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.port = _free_port()
        self._config = folder / "mosquitto.conf"
        # Started as root it would become a user of its own, who cannot read a test's folder.
        user = f"user {getpass.getuser()}\n"
        self._config.write_text(f"{user}listener {self.port} 127.0.0.1\n{settings}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert BROKER is not None
        self._process = subprocess.Popen(
            [BROKER, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _until(self._answers)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    one = Broker(tmp_path, "allow_anonymous true")
    one.start()
    yield one
    one.stop()


class Listener:
    """Hears all that is published; connects again by itself."""

    def __init__(self, port: int) -> None:
        client = pytest.importorskip("paho.mqtt.client")
        self.messages: list[tuple[str, str]] = []
        self.subscribed = False
        self._client = client.Client(client.CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda *_: self._client.subscribe("#", 1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        _until(lambda: self.subscribed)

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed = True

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        self.messages.append((message.topic, message.payload.decode()))

    def tracks(self, topic: str) -> list[Any]:
        return [json.loads(payload) for name, payload in self.messages if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _result(index: int, stream: str = "door", age: float | None = 0.25) -> FrameResult:
    frame = Frame(np.zeros((4, 4, 3), np.uint8), index, time.monotonic())
    return FrameResult(stream, frame, Tracks([7], [[1, 2, 3, 4]], [0.5]), age, {})


@needs_broker
def test_every_result_reaches_the_broker(broker: Broker) -> None:
    said: list[str] = []
    listener = Listener(broker.port)
    with MqttPublisher(f"mqtt://127.0.0.1:{broker.port}/site/a", say=said.append) as publisher:
        for index in range(1, 51):
            publisher(_result(index))
        publisher(_result(1, "a+b#", age=None))
    _until(lambda: ("site/a/status", "offline") in listener.messages)
    records = listener.tracks("site/a/door/tracks")
    assert [record["frame"] for record in records] == list(range(1, 51))
    assert records[0]["tracks"] == [{"id": 7, "box": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]
    assert (records[0]["age"], records[0]["time"][-1]) == (0.25, "Z")
    assert "time" not in listener.tracks("site/a/a-b-/tracks")[0]  # a video has no time of day
    assert (publisher.published, publisher.dropped) == (51, 0)
    assert said == [f"MQTT 127.0.0.1:{broker.port}: connected"]
    listener.close()


@needs_broker
def test_a_broker_that_goes_away_is_waited_for(broker: Broker) -> None:
    said: list[str] = []
    listener = Listener(broker.port)
    url = f"mqtt://127.0.0.1:{broker.port}/j"
    with MqttPublisher(url, say=said.append, queue=20) as publisher:
        publisher(_result(1))
        _until(lambda: len(listener.tracks("j/door/tracks")) == 1)
        broker.stop()
        _until(lambda: any("connection lost" in line for line in said))
        for index in range(2, 52):  # 20 of them wait, the others are lost and counted
            publisher(_result(index))
        assert (publisher.published, publisher.dropped) == (21, 30)
        listener.subscribed = False
        broker.start()
        _until(lambda: listener.subscribed)
        _until(lambda: said[-1].endswith("connected"))
        publisher(_result(99))
        _until(lambda: any(one["frame"] == 99 for one in listener.tracks("j/door/tracks")))
    assert publisher.dropped >= 30
    listener.close()


@needs_broker
def test_a_broker_that_refuses_says_so(tmp_path: Path) -> None:
    broker = Broker(tmp_path, "allow_anonymous false")
    broker.start()
    said: list[str] = []
    url = f"mqtt://me:s3cret@127.0.0.1:{broker.port}"
    with MqttPublisher(url, say=said.append) as publisher:
        _until(lambda: bool(said))
        publisher(_result(1))
    broker.stop()
    assert "the broker refuses: not authorized" in said[0]
    assert not any("s3cret" in line for line in said)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority of our own, another one, and a broker's certificate and key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    request: list[str | Path] = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]
    request += ["-nodes", "-days", "1"]
    for name in ("ca", "other"):
        files: list[str | Path] = [
            "-keyout",
            folder / f"{name}.key",
            "-out",
            folder / f"{name}.pem",
        ]
        subprocess.run([*request, "-subj", f"/CN={name}", *files], check=True, capture_output=True)
    signed: list[str | Path] = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key"]
    names = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
    names += ["-addext", "basicConstraints=critical,CA:FALSE"]
    files = ["-keyout", folder / "broker.key", "-out", folder / "broker.pem"]
    subprocess.run([*request, *signed, *names, *files], check=True, capture_output=True)
    return folder


@needs_broker
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho's socket
@pytest.mark.parametrize("authority", ["ca", "other"])
def test_tls(tmp_path: Path, certificates: Path, authority: str) -> None:
    files = {"cafile": "ca.pem", "certfile": "broker.pem", "keyfile": "broker.key"}
    tls = [f"{option} {certificates / name}" for option, name in files.items()]
    broker = Broker(tmp_path, "\n".join(["allow_anonymous true", *tls]))
    broker.start()
    said: list[str] = []
    url = f"mqtts://me:s3cret@127.0.0.1:{broker.port}/t?ca={certificates / authority}.pem"
    with MqttPublisher(url, say=said.append) as publisher:
        _until(lambda: bool(said))
        publisher(_result(1))
        sent = publisher.published
    broker.stop()
    assert not any("s3cret" in line for line in said)
    if authority == "ca":
        assert (said, sent) == ([f"MQTT 127.0.0.1:{broker.port}: connected"], 1)
    else:
        assert "no connection (its certificate is not trusted: " in said[0]


def test_without_a_broker_nothing_waits() -> None:
    pytest.importorskip("paho.mqtt.client")
    said: list[str] = []
    with MqttPublisher(f"mqtt://127.0.0.1:{_free_port()}?qos=0", say=said.append) as publisher:
        for index in range(1, 4):
            publisher(_result(index))
        assert (publisher.published, publisher.dropped) == (0, 3)
        _until(lambda: bool(said))
    assert "no connection (connection refused); trying again" in said[0]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("broker:1883", "expected mqtt://user:password@host:1883/topic"),
        ("http://broker", "expected mqtt://"),
        ("mqtt://", "expected mqtt://"),
        (
            "mqtt://me:se#cret@broker",
            r"mqtt://me:\*\*\*@broker: expected mqtt://[^()]*; in a password or a path, write # as",
        ),
        ("mqtt://broker:99999", "expected mqtt://"),
        (
            "mqtt://broker/a?retain=1",
            "expected the options ca, cert, .*, got retain",
        ),
        ("mqtt://broker/a?qos=2", "got qos=2"),
        ("mqtt://broker/a%2Bb", "a topic has no"),
    ],
)
def test_addresses_that_are_none(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MqttAddress.parse(url)


def test_the_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDETRT_MQTT_PASSWORD", "from outside")
    address = MqttAddress.parse("mqtts://me@broker/t?ca=/etc/ca.pem")
    assert (address.user, address.password) == ("me", "from outside")
    assert (address.host, address.port, address.tls) == ("broker", 8883, True)
    assert MqttAddress.parse("mqtt://me:own@broker").password == "own"


def test_a_file_for_tls_that_is_missing() -> None:
    pytest.importorskip("paho.mqtt.client")
    with pytest.raises(ConfigError, match="TLS cannot be set up"):
        MqttPublisher("mqtts://broker/t?ca=/nowhere/ca.pem")
