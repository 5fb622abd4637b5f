"""Rendered clips of walking people with exact ground truth, generated from a seed.

For the demonstration and the tests: identities, occlusion by people and objects, perspective,
shadows and a moving camera. Paths are in ``jdetrt.synthetic.scene``, shapes in
``jdetrt.synthetic.figure``; here they become images and rows of a MOT sequence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import ConfigError, OutputError
from jdetrt.files import is_ours, replace_folder
from jdetrt.runtime.opencv import load_cv2
from jdetrt.synthetic.background import paint
from jdetrt.synthetic.figure import Part, bounds, furniture, person
from jdetrt.synthetic.scene import Scene
from jdetrt.types import Detections, Frame

__all__ = [
    "SyntheticClip",
    "Truth",
    "is_written_sequence",
    "noisy_detections",
    "write_sequence",
]

Image = npt.NDArray[np.uint8]

_SUBPIXEL = 4  # bits of the fixed-point coordinates that OpenCV draws with
_SENSOR_NOISE = 2.0  # standard deviation in grey levels
_SHADOW = 0.45  # loss of light in the middle of a shadow
_FOLDERS = ("img1", "gt", "det")
_CONTENTS = (*_FOLDERS, "seqinfo.ini")
_VISIBLE = 0.2  # of a body; less visible people are hardly ever detected


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Everybody in one frame."""

    ids: npt.NDArray[np.int64]  # (M,), from 1
    # (M, 4), left top width height in pixels, of the whole body even where it is hidden or outside
    # the image, as in MOT Challenge.
    boxes: npt.NDArray[np.float64]
    visibility: npt.NDArray[np.float64]  # (M,), visible share of the body's pixels, 0 to 1

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class SyntheticClip(Scene):
    """A clip to iterate over, repeatedly: frames with their ground truth.

    The same arguments give exactly the same images.

    Raises:
        ConfigError: a value is out of range.
        MissingDependencyError: OpenCV is not installed (when the first image is drawn).

    >>> clip = SyntheticClip(seed=1, frames=3, size=(320, 180), people=4)
    >>> [(frame.index, frame.image.shape, len(truth) > 0) for frame, truth in clip]
    [(1, (180, 320, 3), True), (2, (180, 320, 3), True), (3, (180, 320, 3), True)]
    """

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seed", self.seed, 0),
            ("frames", self.frames, 1),
            ("width", self.size[0], 64),
            ("height", self.size[1], 64),
            ("people", self.people, 0),
            ("frame_rate", self.frame_rate, 1),
        ):
            if value < least:
                raise ConfigError(f"synthetic clip: {name} is {value}, expected {least} or more")

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[tuple[Frame, Truth]]:
        for index in range(1, self.frames + 1):
            image, truth = self.render(index)
            yield Frame(image, index, (index - 1) / self.frame_rate, f"{index:06d}.jpg"), truth

    @cached_property
    def _background(self) -> Image:
        return paint(self)

    @cached_property
    def _noise(self) -> npt.NDArray[np.int16]:
        rng = np.random.default_rng([self.seed, 5])
        width, height = self.size
        noise = rng.normal(0, _SENSOR_NOISE, (height + 64, width + 64, 3))
        return np.asarray(noise.round(), np.int16)

    def truth(self, index: int) -> Truth:
        """Ground truth of frame ``index`` (from 1), without drawing it."""
        return self._look(index)[1]

    def render(self, index: int) -> tuple[Image, Truth]:
        """Draw frame ``index`` (from 1): ``(H, W, 3)`` uint8 BGR, and its ground truth."""
        cv2: Any = load_cv2()
        things, truth = self._look(index)
        width, height = self.size
        right, down = self.offset(index)
        left, top = self.margin[0] + right, self.margin[1] + down
        image = self._background[top : top + height, left : left + width].copy()
        for pose in self.poses(index):
            _shade(image, pose.foot, pose.scale)
        for parts in things:
            _draw(cv2, image, parts)
        x, y = np.random.default_rng([self.seed, 6, index]).integers(0, 64, 2)
        noise = self._noise[y : y + height, x : x + width]
        return cv2.add(image, noise, dtype=cv2.CV_8U), truth

    def _look(self, index: int) -> tuple[list[list[Part]], Truth]:
        """Everything that stands on the ground, the farthest first, and the ground truth."""
        cv2: Any = load_cv2()
        things: list[tuple[float, int, list[Part]]] = [
            (pose.depth, pose.walker.identity, person(pose)) for pose in self.poses(index)
        ]
        for number, one in enumerate(self.obstacles):
            foot, scale = self.project(one.x, one.z, index)
            rng = np.random.default_rng([self.seed, 7, number])
            things.append((one.z, 0, furniture(one, foot, scale, rng)))
        things.sort(key=lambda thing: -thing[0])
        rows: list[tuple[int, float, float, float, float, float]] = []
        taken = np.zeros(self.size[::-1], np.uint8)
        for _, identity, parts in reversed(things):  # the nearest hides those behind it
            box = bounds(parts)
            visibility = _take(cv2, taken, parts, box)
            inside = box[0] < self.size[0] and box[1] < self.size[1] and box[2] > 0 and box[3] > 0
            if identity and inside:
                rows.append(
                    (identity, box[0], box[1], box[2] - box[0], box[3] - box[1], visibility)
                )
        table = np.array(sorted(rows), np.float64).reshape(-1, 6)
        truth = Truth(table[:, 0].astype(np.int64), table[:, 1:5].copy(), table[:, 5].copy())
        return [parts for _, _, parts in things], truth


