"""Track people in several sources at a time with one network; each source has its own ids.

python examples/several_sources.py entrance.mp4 rtsp://host/stream
"""

import sys

import jdetrt

sources = {str(number): uri for number, uri in enumerate(sys.argv[1:], start=1)}
report = jdetrt.track_many(sources, mot="tracks-{name}.txt")

for name, stream in zip(report.names, report.streams, strict=True):
    print(f"{sources[name]}: {stream.frames} frames, {stream.tracks} tracks")
print(f"{report.fps:.1f} frames per second, all sources together")
