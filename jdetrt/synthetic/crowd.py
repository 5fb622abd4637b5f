"""Synthetic detections of a walking crowd, for the benchmark and the tests of the association.

A seed fixes everything. The people walk, turn, come and go, hide behind one another, are missed or
mistaken; some look alike and walk side by side, so that neither position nor embedding alone tells
them apart. The numbers resemble a pedestrian video at 30 frames per second; they come from no data
set and say nothing about accuracy on one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from jdetrt.errors import ConfigError
from jdetrt.types import Detections

__all__ = ["crowd", "frame_size", "labelled_crowd"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

FULL = 60  # people in one image at the density of the paper's crowded sequence (61 a frame)
HEIGHTS = (40.0, 300.0)  # pixels
LOG_HEIGHTS = math.log(HEIGHTS[0]), math.log(HEIGHTS[1])
LONGEST_GAP = 40  # frames behind something
STRIDE = 0.027  # heights a frame: 1.4 m/s for 1.7 m at 30 frames a second
RETIRE = 0.001  # chance per frame to leave through a door


def frame_size(targets: int, size: tuple[int, int] = (1920, 1080)) -> tuple[float, float]:
    """Width and height in pixels of the frame that ``targets`` people walk in.

    It is ``size`` up to 60 people. Beyond, the area of the frame grows with their number while they
    keep their size in pixels, so that the density stays that of 60 people.

    >>> frame_size(20), frame_size(240)
    ((1920.0, 1080.0), (3840.0, 2160.0))
    """
    scale = max(1.0, targets / FULL) ** 0.5
    return size[0] * scale, size[1] * scale


def crowd(
    targets: int,
    frames: int,
    seed: int,
    *,
    embedding_dim: int | None = 512,
    size: tuple[int, int] = (1920, 1080),
    missed: float = 0.05,
    false_alarms: float = 0.05,
    hiding: float = 0.008,
    look_alikes: float = 0.15,
    spoilt: float = 0.03,
) -> Iterator[Detections]:
    """Detections of a crowd, about ``targets`` in a frame.

    Boxes and scores do not depend on ``embedding_dim``. The detections of a frame are in descending
    order of score, as from NMS. Scores are hundredths from 0.3 to 1, so that some are below and
    some exactly at a threshold of 0.5. With 128 dimensions or more, embeddings of one person are
    mostly 0.3 to 0.5 apart, of two people 1.2 to 1.4, of look-alikes 0.6 to 0.8 (Euclidean, between
    unit vectors, before the noise of the single detection).

    Args:
        targets: mean number of detections in a frame, with false alarms; at least 1.
        frames: number of frames.
        seed: of ``numpy.random.default_rng``.
        embedding_dim: length of the embeddings; None leaves them out.
        size: of the frame up to 60 targets, see ``frame_size``.
        missed: chance that a visible person has no detection.
        false_alarms: share of detections without a person.
        hiding: chance per frame that a person disappears for 1 to 40 frames.
        look_alikes: share of people who look like another and start beside them.
        spoilt: chance that an embedding shows mostly something else.

    Raises:
        ConfigError: a number is out of its range.
    """
    stream = labelled_crowd(
        targets,
        frames,
        seed,
        embedding_dim=embedding_dim,
        size=size,
        missed=missed,
        false_alarms=false_alarms,
        hiding=hiding,
        look_alikes=look_alikes,
        spoilt=spoilt,
    )
    return (people for people, _ in stream)


def labelled_crowd(
    targets: int,
    frames: int,
    seed: int,
    *,
    embedding_dim: int | None = 512,
    size: tuple[int, int] = (1920, 1080),
    missed: float = 0.05,
    false_alarms: float = 0.05,
    hiding: float = 0.008,
    look_alikes: float = 0.15,
    spoilt: float = 0.03,
) -> Iterator[tuple[Detections, npt.NDArray[np.int64]]]:
    """The detections of `crowd`, and who they are: ``(N,)`` from 0, -1 for a false alarm.

    Arguments and errors are those of `crowd`.
    """
    if targets < 1 or frames < 0:
        raise ConfigError(f"crowd: targets={targets} must be 1 or more, frames={frames} 0 or more")
    if embedding_dim is not None and embedding_dim < 2:
        raise ConfigError(f"crowd: embedding_dim={embedding_dim} must be 2 or more, or None")
    shares = {"missed": missed, "false_alarms": false_alarms, "hiding": hiding}
    for name, share in (shares | {"look_alikes": look_alikes, "spoilt": spoilt}).items():
        if not 0 <= share < 1:
            raise ConfigError(f"crowd: {name}={share} must be 0 or more and below 1")
    hidden = _hidden_share(hiding)
    people = max(1, round(targets * (1 - false_alarms) / ((1 - missed) * (1 - hidden))))
    walkers = _Walkers(people, frame_size(targets, size), look_alikes, hiding, seed)
    appearance = None if embedding_dim is None else _Embeddings(people, embedding_dim, spoilt, seed)
    return _film(walkers, appearance, frames, missed, false_alarms * targets)


def _film(
    walkers: _Walkers, appearance: _Embeddings | None, frames: int, missed: float, alarms: float
) -> Iterator[tuple[Detections, npt.NDArray[np.int64]]]:
    rng = walkers.rng
    names, people = np.zeros(walkers.count, np.int64), 0
    for newcomers in walkers.walk(frames):
        for row, _ in newcomers:
            names[row], people = people, people + 1
        visible = np.flatnonzero((walkers.gap == 0) & (rng.random(walkers.count) >= missed))
        mistakes = rng.poisson(alarms)
        boxes = np.concatenate([walkers.noisy_boxes(visible), walkers.stray_boxes(mistakes)])
        scores = np.concatenate(
            [0.3 + 0.7 * rng.beta(4, 2, len(visible)), rng.uniform(0.3, 0.7, mistakes)]
        ).round(2)
        order = np.argsort(-scores, kind="stable")
        embeddings = None
        if appearance is not None:
            for person, model in newcomers:
                appearance.dress(person, model)
            embeddings = appearance.embeddings(visible, mistakes)[order]
        who = np.concatenate([names[visible], np.full(mistakes, -1)])
        yield Detections(boxes[order], scores[order].astype(np.float32), embeddings), who[order]


class _Walkers:
    """Positions of the people; a new person takes the row of one who leaves."""

    def __init__(
        self, count: int, image: tuple[float, float], look_alikes: float, hiding: float, seed: int
    ) -> None:
        self.rng = np.random.default_rng([seed, 0])
        self.count = count
        self.image = np.array(image)
        self.look_alikes = look_alikes
        self.hiding = hiding
        self.centre = np.zeros((count, 2))
        self.velocity = np.zeros((count, 2))  # pixels a frame
        self.height = np.zeros(count)
        self.growth = np.zeros(count)  # relative, a frame
        self.aspect = np.zeros(count)
        self.jitter = np.zeros(count)  # of a detection, in heights
        self.gap = np.zeros(count, np.int64)  # frames still out of sight

    def walk(self, frames: int) -> Iterator[list[tuple[int, int | None]]]:
        """Step through the frames; give the new people and the people that they look like."""
        newcomers = [(i, self._appear(i)) for i in range(self.count)]
        away = np.flatnonzero(self.rng.random(self.count) < _hidden_share(self.hiding))
        self.gap[away] = self._gaps(len(away))
        for _ in range(frames):
            yield newcomers
            self._step()
            outside = ((self.centre < 0) | (self.centre > self.image)).any(axis=1)
            gone = np.flatnonzero(outside | (self.rng.random(self.count) < RETIRE))
            newcomers = [(int(i), self._enter(int(i))) for i in gone]

    def _appear(self, i: int) -> int | None:
        """Place person ``i`` of the first frame at random, or beside their look-alike."""
        rng = self.rng
        self._shape(i)
        self.centre[i] = rng.uniform(0.02, 0.98, 2) * self.image
        if i == 0 or rng.random() >= self.look_alikes:
            return None
        model = int(rng.integers(i))
        self.height[i] = self.height[model] * rng.uniform(0.93, 1.07)
        aside = rng.choice([-1, 1]) * rng.uniform(0.3, 0.9) * self.height[i]
        self.centre[i] = self.centre[model] + [aside, rng.normal(0, 0.05) * self.height[i]]
        self.centre[i] = self.centre[i].clip(0, self.image)
        self.velocity[i] = self.velocity[model]
        return model

    def _enter(self, i: int) -> int | None:
        """Let person ``i`` enter from the left or the right in place of one who left."""
        rng = self.rng
        self._shape(i)
        from_left = rng.random() < 0.5
        x = 0.0 if from_left else self.image[0]
        self.centre[i] = x, rng.uniform(0.05, 0.95) * self.image[1]
        self.velocity[i, 0] = abs(self.velocity[i, 0]) * (1 if from_left else -1)
        self.gap[i] = 0
        if self.count == 1 or rng.random() >= self.look_alikes:
            return None
        return int((i + rng.integers(1, self.count)) % self.count)

    def _shape(self, i: int) -> None:
        rng = self.rng
        self.height[i] = np.exp(rng.uniform(*LOG_HEIGHTS))
        self.aspect[i] = rng.uniform(0.35, 0.47)
        self.jitter[i] = rng.uniform(0.03, 0.05)
        self.growth[i] = 0
        angle = rng.uniform(0, 2 * np.pi)
        speed = STRIDE * self.height[i] * rng.uniform(0.2, 1.5)
        self.velocity[i] = speed * np.cos(angle), 0.4 * speed * np.sin(angle)

    def _step(self) -> None:
        rng = self.rng
        push = rng.normal(0, 0.06 * STRIDE, (self.count, 2)) * self.height[:, None]
        self.velocity = 0.998 * self.velocity + push
        self.centre += self.velocity
        self.growth = 0.95 * self.growth + rng.normal(0, 3e-4, self.count)
        self.height = (self.height * np.exp(self.growth)).clip(*HEIGHTS)
        hide = (self.gap == 0) & (rng.random(self.count) < self.hiding)
        self.gap = np.where(hide, self._gaps(self.count), np.maximum(self.gap - 1, 0))

    def _gaps(self, n: int) -> npt.NDArray[np.int64]:
        """Lengths of gaps in frames, 1 to 40, log-uniform."""
        return np.exp(self.rng.uniform(0, np.log(LONGEST_GAP + 1), n)).astype(np.int64)

    def noisy_boxes(self, who: npt.NDArray[np.int64]) -> F32:
        """Boxes xyxy ``(n, 4)`` with a detector's noise."""
        noise = self.rng.normal(size=(len(who), 4))
        height = self.height[who]
        sway = self.jitter[who] * height
        centre = self.centre[who] + noise[:, :2] * sway[:, None]
        tall = np.maximum(height + noise[:, 2] * sway, 0.5 * height)
        wide = tall * (self.aspect[who] * np.exp(0.05 * noise[:, 3]))
        return _corners(centre, wide, tall)

    def stray_boxes(self, n: int) -> F32:
        """Boxes xyxy ``(n, 4)`` of false alarms."""
        tall = np.exp(self.rng.uniform(*LOG_HEIGHTS, n))
        wide = tall * self.rng.uniform(0.3, 0.6, n)
        return _corners(self.rng.random((n, 2)) * self.image, wide, tall)


