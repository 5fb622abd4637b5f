"""Draw what you like: here everybody's head becomes a mosaic.

python examples/own_drawing.py video.mp4 anonymous.mp4
"""

import sys

import cv2
import numpy as np

import jdetrt

_, uri, output = sys.argv
writer = None
with jdetrt.track(uri) as run:
    for frame, tracks in run:
        image = frame.image.copy()
        height, width = image.shape[:2]
        for x1, y1, x2, y2 in tracks.boxes.clip(0, [width, height, width, height]).astype(int):
            head = image[y1 : y1 + max(1, (y2 - y1) // 5), x1:x2]
            if head.size:
                small = cv2.resize(head, (3, 3), interpolation=cv2.INTER_AREA)
                head[:] = cv2.resize(small, head.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        if writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(output, code, run.source.frame_rate, (width, height))
        writer.write(np.ascontiguousarray(image))
    if writer is not None:
        writer.release()
    print(f"{output}: {run.report().frames} frames")
