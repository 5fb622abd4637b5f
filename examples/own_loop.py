"""Detector and tracker one by one, in a loop of your own: here on every second frame.

python examples/own_loop.py camera:0
"""

import sys

import jdetrt

with jdetrt.load("nano") as detector, jdetrt.open_source(sys.argv[1]) as source:
    # A tracker keeps lost people for a time, so it has to know how often it is called.
    tracker = jdetrt.Tracker(detector.tracker_config, frame_rate=source.frame_rate / 2)
    for frame in source:
        if frame.index % 2 == 0:
            continue
        people = detector.detect(frame.image)
        tracks = tracker.update(people)
        print(f"frame {frame.index}: {len(people)} detected, tracks {tracks.ids.tolist()}")
