"""Events of tracks at lines and in zones, and their counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from jdetrt.errors import DataError
from jdetrt.runtime.events.regions import (
    Line,
    Points,
    Regions,
    Zone,
    anchors,
    line_distance,
    zone_distance,
)
from jdetrt.types import Array, Detections, Frame, Size, Tracks

__all__ = ["Event", "EventCounter", "LineCount", "ZoneCount"]

_FORGET = 60.0  # seconds unseen after which the side of a line that somebody was on is forgotten


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that a tracked person did; in JSON, fields without a value are left out.

    Attributes:
        timestamp: seconds on the clock of the source.
        frame: number of the frame in the source.
        event: "cross" of a line; "enter", "dwell" or "exit" of a zone.
        where: name of the line or zone.
        id: of the track.
        direction: of a crossing, as the line names it.
        seconds: length of the stay, of "dwell" and "exit".
        lost: of "exit": whether the track was lost inside of the zone rather than seen to leave it;
            `timestamp` is then when it was last seen.
    """

    timestamp: float
    frame: int
    event: Literal["cross", "enter", "dwell", "exit"]
    where: str
    id: int
    direction: str | None = None
    seconds: float | None = None
    lost: bool = False


class LineCount(msgspec.Struct):
    """Crossings of a line, by the name of the direction."""

    crossings: dict[str, int]


class ZoneCount(msgspec.Struct):
    """Counts of a zone.

    Attributes:
        occupancy: people in it now.
        peak: the most at a time.
        entries: times that somebody came in, those included who were there at the start.
        exits: times that somebody left.
        seconds: lengths of all completed stays together.
    """

    occupancy: int = 0
    peak: int = 0
    entries: int = 0
    exits: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Stay:
    begin: float
    long: bool = False  # whether its "dwell" event was given


@dataclass(slots=True)
class _Person:
    """A track, with what was known when it was last seen."""

    time: float
    frame: int
    sides: dict[str, tuple[bool, tuple[float, float]]] = field(default_factory=dict)
    stays: dict[str, _Stay] = field(default_factory=dict)

    def shift(self, seconds: float) -> None:
        """Move all times to a clock that began anew."""
        self.time += seconds
        for stay in self.stays.values():
            stay.begin += seconds


