"""Track people in several sources at a time with one network; each source has its own ids.

python examples/several_sources.py entrance.mp4 rtsp://host/stream
"""

import sys
from contextlib import ExitStack

import jdetrt
from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream
from jdetrt.runtime.sinks.text import MotSink

with ExitStack() as stack:
    detector = stack.enter_context(jdetrt.load("nano"))
    streams = []
    for number, uri in enumerate(sys.argv[1:], start=1):
        source = stack.enter_context(jdetrt.open_source(uri))
        tracker = jdetrt.Tracker(detector.tracker_config, source.frame_rate)
        sink = stack.enter_context(MotSink(f"tracks-{number}.txt"))
        streams.append(Stream(source, tracker, [sink]))
    report = MultiPipeline(streams, detector.session).run()

for uri, stream in zip(sys.argv[1:], report.streams, strict=True):
    print(f"{uri}: {stream.frames} frames, {stream.tracks} tracks")
print(f"{report.fps:.1f} frames per second, all sources together")
