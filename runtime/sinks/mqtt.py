"""Results to an MQTT broker, as they happen."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jdetrt.config import LabelConfig
from jdetrt.errors import ConfigError, requiring
from jdetrt.passwords import HASH_HINT, without_passwords
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.sinks.base import FrameResult, Watcher
from jdetrt.runtime.sinks.text import event_record, frame_record
from jdetrt.runtime.sources.status import Say, silent

__all__ = ["MqttAddress", "MqttPublisher", "events_publisher"]

_QUEUE = 1000  # messages that wait for the broker; more are dropped and counted
_RETRY = 1, 30  # seconds between two tries to connect, at first and at most
_ASK_SECONDS = 3.0  # for the reason why there is no connection
_LAST_SECONDS = 5.0  # for what is still on its way at the end
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_FORM = "mqtt://user:password@host:1883/topic, or mqtts:// for TLS"
_OPTIONS = ("ca", "cert", "key", "qos")


@dataclass(frozen=True)
class MqttAddress:
    """Address of a broker.

    Attributes:
        host, port: of the broker.
        tls: whether the connection is encrypted; the certificate of the broker is checked.
        user, password: None for none. Without one in the address, the password is the environment
            variable ``JDETRT_MQTT_PASSWORD``.
        topic: before those of the streams.
        ca, cert, key: files in PEM format: authorities in place of the system's; a certificate of
            one's own and its key.
        qos: 0, or 1 for messages that are sent again until the broker has confirmed them.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    topic: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    qos: int = 1

    @classmethod
    def parse(cls, url: str) -> MqttAddress:
        """Read ``mqtt[s]://user:password@host:port/topic?ca=FILE&cert=FILE&key=FILE&qos=0``.

        Raises:
            ConfigError: the text has another form.

        >>> address = MqttAddress.parse("mqtts://me:s%23cret@broker/site/people")
        >>> address.port, address.password, address.topic
        (8883, 's#cret', 'site/people')
        """
        shown = without_passwords(url)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # its text may hold a part of the password
            raise ConfigError(f"{shown}: expected {_FORM}; {HASH_HINT}") from None
        if parts.scheme not in _PORTS or not host or parts.fragment:
            raise ConfigError(f"{shown}: expected {_FORM}; {HASH_HINT}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown or options.get("qos", "1") not in ("0", "1"):
            raise ConfigError(
                f"{shown}: expected the options {', '.join(_OPTIONS)} (0 or 1), got "
                f"{unknown[0] if unknown else 'qos=' + options['qos']}"
            )
        topic = unquote(parts.path).strip("/") or "jdetrt"
        if re.search(r"[+#\x00]", topic):
            raise ConfigError(f"{shown}: a topic has no + or #")
        password = unquote(parts.password) if parts.password is not None else None
        return cls(
            host,
            port or _PORTS[parts.scheme],
            parts.scheme == "mqtts",
            unquote(parts.username) if parts.username else None,
            password if password is not None else os.environ.get("JDETRT_MQTT_PASSWORD"),
            topic,
            options.get("ca"),
            options.get("cert"),
            options.get("key"),
            int(options.get("qos", "1")),
        )


def _why_not(address: MqttAddress) -> str:
    """Why a broker cannot be reached, which paho-mqtt does not tell; "" where it can."""
    try:
        with socket.create_connection((address.host, address.port), _ASK_SECONDS) as plain:
            if not address.tls:
                return ""
            context = ssl.create_default_context(cafile=address.ca)
            if address.cert is not None:
                context.load_cert_chain(address.cert, address.key)
            with context.wrap_socket(plain, server_hostname=address.host):
                return ""
    except ssl.SSLCertVerificationError as err:
        return f"its certificate is not trusted: {err.verify_message}; give its authority as ?ca="
    except socket.gaierror:
        return f"there is no host {address.host}"
    except TimeoutError:
        return "no answer"
    except OSError as err:  # TLS among them
        return (getattr(err, "reason", None) or err.strerror or str(err)).replace("_", " ").lower()


def events_publisher(publisher: MqttPublisher, counters: Mapping[str, EventCounter]) -> Watcher:
    """A watcher that publishes the events of each frame under ``TOPIC/STREAM/events``.

    Args:
        publisher: of the run.
        counters: sinks of the streams, by their names.
    """

    def publish(result: FrameResult) -> None:
        counter = counters.get(result.stream)
        for event in counter.latest if counter is not None else ():
            record = event_record(event, clock=result.age is not None)
            publisher.publish(f"{result.stream}/events", record)

    return publish


class MqttPublisher:
    """Publishes each result; a `jdetrt.runtime.sinks.base.Watcher`.

    Topics: ``TOPIC/STREAM/tracks`` has one JSON object a frame (`frame_record`), ``TOPIC/status``
    is ``online`` or ``offline``, kept by the broker, which itself says ``offline`` when the
    connection breaks. A broker that is away is waited for: messages queue, and those beyond the
    queue are dropped and counted. Publishing never waits.

    Args:
        url: as `MqttAddress.parse` reads it.
        say: gets a line when the connection is lost or refused, and when it is there.
        queue: messages that wait at most.
        label: class of the tracks; None for people.

    Attributes:
        published: messages handed over.
        dropped: messages that found the queue full.

    Raises:
        ConfigError: the URL has another form, or a file for TLS cannot be used.
        MissingDependencyError: paho-mqtt is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        say: Say = silent,
        queue: int = _QUEUE,
        label: LabelConfig | None = None,
    ) -> None:
        with requiring("mqtt", "Publishing to MQTT"):
            from paho.mqtt.client import MQTT_ERR_QUEUE_SIZE, Client
            from paho.mqtt.enums import CallbackAPIVersion
        self._address = address = MqttAddress.parse(url)
        self._shown = f"{address.host}:{address.port}"
        self._full = MQTT_ERR_QUEUE_SIZE
        self._label = label
        self._say = say
        self._said = ""
        self.published = self.dropped = 0
        name = f"jdetrt-{socket.gethostname()}-{os.getpid()}-{id(self) & 0xFFFF:x}"
        self._client = client = Client(CallbackAPIVersion.VERSION2, client_id=name)
        client.max_queued_messages_set(queue)
        client.reconnect_delay_set(*_RETRY)
        client.will_set(f"{address.topic}/status", "offline", qos=1, retain=True)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            try:
                client.tls_set(address.ca, address.cert, address.key)
            except (OSError, ValueError, ssl.SSLError) as err:
                raise ConfigError(
                    f"{without_passwords(url)}: TLS cannot be set up ({err})"
                ) from err
        client.on_connect = self._connected
        client.on_connect_fail = self._not_connected
        client.on_disconnect = self._disconnected
        client.connect_async(address.host, address.port, keepalive=30)
        client.loop_start()

    def __call__(self, result: FrameResult) -> None:
        """Publish a result."""
        live = result.age is not None
        record = frame_record(result.frame, result.tracks, clock=live, label=self._label)
        if result.age is not None:
            record["age"] = round(result.age, 4)
        self.publish(f"{result.stream}/tracks", record)

    def publish(self, topic: str, record: Any, *, retain: bool = False) -> None:
        """Publish an object of JSON under ``TOPIC/topic``; from any thread, without waiting."""
        topic = re.sub(r"[+#\x00]", "-", topic)  # what a topic may not have
        self._send(topic, json.dumps(record, allow_nan=False), retain=retain)

    def close(self) -> None:
        """Send what waits, for five seconds at most, say goodbye and disconnect."""
        until = time.monotonic() + _LAST_SECONDS
        while not self._said and time.monotonic() < until:  # the first connection is on its way
            time.sleep(0.01)
        last = self._client.publish(f"{self._address.topic}/status", "offline", qos=1, retain=True)
        if self._client.is_connected() and last.rc != self._full:
            last.wait_for_publish(max(until - time.monotonic(), 0.0))
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> MqttPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, topic: str, payload: str, *, retain: bool) -> None:
        address = self._address
        # Of QoS 0 nothing queues while there is no connection, and nobody would count it.
        sent = self._client.publish(
            f"{address.topic}/{topic}", payload, qos=address.qos, retain=retain
        )
        lost = sent.rc == self._full or (address.qos == 0 and sent.rc != 0)
        self.dropped += lost
        self.published += not lost

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, _: Any) -> None:
        if reason.is_failure:
            self._tell(f"the broker refuses: {str(reason).lower()}")
            return
        client.publish(f"{self._address.topic}/status", "online", qos=1, retain=True)
        self._tell("connected")

    def _not_connected(self, client: Any, data: Any) -> None:
        reason = _why_not(self._address)
        self._tell(f"no connection{f' ({reason})' if reason else ''}; trying again")

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: Any, _: Any) -> None:
        if reason.is_failure:
            self._tell(f"connection lost ({str(reason).lower()}); trying again")

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(f"MQTT {self._shown}: {text}")