def noisy_detections(truth: Truth, size: tuple[int, int], rng: np.random.Generator) -> Detections:
    """Simulate a fair detector on a frame ``size`` (width, height): noise, misses, false alarms.

    The detections have no embeddings; scores fall with occlusion.
    """
    boxes, scores = [], []
    for (left, top, width, height), visibility in zip(truth.boxes, truth.visibility, strict=True):
        if rng.random() > 0.97 * np.clip((visibility - _VISIBLE) / 0.3, 0, 1):
            continue
        x1, y1 = rng.normal((left, top), 0.02 * np.array([width, height]))
        x2, y2 = rng.normal((left + width, top + height), 0.02 * np.array([width, height]))
        boxes.append((x1, y1, x2, y2))
        scores.append(np.clip(rng.normal(0.62 + 0.32 * visibility, 0.06), 0.3, 0.99))
    for _ in range(rng.poisson(0.15)):
        height = rng.uniform(0.1, 0.4) * size[1]
        x, y = rng.uniform(0, size[0]), rng.uniform(0.3, 0.7) * size[1]
        boxes.append((x, y, x + height / 3, y + height))
        scores.append(rng.uniform(0.3, 0.6))
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), None
    )


def write_sequence(
    folder: str | Path, clip: SyntheticClip, *, overwrite: bool = False, quality: int = 92
) -> Path:
    """Write a clip as a MOT Challenge folder: images, ground truth, detections, seqinfo.ini.

    Ground truth rows are ``frame,id,x,y,w,h,1,1,visibility`` (class 1, all of them count);
    detections are those of ``noisy_detections``.

    Args:
        folder: of the sequence; it appears whole or not at all.
        clip: the clip.
        overwrite: replace a folder from a former call (``is_written_sequence``).
        quality: of the JPEG files, 0 to 100.

    Returns:
        The folder.

    Raises:
        OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not overwrite:
        raise OutputError(f"{folder}: exists already; name another folder or delete it")
    with replace_folder(folder, _CONTENTS, f"Rendered by jdetrt, seed {clip.seed}") as new:
        _write(new, folder.name, clip, quality)
    return folder


def is_written_sequence(folder: Path) -> bool:
    """Tell whether ``write_sequence`` wrote this folder and nothing was added to it since."""
    return is_ours(folder, _CONTENTS)


def _write(folder: Path, name: str, clip: SyntheticClip, quality: int) -> None:
    cv2: Any = load_cv2()
    for part in _FOLDERS:
        (folder / part).mkdir()
    truth_rows, detection_rows = [], []
    for frame, truth in clip:
        _, jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        (folder / "img1" / frame.name).write_bytes(jpeg.tobytes())
        for identity, box, visibility in zip(truth.ids, truth.boxes, truth.visibility, strict=True):
            truth_rows.append(f"{frame.index},{identity},{_text(box)},1,1,{visibility:.3f}\n")
        rng = np.random.default_rng([clip.seed, 8, frame.index])
        detections = noisy_detections(truth, clip.size, rng)
        for (x1, y1, x2, y2), score in zip(detections.boxes, detections.scores, strict=True):
            box = np.array([x1, y1, x2 - x1, y2 - y1])
            detection_rows.append(f"{frame.index},-1,{_text(box)},{score:.3f},-1,-1,-1\n")
    (folder / "gt" / "gt.txt").write_text("".join(truth_rows))
    (folder / "det" / "det.txt").write_text("".join(detection_rows))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate={clip.frame_rate:g}\n"
        f"seqLength={clip.frames}\nimWidth={clip.size[0]}\nimHeight={clip.size[1]}\nimExt=.jpg\n"
    )


def _text(box: npt.NDArray[np.floating[Any]]) -> str:
    return ",".join(f"{value:.2f}" for value in box)


def _draw(cv2: Any, image: Image, parts: list[Part], shift: tuple[int, int] = (0, 0)) -> None:
    """Draw parts in colour; into a single-channel image, as a silhouette of 255."""
    mask = image.ndim == 2
    line = cv2.LINE_8 if mask else cv2.LINE_AA
    one = 1 << _SUBPIXEL
    for part in parts:
        # OpenCV puts the middle of the first pixel at 0, boxes have it at a half.
        points = np.round((part.points - shift - 0.5) * one).astype(np.int32)
        colour = 255 if mask else part.colour[::-1]
        # It also draws the pixels that a border touches: half a pixel more on every side.
        thickness = max(1, round(2 * part.radius - 1))
        if len(points) == 1:
            radius = max(round((part.radius - 0.5) * one), 1)
            cv2.circle(image, points[0].tolist(), radius, colour, -1, line, _SUBPIXEL)
        elif len(points) == 2:
            start, end = points.tolist()
            cv2.line(image, start, end, colour, thickness, line, _SUBPIXEL)
        else:
            cv2.fillPoly(image, [points], colour, line, _SUBPIXEL)
            cv2.polylines(image, [points], True, colour, thickness, line, _SUBPIXEL)


def _take(
    cv2: Any, taken: Image, parts: list[Part], box: tuple[float, float, float, float]
) -> float:
    """Mark a silhouette as taken; give the share of it that was free and in the image."""
    left, top = int(np.floor(box[0])) - 1, int(np.floor(box[1])) - 1
    mask = np.zeros((int(np.ceil(box[3])) + 1 - top, int(np.ceil(box[2])) + 1 - left), np.uint8)
    _draw(cv2, mask, parts, (left, top))
    x1, y1 = max(left, 0), max(top, 0)
    there = taken[y1 : max(top + mask.shape[0], 0), x1 : max(left + mask.shape[1], 0)]
    here = mask[y1 - top : y1 - top + there.shape[0], x1 - left : x1 - left + there.shape[1]]
    free = int(np.count_nonzero(here & ~there))
    there |= here
    return free / max(int(np.count_nonzero(mask)), 1)


def _shade(image: Image, foot: tuple[float, float], scale: float) -> None:
    """Darken the ground below a person."""
    half_width, half_height = 0.55 * scale, 0.11 * scale
    column, row = foot[0] + 0.25 * scale, foot[1]
    x1, x2 = max(int(column - half_width), 0), min(int(column + half_width) + 1, image.shape[1])
    y1, y2 = max(int(row - half_height), 0), min(int(row + half_height) + 1, image.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    across = ((np.arange(x1, x2) + 0.5 - column) / half_width) ** 2
    along = ((np.arange(y1, y2) + 0.5 - row) / half_height) ** 2
    light = 1 - _SHADOW * np.clip(1 - across[None, :] - along[:, None], 0, 1)
    patch = image[y1:y2, x1:x2]
    patch[:] = (patch * light[:, :, None].astype(np.float32)).astype(np.uint8)
