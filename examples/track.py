"""Track people in a video, a folder or a camera, and write what the tracker reports.

python examples/track.py video.mp4
python examples/track.py camera:0
"""

import sys

import jdetrt

for frame, tracks in jdetrt.track(sys.argv[1], mot="tracks.txt", video="tracks.mp4"):
    for identity, box in zip(tracks.ids, tracks.boxes.round(), strict=True):
        print(f"frame {frame.index}: person {identity} at {box.tolist()}")