class _Embeddings:
    """Embeddings of the people: unit vectors in float32."""

    def __init__(self, count: int, dim: int, spoilt: float, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 1])
        self.spoilt = spoilt
        self.identity = np.zeros((count, dim), np.float32)
        self.common = self._directions(1)[0]

    def dress(self, person: int, model: int | None) -> None:
        """Give a person an embedding: their own, or that of ``model`` with a difference."""
        own = self._directions(1)[0]
        if model is None:  # what all people share brings strangers from 1.41 down to 1.2 to 1.4
            look = own + self.rng.uniform(0.2, 0.6) * self.common
        else:  # 0.6 to 0.8 apart
            look = self.identity[model] + self.rng.uniform(0.7, 1.08) * own
        self.identity[person] = look / np.linalg.norm(look)

    def embeddings(self, who: npt.NDArray[np.int64], strangers: int) -> F32:
        """Embeddings of detections of ``who`` ``(n,)``, then of ``strangers`` false alarms."""
        noise = self._directions(len(who) + strangers)
        blur = self.rng.uniform(0.22, 0.38, len(who))
        blur[self.rng.random(len(who)) < self.spoilt] = 1.5
        noise[: len(who)] *= blur.astype(np.float32)[:, None]
        noise[: len(who)] += self.identity[who]
        return _units(noise)

    def _directions(self, n: int) -> F32:
        return _units(self.rng.standard_normal((n, self.identity.shape[1]), dtype=np.float32))


def _hidden_share(hiding: float) -> float:
    """Share of the people out of sight, when ``hiding`` of those in sight go each frame."""
    lengths = np.arange(1, LONGEST_GAP + 1)
    mean = float((lengths * np.log1p(1 / lengths)).sum() / np.log(LONGEST_GAP + 1))
    return hiding * mean / (1 + hiding * mean)


def _corners(centre: F64, wide: F64, tall: F64) -> F32:
    half = np.stack([wide, tall], axis=1) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _units(vectors: F32) -> F32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
