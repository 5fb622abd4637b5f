"""Track the boxes of a detector of your own: here whatever moves in front of a still background.

python examples/own_detector.py video.mp4
"""

import sys

import cv2
import numpy as np

import jdetrt

SMALLEST = 400  # square pixels
background = cv2.createBackgroundSubtractorMOG2()


def detect(image: np.ndarray) -> jdetrt.Detections:
    mask = cv2.threshold(background.apply(image), 200, 255, cv2.THRESH_BINARY)[1]
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rectangles = [cv2.boundingRect(contour) for contour in contours]
    boxes = [[x, y, x + w, y + h] for x, y, w, h in rectangles if w * h >= SMALLEST]
    return jdetrt.Detections(boxes, [0.9] * len(boxes))


tracker = jdetrt.Tracker("iou")  # by motion alone: these detections have no embeddings
with jdetrt.open_source(sys.argv[1]) as source:
    for frame in source:
        tracks = tracker.update(detect(frame.image))
        print(f"frame {frame.index}: tracks {tracks.ids.tolist()}")