class EventCounter:
    """Counts the people who cross lines and stay in zones.

    Someone is on the other side of a line, or outside of a zone, when they are beyond it by the
    margin of the regions, so a box that trembles on a border counts once. A crossing is counted
    where the way between the two sides cuts the line itself, also when the track was unseen on it.

    It is also a sink: put it before those that draw or write what it counts.

    Args:
        regions: lines and zones.
        frame_rate: of the source, for frames without a timestamp.
        size: width and height of the frames, where they have no image.

    Attributes:
        lines: crossings, by the name of the line.
        zones: counts, by the name of the zone.
        latest: events of the last frame.
        masked: detections that `select` left out.
    """

    def __init__(
        self, regions: Regions, *, frame_rate: float = 30.0, size: tuple[int, int] | None = None
    ) -> None:
        self.lines: dict[str, LineCount] = {}
        self.zones: dict[str, ZoneCount] = {}
        self.latest: list[Event] = []
        self.masked = 0
        self._people: dict[int, _Person] = {}
        self._apply(regions)
        self._next: Regions | None = None  # set by another thread
        self._frame_rate = frame_rate
        self._size = size
        self._time = -np.inf

    def update(self, frame: Frame, tracks: Tracks) -> list[Event]:
        """Take in the reported tracks of the next frame.

        Args:
            frame: the image serves for its size alone.
            tracks: in pixels of the frame.

        Returns:
            The events of this frame, those of lost tracks first.

        Raises:
            DataError: the frame has no image, and no ``size`` was given.
        """
        following, self._next = self._next, None
        if following is not None:
            self._apply(following)
        size = self._frame_size(frame)
        time = frame.timestamp
        if time is None:
            time = (frame.index - 1) / self._frame_rate
        if time < self._time:  # the clock of the source began anew
            for person in self._people.values():
                person.shift(time - self._time)
        self._time = time
        tracks = tracks[tracks.age >= self.regions.min_age]
        points = anchors(tracks, self.regions.anchor)
        margins = self.regions.margin * (tracks.boxes[:, 3] - tracks.boxes[:, 1])
        people = [self._person(i, time, frame.index) for i in tracks.ids.tolist()]
        events = self._lost(time)
        for line in self.regions.line:
            ends = self.regions.pixels(line.points, size)
            events += self._cross(line, ends, people, tracks, points, margins)
        for zone in self.regions.zone:
            border = self.regions.pixels(zone.points, size)
            events += self._stay(zone, border, people, tracks, points, margins)
        self.latest = events
        return events

    def replace(self, regions: Regions) -> None:
        """Take other regions from the next frame on; any thread may call it.

        Lines and zones that keep their name keep their counts. Who is inside of a zone is found
        out anew.
        """
        self._next = regions

    def _apply(self, regions: Regions) -> None:
        lines: dict[str, LineCount] = {}
        for line in regions.line:
            count = self.lines.get(line.name)
            if count is None or set(count.crossings) != set(line.directions):
                count = LineCount(dict.fromkeys(line.directions, 0))
            lines[line.name] = count
        zones = {zone.name: self.zones.get(zone.name, ZoneCount()) for zone in regions.zone}
        for zone_count in zones.values():
            zone_count.occupancy = 0
        self.regions, self.lines, self.zones = regions, lines, zones
        for person in self._people.values():
            person.sides.clear()
            person.stays.clear()

    def select(self, frame: Frame, detections: Detections) -> Detections:
        """Leave out the detections that the masks of the regions exclude, and count them.

        Args:
            frame: the image serves for its size alone.
            detections: in pixels of the frame.

        Raises:
            DataError: there are masks, and neither an image nor a ``size``.
        """
        if not (self.regions.include or self.regions.ignore):
            return detections
        keep = self.regions.track_mask(detections, self._frame_size(frame))
        self.masked += len(keep) - int(np.count_nonzero(keep))
        return detections[keep]

    def state(self) -> dict[str, Any]:
        """The counts so far, as JSON has them: by "lines" and "zones", and then by name."""
        return {
            "lines": msgspec.to_builtins(self.lines),
            "zones": msgspec.to_builtins(self.zones),
            "masked_detections": self.masked,
        }

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Update with a frame, as a sink."""
        self.update(frame, tracks)

    def close(self) -> None:
        """End the last frame's events, as a sink; the counts stay."""
        self.latest = []

    def discard(self) -> None:
        """The same as `close`."""
        self.close()

    def _frame_size(self, frame: Frame) -> tuple[int, int]:
        size = Size.of(frame.image) if frame.image.size else self._size
        if size is None:
            raise DataError(
                f"frame {frame.index}: has no image, so its size is unknown; regions need it"
            )
        return size

    def _person(self, track: int, time: float, frame: int) -> _Person:
        person = self._people.setdefault(track, _Person(time, frame))
        person.time, person.frame = time, frame
        return person

    def _lost(self, time: float) -> list[Event]:
        """End the stays of those who are gone, and forget those who are long gone."""
        events = []
        for track, person in list(self._people.items()):
            if time - person.time > self.regions.lost_after:
                events += [
                    self._leave(name, track, person, lost=True) for name in list(person.stays)
                ]
            if time - person.time > max(_FORGET, self.regions.lost_after):
                del self._people[track]
        return events

    def _cross(
        self,
        line: Line,
        ends: Points,
        people: list[_Person],
        tracks: Tracks,
        points: Points,
        margins: Array,
    ) -> list[Event]:
        distances = line_distance(ends, points)
        events = []
        for i in np.flatnonzero(np.abs(distances) > margins).tolist():
            side, point = bool(distances[i] > 0), (float(points[i, 0]), float(points[i, 1]))
            before = people[i].sides.get(line.name)
            people[i].sides[line.name] = side, point
            if before is None or before[0] == side or not _cuts(before[1], point, ends):
                continue
            direction = line.directions[0 if side else 1]
            self.lines[line.name].crossings[direction] += 1
            events.append(
                Event(
                    timestamp=people[i].time,
                    frame=people[i].frame,
                    event="cross",
                    where=line.name,
                    id=int(tracks.ids[i]),
                    direction=direction,
                )
            )
        return events

    def _stay(
        self,
        zone: Zone,
        border: Points,
        people: list[_Person],
        tracks: Tracks,
        points: Points,
        margins: Array,
    ) -> list[Event]:
        distances = zone_distance(border, points)
        count = self.zones[zone.name]
        events = []
        for i, (track, person) in enumerate(zip(tracks.ids.tolist(), people, strict=True)):
            stay = person.stays.get(zone.name)
            if stay is None and distances[i] >= 0:
                person.stays[zone.name] = stay = _Stay(person.time)
                count.entries += 1
                count.occupancy += 1
                count.peak = max(count.peak, count.occupancy)
                events.append(self._event("enter", zone.name, track, person))
            elif stay is not None and distances[i] < -margins[i]:
                events.append(self._leave(zone.name, track, person))
                continue
            if stay is None or stay.long or zone.dwell is None:
                continue
            if person.time - stay.begin >= zone.dwell:
                stay.long = True
                events.append(
                    self._event("dwell", zone.name, track, person, person.time - stay.begin)
                )
        return events

    def _leave(self, zone: str, track: int, person: _Person, *, lost: bool = False) -> Event:
        seconds = person.time - person.stays.pop(zone).begin
        count = self.zones[zone]
        count.exits += 1
        count.occupancy -= 1
        count.seconds += seconds
        return self._event("exit", zone, track, person, seconds, lost=lost)

    @staticmethod
    def _event(
        kind: Literal["enter", "dwell", "exit"],
        zone: str,
        track: int,
        person: _Person,
        seconds: float | None = None,
        *,
        lost: bool = False,
    ) -> Event:
        return Event(
            timestamp=person.time,
            frame=person.frame,
            event=kind,
            where=zone,
            id=track,
            seconds=None if seconds is None else round(seconds, 3),
            lost=lost,
        )


def _cuts(start: tuple[float, float], end: tuple[float, float], line: Points) -> bool:
    """Tell whether the way from one side of a line to the other leads between its two points.

    One of the points counts as part of the line and one does not, so of two lines that share a
    point one is cut.
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    first, second = (dx * (y - start[1]) - dy * (x - start[0]) for x, y in line.tolist())
    return bool((first > 0) != (second > 0))
