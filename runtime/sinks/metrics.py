"""Metrics of a run for Prometheus, served over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jdetrt.errors import ConfigError, requiring
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.timing import RunReport, StageTime

__all__ = ["Metrics", "parse_address"]


def parse_address(text: str) -> tuple[str, int]:
    """Read ``[HOST:]PORT``; without a host it is the loopback.

    Raises:
        ConfigError: the text has another form.

    >>> parse_address("9100"), parse_address("0.0.0.0:9100")
    (('127.0.0.1', 9100), ('0.0.0.0', 9100))
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r}: expected PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100")
    return host.strip("[]") or "127.0.0.1", int(port)


class Metrics:
    """Serves the state of all streams at ``http://HOST:PORT/metrics``; a watcher.

    Nothing is computed for it while nobody asks.

    Args:
        address: ``[HOST:]PORT``.

    Attributes:
        reports: gives the report of each stream by its name; to be set when there is a run.
        regions: counters of lines and zones, by stream.
        counters: more counters: by name, the help and a function that gives the value.

    Raises:
        ConfigError: the address has another form, or is taken.
        MissingDependencyError: prometheus-client is not installed.
    """

    def __init__(self, address: str) -> None:
        with requiring("metrics", "Metrics for Prometheus"):
            from prometheus_client import CollectorRegistry, start_http_server
        host, port = parse_address(address)
        self.reports: Callable[[], Mapping[str, RunReport]] = dict
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self.regions: Mapping[str, EventCounter] = {}
        self._people: dict[str, int] = {}
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as err:
            raise ConfigError(f"{address}: cannot be served ({err.strerror or err})") from err

    def __call__(self, result: FrameResult) -> None:
        """Note the people of a frame."""
        self._people[result.stream] = len(result.tracks)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def collect(self) -> Iterator[Any]:
        """The metrics now; called by prometheus-client at each scrape."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        reports = self.reports()

        def counter(name: str, help: str, value: Callable[[RunReport], float]) -> Any:
            family = CounterMetricFamily(f"jdetrt_{name}", help, labels=["stream"])
            for stream, report in reports.items():
                family.add_metric([stream], value(report))
            return family

        yield counter("frames", "Frames with a result.", lambda r: r.frames)
        yield counter("dropped_frames", "Frames of a live source left out.", lambda r: r.dropped)
        yield counter("people", "Different people reported.", lambda r: r.tracks)
        live = {name: report for name, report in reports.items() if report.source is not None}
        up = GaugeMetricFamily("jdetrt_source_up", "1 if frames come now.", labels=["stream"])
        outages = CounterMetricFamily("jdetrt_source_outages", "Times away.", labels=["stream"])
        away = CounterMetricFamily(
            "jdetrt_source_away_seconds", "Seconds away in all.", labels=["stream"]
        )
        for name, report in live.items():
            assert report.source is not None
            up.add_metric([name], report.source.connected)
            outages.add_metric([name], report.source.outages)
            away.add_metric([name], report.source.away_seconds)
        yield from (up, outages, away)
        present = GaugeMetricFamily(
            "jdetrt_people_present", "People in the last frame.", labels=["stream"]
        )
        for name, count in dict(self._people).items():
            present.add_metric([name], count)
        yield present
        yield _quantiles(
            "age_seconds",
            "From the capture of a frame to its result.",
            (({"stream": name}, report.age) for name, report in live.items()),
        )
        yield _quantiles(
            "stage_seconds",
            "Time of a stage for a frame; stages overlap.",
            (
                ({"stream": name, "stage": stage}, time)
                for name, report in reports.items()
                for stage, time in report.stages.items()
            ),
        )
        yield from _region_metrics(self.regions)
        for name, (help, value) in self.counters.items():
            yield CounterMetricFamily(f"jdetrt_{name}", help, value=value())


def _region_metrics(regions: Mapping[str, EventCounter]) -> Iterator[Any]:
    """Crossings of lines, and occupancy of zones."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    crossings = CounterMetricFamily(
        "jdetrt_crossings", "Crossings of a line.", labels=["stream", "line", "direction"]
    )
    occupancy = GaugeMetricFamily(
        "jdetrt_zone_people", "People in a zone now.", labels=["stream", "zone"]
    )
    entries = CounterMetricFamily(
        "jdetrt_zone_entries", "Times that somebody came in.", labels=["stream", "zone"]
    )
    for stream, counter in regions.items():
        for name, line in counter.lines.items():
            for direction, count in line.crossings.items():
                crossings.add_metric([stream, name, direction], count)
        for name, zone in counter.zones.items():
            occupancy.add_metric([stream, name], zone.occupancy)
            entries.add_metric([stream, name], zone.entries)
    if regions:
        yield from (crossings, occupancy, entries)


def _quantiles(
    name: str, help: str, times: Iterable[tuple[dict[str, str], StageTime | None]]
) -> Any:
    """Median and 99th percentile of the last 4096 frames, in seconds."""
    from prometheus_client.core import GaugeMetricFamily

    family: Any = None
    for labels, time in times:
        if family is None:
            family = GaugeMetricFamily(f"jdetrt_{name}", help, labels=[*labels, "quantile"])
        if time is not None:
            for quantile, value in (("0.5", time.p50), ("0.99", time.p99)):
                family.add_metric([*labels.values(), quantile], value / 1e3)
    return family or GaugeMetricFamily(f"jdetrt_{name}", help, labels=["quantile"])
