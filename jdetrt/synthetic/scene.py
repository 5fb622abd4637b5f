"""Scene of a rendered clip: people, their paths, obstacles and the camera.

The ground is a plane seen by a level camera at height ``CAMERA_HEIGHT``; a point at depth z and
side x is at column ``focal * x / z`` from the middle and ``focal * height / z`` below the horizon.
The camera turns by moving its image as a window over a wider one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["CAMERA_HEIGHT", "Look", "Obstacle", "Pose", "Scene", "Walker"]

CAMERA_HEIGHT = 2.4  # metres above the ground
NEAR, FAR = 4.4, 17.0  # depths between which people walk, metres
STEP = 0.75  # metres; one swing of the legs each way is two steps
_HORIZON = 0.30  # of the image's height, from the top
_FOCAL = 1.10  # of the image's height
_PAN = 0.06  # of the image's width, to either side
_PAN_PERIOD = 12.0  # seconds
_SHAKE = 1.2  # pixels at 540 lines, of a hand-held camera

Rgb = tuple[int, int, int]

_SKIN: tuple[Rgb, ...] = ((236, 198, 170), (214, 164, 128), (160, 112, 80), (98, 66, 48))
_HAIR: tuple[Rgb, ...] = (
    (32, 26, 24),
    (70, 46, 30),
    (128, 88, 48),
    (178, 150, 96),
    (120, 120, 122),
)
_TOP: tuple[Rgb, ...] = (
    *((178, 42, 46), (36, 74, 140), (228, 224, 212), (44, 44, 50), (58, 120, 78)),
    *((226, 170, 52), (112, 60, 122), (98, 156, 178), (206, 108, 60), (140, 140, 138)),
)
_LEGS: tuple[Rgb, ...] = (
    *((40, 48, 72), (34, 34, 36), (92, 84, 70), (74, 98, 138), (120, 112, 98), (62, 42, 34)),
)
_BAG: tuple[Rgb, ...] = ((52, 60, 44), (120, 48, 40), (36, 40, 60), (150, 120, 70))


@dataclass(frozen=True, slots=True)
class Look:
    """Clothes of one person; colours are RGB."""

    skin: Rgb
    hair: Rgb
    top: Rgb
    legs: Rgb
    shoes: Rgb
    bag: Rgb | None
    long_sleeves: bool
    build: float


@dataclass(frozen=True, slots=True, eq=False)
class Walker:
    """One identity and its path over the ground."""

    identity: int  # from 1
    height: float  # metres
    look: Look
    first: int  # frame of the first point, from 1
    way: npt.NDArray[np.float64]  # (T, 2), side x and depth z in metres in each frame
    walked: npt.NDArray[np.float64]  # (T,), metres walked so far; the legs swing with it


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A lamp post or a planter that hides people."""

    kind: str
    x: float
    z: float


@dataclass(frozen=True, slots=True)
class Pose:
    """A walker in one frame, as the camera sees it."""

    walker: Walker
    foot: tuple[float, float]  # column and row of the ground between the feet, pixels
    scale: float  # pixels per metre
    depth: float  # metres from the camera
    stride: float  # position in the cycle of two steps, radians
    across: float  # component of the walking direction to the right, -1 to 1
    towards: float  # component towards the camera, -1 to 1


