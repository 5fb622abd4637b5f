"""Events at lines and in zones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jdetrt.errors import ConfigError, DataError
from jdetrt.runtime.events.counter import Event, EventCounter
from jdetrt.runtime.events.regions import Regions, line_distance, zone_distance
from jdetrt.types import Detections, Frame, Tracks

IMAGE = np.zeros((100, 200, 3), np.uint8)
DOOR = {"name": "door", "points": [(50, 50), (150, 50)]}  # from left to right: "in" is downwards
SQUARE = {"name": "square", "points": [(50, 20), (150, 20), (150, 80), (50, 80)]}


def regions(**tables: object) -> Regions:
    import msgspec

    given_here = {"size": (200, 100), "min_age": 0, "margin": 0.1, **tables}
    return msgspec.convert(given_here, Regions)


def walk(
    counter: EventCounter, feet: Sequence[tuple[float, float] | None], age: int = 9
) -> list[Event]:
    """The events of one person, 20 pixels tall, one frame a second; None is unseen."""
    events: list[Event] = []
    for index, point in enumerate(feet, 1):
        events += step(counter, index, {} if point is None else {1: point}, age)
    return events


def step(
    counter: EventCounter,
    index: int,
    feet: dict[int, tuple[float, float]],
    age: int = 9,
) -> list[Event]:
    boxes = [[x - 5, y - 20, x + 5, y] for x, y in feet.values()]
    tracks = Tracks(list(feet), boxes, [0.9] * len(feet), age=[age] * len(feet))
    return counter.update(Frame(IMAGE, index, float(index - 1)), tracks)


def kinds(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(event.event, event.direction) for event in events]


def test_crossing_counts_by_direction() -> None:
    counter = EventCounter(regions(line=[DOOR]))
    events = walk(counter, [(100, 40), (100, 60), (100, 40)])
    assert kinds(events) == [("cross", "in"), ("cross", "out")]
    assert [(event.frame, event.timestamp, event.id) for event in events] == [
        (2, 1.0, 1),
        (3, 2.0, 1),
    ]
    assert counter.lines["door"].crossings == {"in": 1, "out": 1}


def test_line_the_other_way_round_swaps_directions() -> None:
    counter = EventCounter(regions(line=[{**DOOR, "points": DOOR["points"][::-1]}]))
    assert kinds(walk(counter, [(100, 40), (100, 60)])) == [("cross", "out")]


def test_trembling_on_the_line_counts_once() -> None:
    counter = EventCounter(regions(line=[DOOR]))  # the margin is 2 pixels
    feet = [(100, 40), *[(100.0, 50 + dy) for dy in (-1.9, 1.9, -1.5, 1.9, -1.9)], (100, 60)]
    assert kinds(walk(counter, feet)) == [("cross", "in")]


def test_margin_is_a_limit() -> None:
    for beyond, count in ((2.0, 0), (2.01, 1)):
        counter = EventCounter(regions(line=[DOOR]))
        assert len(walk(counter, [(100, 40), (100, 50 + beyond)])) == count


def test_way_beside_the_line_does_not_count() -> None:
    counter = EventCounter(regions(line=[DOOR]))
    assert walk(counter, [(170, 40), (170, 60), (40, 60), (40, 40)]) == []


def test_crossing_while_unseen_counts() -> None:
    counter = EventCounter(regions(line=[DOOR]))
    assert kinds(walk(counter, [(100, 40), None, None, (100, 70)])) == [("cross", "in")]


def test_two_lines_that_share_a_point_count_once() -> None:
    halves = [
        {"name": "left", "points": [(50, 50), (100, 50)]},
        {"name": "right", "points": [(100, 50), (150, 50)]},
    ]
    counter = EventCounter(regions(line=halves))
    assert len(walk(counter, [(100, 40), (100, 60)])) == 1


def test_young_tracks_do_not_count() -> None:
    counter = EventCounter(regions(line=[DOOR], zone=[SQUARE], min_age=2))
    assert walk(counter, [(100, 40), (100, 60)], age=1) == []
    assert kinds(walk(counter, [(100, 40), (100, 60)], age=2)) == [
        ("enter", None),
        ("cross", "in"),
    ]


def test_zone_visit() -> None:
    counter = EventCounter(regions(zone=[{**SQUARE, "dwell": 2.0}]))
    events = walk(counter, [(20, 50), (60, 50), (70, 50), (80, 50), (90, 50), (190, 50)])
    assert [(e.event, e.timestamp, e.seconds) for e in events] == [
        ("enter", 1.0, None),
        ("dwell", 3.0, 2.0),
        ("exit", 5.0, 4.0),
    ]
    count = counter.zones["square"]
    assert (count.occupancy, count.peak, count.entries, count.exits) == (0, 1, 1, 1)
    assert count.seconds == 4.0


def test_zone_border_belongs_to_the_zone() -> None:
    counter = EventCounter(regions(zone=[SQUARE]))
    assert kinds(walk(counter, [(50, 50), (48.1, 50), (50, 50)])) == [("enter", None)]
    assert kinds(step(counter, 4, {1: (47.9, 50)})) == [("exit", None)]


def test_lost_in_zone_leaves_when_last_seen() -> None:
    counter = EventCounter(regions(zone=[SQUARE], lost_after=2.0))
    events = walk(counter, [(60, 50), (60, 50), None, None, None])
    assert [(e.event, e.timestamp, e.lost) for e in events] == [
        ("enter", 0.0, False),
        ("exit", 1.0, True),
    ]
    assert events[1].seconds == 1.0
    assert counter.zones["square"].occupancy == 0


def test_short_gap_is_no_exit() -> None:
    counter = EventCounter(regions(zone=[SQUARE], lost_after=2.0))
    assert len(walk(counter, [(60, 50), None, None, (60, 50)])) == 1


def test_clock_that_begins_anew_neither_ends_nor_lengthens_a_visit() -> None:
    counter = EventCounter(regions(zone=[SQUARE]))
    walk(counter, [(60, 50)] * 5)
    events = step(counter, 1, {1: (60, 50)}) + step(counter, 2, {1: (190, 50)})
    assert [(e.event, e.seconds) for e in events] == [("exit", 5.0)]


def test_occupancy_counts_people() -> None:
    counter = EventCounter(regions(zone=[SQUARE]))
    step(counter, 1, {1: (60, 50), 2: (70, 50), 3: (20, 50)})
    step(counter, 2, {1: (60, 50), 2: (190, 50), 3: (55, 50)})
    count = counter.zones["square"]
    assert (count.occupancy, count.peak, count.entries) == (2, 2, 3)


def test_memory_is_bounded() -> None:
    counter = EventCounter(regions(line=[DOOR], zone=[SQUARE]))
    for index in range(1, 2000):
        step(counter, index, {index: (60, 40)})
    assert len(counter._people) <= 62


def test_frames_without_timestamp_or_image() -> None:
    counter = EventCounter(regions(zone=[SQUARE]), frame_rate=10, size=(200, 100))
    blank = np.empty((0, 0, 3), np.uint8)
    person = Tracks([1], [[55, 30, 65, 50]], [0.9], age=[9])
    assert counter.update(Frame(blank, 11), person)[0].timestamp == 1.0
    with pytest.raises(DataError, match="frame 1"):
        EventCounter(regions(zone=[SQUARE])).update(Frame(blank, 1), person)


def test_fractions_follow_the_size_of_the_frame() -> None:
    counter = EventCounter(
        regions(size=None, zone=[{"name": "right", "points": [(0.5, 0), (1, 0), (1, 1), (0.5, 1)]}])
    )
    person = Tracks([1], [[120, 30, 130, 50]], [0.9], age=[9])
    assert len(counter.update(Frame(IMAGE, 1, 0.0), person)) == 1
    twice = np.zeros((200, 400, 3), np.uint8)  # the same pixel is now on the left
    assert counter.update(Frame(twice, 2, 1.0), person)[0].event == "exit"


def test_masks() -> None:
    people = Detections([[10, 10, 20, 30], [90, 10, 110, 50], [90, 10, 110, 95]], [0.9] * 3)
    square = {"points": SQUARE["points"]}
    left = {"points": [(0, 0), (100, 0), (100, 100), (0, 100)]}
    keep = regions(include=[square]).track_mask(people, (200, 100))
    assert keep.tolist() == [False, True, False]
    assert regions(ignore=[square]).track_mask(people, (200, 100)).tolist() == [True, False, True]
    both = regions(include=[left], ignore=[square]).track_mask(people, (200, 100))
    assert both.tolist() == [True, False, True]
    assert regions(include=[square]).track_mask(Detections.empty(), (200, 100)).shape == (0,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[line]]\nname='a'\npoints=[[0,0],[0,0]]", "the same"),
        ("[[line]]\nname='a'\npoints=[[0,0],[500,3]]", r"size = \["),
        ("[[zone]]\nname='a'\npoints=[[0,0],[1,1]]", r"zone\[0\].points"),
        ("[[zone]]\nname='a'\npoints=[[0,0],[1,1],[nan,1]]", "points"),
        ("[[zone]]\nname='a'\npoints=[[0,0],[1,1],[0,1]]\n" * 2, "'a'"),
        ("[[lines]]", "lines"),
    ],
)
def test_wrong_regions(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "regions.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        Regions.read(path)


coordinates = st.tuples(st.integers(0, 40), st.integers(0, 40))


@settings(max_examples=60, deadline=None)
@given(
    polygon=st.lists(coordinates, min_size=3, max_size=6, unique=True),
    point=coordinates,
)
def test_zone_distance_is_that_of_opencv(
    polygon: list[tuple[int, int]], point: tuple[int, int]
) -> None:
    cv2 = pytest.importorskip("cv2")
    contour = np.array(polygon, np.float32)
    expected = cv2.pointPolygonTest(contour, (point[0] + 0.37, point[1] + 0.41), True)
    ours = zone_distance(contour.astype(float), np.array([[point[0] + 0.37, point[1] + 0.41]]))
    assert ours[0] == pytest.approx(expected, abs=1e-3)


def test_line_distance() -> None:
    line = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert line_distance(line, np.array([[0.0, 5.0], [3.0, 0.0]])) == pytest.approx([3.0, -2.4])


def test_crossings_are_those_of_supervision() -> None:
    """Random walks that never stop near the line, through another implementation."""
    supervision = pytest.importorskip("supervision")
    rng = np.random.default_rng(3)
    counter = EventCounter(regions(line=[DOOR], margin=0.0))
    start, end = (supervision.Point(*point) for point in DOOR["points"])
    other = supervision.LineZone(
        start, end, triggering_anchors=[supervision.Position.BOTTOM_CENTER]
    )
    feet = {i: rng.uniform((55, 30), (145, 70)) for i in range(1, 9)}
    for index in range(1, 200):
        for i, point in feet.items():
            feet[i] = np.clip(point + rng.normal(0, 8, 2), (55, 25), (145, 75))
        frame_feet = {i: (float(x), float(y)) for i, (x, y) in feet.items()}
        step(counter, index, frame_feet)
        boxes = [[x - 5, y - 20, x + 5, y] for x, y in frame_feet.values()]
        tracks = Tracks(list(frame_feet), boxes, [0.9] * len(boxes))
        other.trigger(tracks.to_supervision())
    counts = counter.lines["door"].crossings
    assert min(counts.values()) > 20
    assert sorted(counts.values()) == sorted([other.in_count, other.out_count])


def test_as_a_sink() -> None:
    counter = EventCounter(regions(line=[DOOR]))
    person = Tracks([1], [[95, 20, 105, 40]], [0.9], age=[9])
    counter.write(Frame(IMAGE, 1, 0.0), person)
    lower = Tracks([1], [[95, 40, 105, 60]], [0.9], age=[9])
    counter.write(Frame(IMAGE, 2, 1.0), lower)
    assert kinds(counter.latest) == [("cross", "in")]
    counter.close()
    assert counter.latest == []
    assert counter.lines["door"].crossings["in"] == 1


def test_from_python(tmp_path: Path) -> None:
    """`jdetrt.track` and `track_many` with lines and zones."""
    from jdetrt import load, track
    from jdetrt.many import track_many
    from jdetrt.synthetic.clip import SyntheticClip, write_sequence

    folder = write_sequence(tmp_path / "clip", SyntheticClip(seed=1, frames=2, size=(320, 180)))
    counter = EventCounter(regions(size=(320, 180), zone=[SQUARE]))
    events, heat = tmp_path / "events.jsonl", tmp_path / "heat.png"
    detector = load()
    run = track(folder, detector, tracker="iou", regions=counter, events=events, heat_map=heat)
    assert len(list(run)) == 2
    assert events.exists()
    assert heat.exists()
    track_many({"a": folder}, detector, tracker="iou", regions={"a": counter}, heat_map=heat)
