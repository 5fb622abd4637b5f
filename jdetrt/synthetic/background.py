"""Background of a rendered clip: sky, houses, hedge and paving."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.synthetic.scene import CAMERA_HEIGHT, Scene

__all__ = ["paint"]

_Floats = npt.NDArray[np.floating[Any]]
_Picture = npt.NDArray[np.float32]

_TILE = 0.8  # metres, side of a paving stone
_JOINT = 0.02  # metres, half the gap between two


def paint(scene: Scene) -> npt.NDArray[np.uint8]:
    """Paint the area that all windows of the frames cover.

    Returns:
        ``(H + 2 * margin, W + 2 * margin, 3)`` uint8, BGR.
    """
    rng = np.random.default_rng([scene.seed, 4])
    margin_x, margin_y = scene.margin
    width, height = scene.size[0] + 2 * margin_x, scene.size[1] + 2 * margin_y
    columns = np.arange(width) + 0.5 - margin_x - scene.size[0] / 2
    rows = np.arange(height) + 0.5 - margin_y - scene.horizon
    image = np.empty((height, width, 3), np.float32)
    above = int(np.searchsorted(rows, 0.5))
    image[:above] = _sky(rows[:above], height)
    _houses(image[:above], scene, rng)
    _hedge(image[:above], scene, rng)
    image[above:] = _paving(columns, rows[above:], scene, rng)
    image += rng.normal(0, 1.5, image.shape)
    image = np.clip(image[:, :, ::-1], 0, 255)
    return np.ascontiguousarray(image, np.uint8)


def _sky(rows: _Floats, height: int) -> _Picture:
    part = np.clip(-rows / (0.35 * height), 0, 1)[:, None, None]
    colours = np.array([222, 228, 232]) * (1 - part) + np.array([150, 184, 216]) * part
    return np.asarray(colours, np.float32)


def _houses(image: _Picture, scene: Scene, rng: np.random.Generator) -> None:
    bottom, width = image.shape[:2]
    unit = scene.size[1] / 540
    left = 0.0
    while left < width:
        right = left + rng.uniform(90, 190) * unit
        top = max(int(bottom - rng.uniform(0.45, 0.95) * bottom), 0)
        wall = np.array([198, 178, 156]) + rng.uniform(-34, 26) + rng.uniform(-8, 8, 3)
        image[top:, int(left) : int(right)] = wall
        image[top : top + max(int(4 * unit), 1), int(left) : int(right)] = wall * 0.72
        step_x, step_y = 24 * unit, 30 * unit
        for x in np.arange(left + 10 * unit, right - 18 * unit, step_x):
            for y in np.arange(top + 14 * unit, bottom - 20 * unit, step_y):
                pane = np.array([96, 112, 126]) + rng.uniform(-22, 30)
                window = image[int(y) : int(y + 18 * unit), int(x) : int(x + 12 * unit)]
                window[:] = wall * 1.12
                window[1:-1, 1:-1] = pane
        left = right


def _hedge(image: _Picture, scene: Scene, rng: np.random.Generator) -> None:
    bottom, width = image.shape[:2]
    deep = int(0.045 * scene.size[1])
    wave = np.convolve(rng.normal(0, 1, width + 64), np.hanning(24) / 5, mode="same")[:width]
    depth = np.clip(deep + wave * deep * 0.12, 2, bottom).astype(int)
    leaves = rng.uniform(0.75, 1.2, (bottom, width, 1)) * np.array([74, 100, 66])
    mask = np.arange(bottom)[:, None] >= bottom - depth[None, :]
    image[mask] = leaves[mask]


def _paving(
    columns: _Floats,
    rows: _Floats,
    scene: Scene,
    rng: np.random.Generator,
) -> _Picture:
    depth = scene.focal * CAMERA_HEIGHT / rows[:, None]
    side = columns[None, :] * depth / scene.focal
    pixel = depth / scene.focal  # metres per pixel: far joints fade instead of flickering
    stone = rng.normal(0, 1, (64, 64))
    i, j = np.floor(side / _TILE).astype(int), np.floor(depth / _TILE).astype(int)
    bright: Any = 158 + 9 * stone[i % 64, np.broadcast_to(j % 64, i.shape)]
    gap_x = np.minimum(side % _TILE, -side % _TILE)
    gap_z = np.minimum(depth % _TILE, -depth % _TILE) * np.ones_like(side)
    along = np.clip(1 - (gap_x - _JOINT) / pixel, 0, 1) * np.clip(_JOINT * 4 / pixel, 0, 1)
    # A pixel covers far more of the depth than of the side.
    tall = pixel * depth / CAMERA_HEIGHT
    across = np.clip(1 - (gap_z - _JOINT) / tall, 0, 1) * np.clip(_JOINT * 4 / tall, 0, 1)
    bright = bright - 26 * np.maximum(along, across)
    bright = bright + rng.normal(0, 4, bright.shape) * np.clip(0.02 / pixel, 0.2, 1)
    haze = np.clip((depth - 6) / 80, 0, 0.6)[:, :, None]
    ground = bright[:, :, None] * np.array([1.0, 0.98, 0.94])
    return np.asarray(ground * (1 - haze) + np.array([206, 210, 212]) * haze, np.float32)