@dataclass(frozen=True)
class Scene:
    """People who walk through the view; a new one follows each who leaves.

    The same arguments give exactly the same scene.
    """

    seed: int = 0  # of all randomness
    frames: int = 300  # length of the clip
    size: tuple[int, int] = (960, 540)  # width and height, pixels
    people: int = 12  # visible at a time
    frame_rate: float = 30.0  # frames per second
    moving_camera: bool = True  # pans and shakes

    @property
    def horizon(self) -> float:
        """Row of the horizon in an image whose camera does not shake."""
        return _HORIZON * self.size[1]

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return _FOCAL * self.size[1]

    @property
    def margin(self) -> tuple[int, int]:
        """Range of the window to the side and up or down, pixels."""
        if not self.moving_camera:
            return 0, 0
        return round(_PAN * self.size[0]) + 8, 8

    @cached_property
    def walkers(self) -> tuple[Walker, ...]:
        """All identities of the clip, numbered by their first frame."""
        rng = np.random.default_rng([self.seed, 1])
        walkers: list[Walker] = []
        for _ in range(self.people):
            start = 1
            while start <= self.frames:
                # Those of the first frame are in the middle of their way already.
                walkers.append(self._walker(rng, start, underway=start == 1))
                start += len(walkers[-1].way)
        walkers.sort(key=lambda walker: walker.first)
        return tuple(replace(walker, identity=n) for n, walker in enumerate(walkers, 1))

    @cached_property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """Two lamp posts and two planters, the farthest first."""
        rng = np.random.default_rng([self.seed, 3])
        obstacles = []
        for kind, side in (("lamp", -0.6), ("lamp", 0.7), ("planter", -0.2), ("planter", 0.3)):
            z = float(rng.uniform(6.5, 12.0))
            x = (side + float(rng.uniform(-0.15, 0.15))) * self._side(z)
            obstacles.append(Obstacle(kind, x, z))
        return tuple(sorted(obstacles, key=lambda one: -one.z))

    def project(self, x: float, z: float, frame: int) -> tuple[tuple[float, float], float]:
        """Column and row of a point on the ground in a frame, and pixels per metre there."""
        right, down = self.offset(frame)
        scale = self.focal / z
        column = self.size[0] / 2 + scale * x - right
        return (column, self.horizon + scale * CAMERA_HEIGHT - down), scale

    def offset(self, frame: int) -> tuple[int, int]:
        """Position of the window in a frame: pixels to the right and down."""
        if not self.moving_camera:
            return 0, 0
        seconds = (frame - 1) / self.frame_rate
        turn = np.random.default_rng([self.seed, 2]).uniform(0, 2 * np.pi, 3)
        pan = _PAN * self.size[0] * np.sin(2 * np.pi * seconds / _PAN_PERIOD + turn[0])
        shake = _SHAKE * self.size[1] / 540
        right = pan + shake * np.sin(2 * np.pi * 1.7 * seconds + turn[1])
        down = shake * np.sin(2 * np.pi * 1.3 * seconds + turn[2])
        return round(float(right)), round(float(down))

    def poses(self, frame: int) -> list[Pose]:
        """Everybody in a frame (from 1), the farthest first."""
        poses = []
        for walker in self.walkers:
            step = frame - walker.first
            if not 0 <= step < len(walker.way):
                continue
            x, z = map(float, walker.way[step])
            last = len(walker.way) - 1
            ahead = walker.way[min(step + 1, last)] - walker.way[max(min(step, last - 1), 0)]
            across, away = ahead / max(float(np.hypot(*ahead)), 1e-9)
            foot, scale = self.project(x, z, frame)
            poses.append(
                Pose(
                    walker=walker,
                    foot=foot,
                    scale=scale,
                    depth=z,
                    stride=float(np.pi * walker.walked[step] / STEP),
                    across=float(across),
                    towards=float(-away),
                )
            )
        return sorted(poses, key=lambda pose: -pose.depth)

    def _side(self, z: float) -> float:
        """Half the width of the ground in all windows at depth z, and a margin, metres."""
        return (self.size[0] / 2 + self.margin[0]) * z / self.focal + 0.6

    def _walker(self, rng: np.random.Generator, first: int, *, underway: bool) -> Walker:
        speed = rng.uniform(0.9, 1.7) / self.frame_rate  # metres a frame
        sign = rng.choice([-1.0, 1.0])
        # Most walk across the view, some towards the camera or away from it.
        angle = rng.normal(0, 0.25) if rng.random() < 0.7 else rng.uniform(-1.2, 1.2)
        z = 1 / rng.uniform(1 / FAR, 1 / NEAR)  # sizes in the image are even, not depths
        start = np.array([-sign * self._side(z), z])
        if underway:
            start[0] = rng.uniform(-1, 1) * (self._side(z) - 1)
        bend = rng.normal(0, 0.15) / self.frame_rate / 10  # radians a frame, a wide curve
        way = [start]
        for step in range(self.frames):
            heading = angle + bend * step
            x, z = way[-1]
            # Nobody walks into the camera or out of sight: the way bends along the edge.
            depth = speed * np.sin(heading)
            if (z < NEAR and depth < 0) or (z > FAR and depth > 0):
                depth = 0.0
            across = sign * max(float(np.cos(heading)), 0.25) * speed
            if abs(x + across) > self._side(z) and np.sign(x) == sign:
                break
            way.append(np.array([x + across, z + depth]))
        points = np.array(way)
        steps = np.hypot(*np.diff(points, axis=0).T) if len(points) > 1 else np.zeros(0)
        walked = np.concatenate([[rng.uniform(0, 2 * STEP)], steps]).cumsum()
        return Walker(0, float(rng.normal(1.72, 0.08)), _look(rng), first, points, walked)


def _look(rng: np.random.Generator) -> Look:
    def pick(colours: tuple[Rgb, ...]) -> Rgb:
        red, green, blue = colours[rng.integers(len(colours))] + rng.integers(-10, 11, 3)
        return int(np.clip(red, 0, 255)), int(np.clip(green, 0, 255)), int(np.clip(blue, 0, 255))

    return Look(
        skin=pick(_SKIN),
        hair=pick(_HAIR),
        top=pick(_TOP),
        legs=pick(_LEGS),
        shoes=pick(((30, 28, 28), (200, 198, 194), (84, 56, 40))),
        bag=pick(_BAG) if rng.random() < 0.35 else None,
        long_sleeves=bool(rng.random() < 0.6),
        build=float(rng.uniform(0.9, 1.15)),
    )
