"""Count the people who walk over a vertical line in the middle of the image, by direction.

python examples/count_line.py video.mp4
"""

import sys

import jdetrt

side: dict[int, bool] = {}  # of each person: to the right of the line in the last frame?
to_the_right = to_the_left = 0
for frame, tracks in jdetrt.track(sys.argv[1]):
    line = frame.image.shape[1] / 2
    middles = tracks.boxes[:, [0, 2]].mean(axis=1)
    for identity, right in zip(tracks.ids.tolist(), (middles > line).tolist(), strict=True):
        before = side.get(identity, right)
        to_the_right += right and not before
        to_the_left += before and not right
        side[identity] = right
print(f"{to_the_right} to the right, {to_the_left} to the left, {len(side)} people in all")
