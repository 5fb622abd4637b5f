"""Shapes of a walking person and of street furniture, as points and colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jdetrt.synthetic.scene import Obstacle, Pose, Rgb

__all__ = ["Part", "bounds", "furniture", "person"]

_HAZE: Rgb = (196, 204, 210)
_HAZE_DEPTH = 60.0  # metres; beyond, colours would be all haze
_SWING = 0.45  # radians, how far a leg swings
_LIFT = 0.07  # metres, how far the foot that swings forward is lifted


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A filled shape with a round border: a disc (1 point), a limb (2) or a polygon."""

    points: npt.NDArray[np.float64]  # (K, 2), column and row in pixels
    radius: float  # of the border, pixels
    colour: Rgb


def bounds(parts: list[Part]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of all parts, pixels."""
    low = np.min([part.points.min(axis=0) - part.radius for part in parts], axis=0)
    high = np.max([part.points.max(axis=0) + part.radius for part in parts], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


class _Sketch:
    """Collects parts given in metres: u to the right of a point on the ground, v above it."""

    def __init__(self, foot: tuple[float, float], scale: float, depth: float) -> None:
        self.parts: list[Part] = []
        self._foot = np.array(foot)
        self._scale = np.array([scale, -scale])
        self._haze = min(depth / _HAZE_DEPTH, 0.5)

    def add(self, colour: Rgb, radius: float, *points: tuple[float, float], lit: float = 1) -> None:
        """Add a part; ``lit`` makes its colour darker or brighter."""
        shaded = np.clip(np.array(colour) * lit, 0, 255)
        red, green, blue = (shaded * (1 - self._haze) + np.array(_HAZE) * self._haze).astype(int)
        pixels = self._foot + np.array(points) * self._scale
        self.parts.append(
            Part(pixels, radius * float(self._scale[0]), (int(red), int(green), int(blue)))
        )


def person(pose: Pose) -> list[Part]:
    """The parts of a walker, in the order to draw them."""
    look, tall, across, towards = pose.walker.look, pose.walker.height, pose.across, pose.towards
    body = _Sketch(pose.foot, pose.scale, pose.depth)
    turned = abs(towards)  # 0 seen from the side, 1 from the front or the back
    bob = 0.012 * np.cos(2 * pose.stride)
    shoulder = look.build * tall * (0.055 + 0.055 * turned)
    hip = look.build * tall * (0.048 + 0.030 * turned)
    hip_v, shoulder_v = 0.50 * tall + bob, 0.80 * tall + bob

    def leg(phase: float, side: float, lit: float) -> None:
        forward = 0.5 * tall * np.sin(_SWING * np.sin(phase))
        lift = _LIFT * max(0.0, float(np.cos(phase)))
        top = (side * hip * 0.6, hip_v)
        # A foot nearer to the camera stands lower in the image.
        ankle_v = 0.045 * tall + lift - 0.10 * forward * towards
        ankle = (side * hip * 0.7 + forward * across, ankle_v)
        knee = (
            (top[0] + ankle[0]) / 2 + (0.03 + 1.2 * lift) * across,
            (top[1] + ankle[1]) / 2 + 0.3 * lift,
        )
        toe = (ankle[0] + 0.11 * across + 0.02 * side * turned, ankle[1] - 0.035)
        body.add(look.shoes, 0.026 * tall, (ankle[0], ankle[1] - 0.02), toe, lit=lit)
        body.add(look.legs, 0.045 * tall * look.build, top, knee, lit=lit)
        body.add(look.legs, 0.034 * tall * look.build, knee, ankle, lit=lit)

    def arm(phase: float, side: float, lit: float) -> None:
        swing = -0.55 * float(np.sin(phase))
        root = (side * (shoulder + 0.012), shoulder_v - 0.02 * tall)
        elbow = (
            root[0] + 0.17 * tall * np.sin(swing) * across + 0.02 * side,
            root[1] - 0.17 * tall * np.cos(swing),
        )
        bent = swing + 0.35
        hand = (
            elbow[0] + 0.15 * tall * np.sin(bent) * across,
            elbow[1] - 0.15 * tall * np.cos(bent),
        )
        sleeve = look.top if look.long_sleeves else look.skin
        body.add(sleeve, 0.024 * tall, elbow, hand, lit=lit)
        body.add(look.top, 0.031 * tall, root, elbow, lit=lit)
        body.add(look.skin, 0.024 * tall, hand, lit=lit)

    def bag() -> None:
        if look.bag is not None:
            back = -across * (shoulder + 0.05 * tall)
            half = 0.045 * tall + 0.04 * tall * turned
            low, high = 0.56 * tall + bob, 0.76 * tall + bob
            corners = ((back - half, low), (back + half, low), (back + half, high))
            body.add(look.bag, 0.02 * tall, *corners, (back - half, high), lit=0.95)

    def torso() -> None:
        low, high = (hip, hip_v), (shoulder, shoulder_v)
        corners = ((-low[0], low[1]), low, high, (-high[0], high[1]))
        body.add(look.top, 0.032 * tall, *corners, lit=0.94)
        # The light comes from the left.
        lit = ((-0.9 * hip, hip_v), (0, hip_v), (0.1 * shoulder, shoulder_v))
        body.add(look.top, 0.02 * tall, *lit, (-0.9 * shoulder, shoulder_v), lit=1.03)

    def head() -> None:
        body.add(look.skin, 0.026 * tall, (0, 0.82 * tall + bob), (0, 0.86 * tall + bob), lit=0.85)
        middle = 0.925 * tall + bob
        body.add(look.hair, 0.056 * tall, (-0.006 * across * tall, middle + 0.012 * tall))
        if towards > -0.5:
            face = 0.014 * across * tall
            body.add(
                look.skin,
                0.044 * tall,
                (face, middle - 0.022 * tall),
                (face, middle - 0.006 * tall),
            )

    # The far side first. Its limbs swing against those of the near side.
    side = -1.0 if across >= 0 else 1.0
    if towards > 0.3:
        bag()
    arm(pose.stride, side, 0.72)
    leg(pose.stride + np.pi, side, 0.72)
    leg(pose.stride, -side, 0.98)
    torso()
    if towards <= 0.3:
        bag()
    head()
    arm(pose.stride + np.pi, -side, 0.98)
    return body.parts


def furniture(
    obstacle: Obstacle, foot: tuple[float, float], scale: float, rng: np.random.Generator
) -> list[Part]:
    """The parts of a lamp post or a planter, in the order to draw them."""
    thing = _Sketch(foot, scale, obstacle.z)
    if obstacle.kind == "lamp":
        iron = (58, 66, 70)
        thing.add(iron, 0.06, (0, 0.06), (0, 4.2))
        thing.add(iron, 0.03, (-0.12, 0.0), (0.12, 0.0), (0.09, 0.35), (-0.09, 0.35), lit=0.9)
        thing.add((240, 236, 214), 0.14, (0, 4.3))
        return thing.parts
    stone = (150, 140, 128)
    thing.add(stone, 0.02, (-0.55, 0.02), (0.55, 0.02), (0.62, 0.5), (-0.62, 0.5), lit=0.9)
    thing.add(stone, 0.02, (-0.64, 0.46), (0.64, 0.46), (0.64, 0.54), (-0.64, 0.54), lit=1.08)
    for _ in range(26):
        u, v = rng.uniform(-0.52, 0.52), rng.uniform(0.56, 0.86)
        green = (66, 104 + int(rng.integers(-18, 30)), 58)
        thing.add(green, float(rng.uniform(0.07, 0.13)), (u, v), lit=0.7 + 0.5 * (v - 0.5))
    return thing.parts
