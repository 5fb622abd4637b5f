"""The Kalman filter of the trackers, for all tracks at once.

State ``(x, y, a, h, vx, vy, va, vh)``: box centre, aspect ratio width / height, height, in source
pixels, and their velocities a frame. Motion is constant velocity; the four box values are measured
directly (paper section 3.6; noise figures from
Towards-Realtime-MOT e9fa1e8, utils/kalman_filter.py).

Nothing couples one box value with another: the first covariance is diagonal, the motion links a
value with its own velocity alone, and all noise is diagonal. The 8x8 covariance is therefore four
2x2 blocks at every step, the innovation covariance is diagonal, and no matrix is ever factorised.
A covariance is stored as ``(4, 3)``: for each of x, y, a, h the variance of the value, its
covariance with its velocity, and the variance of the velocity. tests/runtime/test_kalman.py holds
this equal to the full 8x8 filter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel

__all__ = [
    "REFERENCE_NOISE",
    "boxes_of",
    "gating_distance",
    "initiate",
    "mahalanobis",
    "predict",
    "project",
    "update",
    "warp",
]

_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]

# Standard deviations: of position and velocity as parts of the height h, of the aspect ratio and
# its velocity absolute; then of the measurement: position as a part of h, aspect ratio absolute.
# A noise array holds these six; this one is the reference's.
REFERENCE_NOISE = np.array([1.0 / 20.0, 1.0 / 160.0, 1e-2, 1e-5, 1.0 / 20.0, 1e-1])


@kernel
def initiate(mean: _F64, cov: _F64, slots: _I64, xyah: _F64, rows: _I64, noise: _F64) -> None:
    """Start tracks from measurements, in place.

    Args:
        mean: ``(S, 8)`` states of all slots.
        cov: ``(S, 4, 3)`` covariances of all slots.
        slots: ``(K,)`` slots to fill.
        xyah: ``(N, 4)`` measurements: centre x, centre y, aspect ratio, height.
        rows: ``(K,)`` the measurement of each slot.
        noise: ``(6,)`` see ``REFERENCE_NOISE``.
    """
    for k in range(len(slots)):
        s = slots[k]
        z = xyah[rows[k]]
        position = 2.0 * noise[0] * z[3]
        velocity = 10.0 * noise[1] * z[3]
        for i in range(4):
            mean[s, i] = z[i]
            mean[s, i + 4] = 0.0
            aspect = i == 2
            p = noise[2] if aspect else position
            v = noise[3] if aspect else velocity
            cov[s, i, 0] = p * p
            cov[s, i, 1] = 0.0
            cov[s, i, 2] = v * v


@kernel
def predict(mean: _F64, cov: _F64, slots: _I64, noise: _F64, frames: float) -> None:
    """Move the tracks in ``slots`` on, in place; the noise is that of the old height.

    A step of a whole number of frames is as much as so many steps of one frame: the noise that the
    velocity gathers on the way goes into the position too.

    Args:
        mean: ``(S, 8)`` states of all slots.
        cov: ``(S, 4, 3)`` covariances of all slots.
        slots: ``(K,)`` the tracks.
        noise: ``(6,)`` see ``REFERENCE_NOISE``.
        frames: the time step in frames, 0 or more.
    """
    further = max(frames - 1.0, 0.0)
    shared = frames * further / 2.0  # 0 + 1 + ... + (frames - 1)
    squares = shared * (2.0 * frames - 1.0) / 3.0  # 0 + 1 + 4 + ... + (frames - 1) ** 2
    for k in range(len(slots)):
        s = slots[k]
        h = mean[s, 3]
        for i in range(4):
            aspect = i == 2
            p = noise[2] if aspect else noise[0] * h
            v = noise[3] if aspect else noise[1] * h
            value = mean[s, i]
            mean[s, i] += frames * mean[s, i + 4]
            if frames > 1.0 and i >= 2:  # over a long step a trend of the shape says nothing
                mean[s, i] = min(max(mean[s, i], 0.5 * value), 2.0 * value)
            cov[s, i, 0] += (
                2.0 * frames * cov[s, i, 1]
                + frames * frames * cov[s, i, 2]
                + (frames * p * p + squares * v * v)
            )
            cov[s, i, 1] += frames * cov[s, i, 2] + shared * v * v
            cov[s, i, 2] += frames * v * v


@kernel
def warp(mean: _F64, cov: _F64, slots: _I64, motion: _F64) -> None:
    """Move the tracks in ``slots`` as the camera moved the image, in place.

    Positions go through the motion, velocities through its linear part, heights by its zoom. Of the
    covariances, x and y are mixed by the squares of the rotation; what couples the two is left out,
    as a camera hardly turns about its axis.

    Args:
        mean: ``(S, 8)`` states of all slots.
        cov: ``(S, 4, 3)`` covariances of all slots.
        slots: ``(K,)`` the tracks.
        motion: ``(2, 3)`` takes ``(x, y, 1)`` of the frame before to its place in this one.
    """
    a, b, c, d = motion[0, 0], motion[0, 1], motion[1, 0], motion[1, 1]
    square = abs(a * d - b * c)
    zoom = np.sqrt(square)
    for k in range(len(slots)):
        s = slots[k]
        for i in (0, 4):
            x, y = mean[s, i], mean[s, i + 1]
            mean[s, i] = a * x + b * y
            mean[s, i + 1] = c * x + d * y
        mean[s, 0] += motion[0, 2]
        mean[s, 1] += motion[1, 2]
        mean[s, 3] *= zoom
        mean[s, 7] *= zoom
        for j in range(3):
            p, q = cov[s, 0, j], cov[s, 1, j]
            cov[s, 0, j] = a * a * p + b * b * q
            cov[s, 1, j] = c * c * p + d * d * q
            cov[s, 3, j] *= square


@kernel
def project(mean: _F64, cov: _F64, slot: int, noise: _F64, variance: _F64) -> None:
    """Write the four innovation variances of one track to ``variance`` ``(4,)``.

    The projected mean is ``mean[slot, :4]`` itself.
    """
    for i in range(4):
        r = noise[5] if i == 2 else noise[4] * mean[slot, 3]
        variance[i] = cov[slot, i, 0] + r * r


@kernel
def update(mean: _F64, cov: _F64, slots: _I64, xyah: _F64, rows: _I64, noise: _F64) -> None:
    """Correct the tracks in ``slots`` with the measurements ``xyah[rows]``, in place."""
    variance = np.empty(4)
    for k in range(len(slots)):
        s = slots[k]
        z = xyah[rows[k]]
        project(mean, cov, s, noise, variance)
        for i in range(4):
            innovation = z[i] - mean[s, i]
            gain = cov[s, i, 0] / variance[i]
            velocity_gain = cov[s, i, 1] / variance[i]
            mean[s, i] += gain * innovation
            mean[s, i + 4] += velocity_gain * innovation
            cov[s, i, 2] -= velocity_gain * cov[s, i, 1]
            cov[s, i, 1] -= gain * cov[s, i, 1]
            cov[s, i, 0] -= gain * cov[s, i, 0]


@kernel
def mahalanobis(mean: _F64, slot: int, variance: _F64, z: _F64) -> float:
    """Squared Mahalanobis distance of a track with innovation ``variance`` to measurement ``z``."""
    total = 0.0
    for i in range(4):
        d = z[i] - mean[slot, i]
        total += d * d / variance[i]
    return total


@kernel
def gating_distance(mean: _F64, cov: _F64, slots: _I64, xyah: _F64, noise: _F64) -> _F64:
    """Squared Mahalanobis distance ``(K, N)`` of every track in ``slots`` to every measurement.

    It is compared with the 95 % point of the chi-square distribution with 4 degrees of freedom,
    9.4877. ``costs.appearance_pairs`` gates by the same numbers, but for near pairs only.
    """
    distance = np.empty((len(slots), len(xyah)))
    variance = np.empty(4)
    for k in range(len(slots)):
        project(mean, cov, slots[k], noise, variance)
        for j in range(len(xyah)):
            distance[k, j] = mahalanobis(mean, slots[k], variance, xyah[j])
    return distance


@kernel
def boxes_of(mean: _F64, slots: _I64) -> _F64:
    """Boxes ``(K, 4)`` x1 y1 x2 y2 of the tracks in ``slots``."""
    boxes = np.empty((len(slots), 4))
    for k in range(len(slots)):
        m = mean[slots[k]]
        w = m[2] * m[3]
        boxes[k, 0] = m[0] - w / 2.0
        boxes[k, 1] = m[1] - m[3] / 2.0
        boxes[k, 2] = boxes[k, 0] + w
        boxes[k, 3] = boxes[k, 1] + m[3]
    return boxes
