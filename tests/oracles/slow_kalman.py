"""The Kalman filter of the reference tracker, one 8 x 8 matrix at a time.

Written from a description of Towards-Realtime-MOT e9fa1e8 utils/kalman_filter.py, to test the fast
version against. State: centre x, centre y, aspect w/h, height, and the velocity of each; a step is
one frame. All noise is a fraction of the height that the state holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

F64 = npt.NDArray[np.float64]

POSITION = 1 / 20
VELOCITY = 1 / 160
GATE = 9.4877  # 95 % of chi-square with 4 degrees of freedom

MOTION = np.eye(8) + np.eye(8, k=4)  # every coordinate gains its velocity
OBSERVE = np.eye(4, 8)  # velocities are not seen


def initiate(measurement: F64) -> tuple[F64, F64]:
    """Mean (8,) and covariance (8, 8) of a state seen once, at ``measurement`` (x, y, a, h)."""
    h = measurement[3]
    mean = np.concatenate([measurement, np.zeros(4)])
    at = 2 * POSITION * h
    going = 10 * VELOCITY * h
    return mean, np.diag(np.square([at, at, 1e-2, at, going, going, 1e-5, going]))


def predict(mean: F64, covariance: F64) -> tuple[F64, F64]:
    """The state one frame later; the noise is that of the height before the step."""
    h = mean[3]
    at = POSITION * h
    going = VELOCITY * h
    noise = np.diag(np.square([at, at, 1e-2, at, going, going, 1e-5, going]))
    return MOTION @ mean, MOTION @ covariance @ MOTION.T + noise


def project(mean: F64, covariance: F64) -> tuple[F64, F64]:
    """Mean (4,) and covariance (4, 4) of the measurement that the state expects."""
    at = POSITION * mean[3]
    noise = np.diag(np.square([at, at, 1e-1, at]))
    return OBSERVE @ mean, OBSERVE @ covariance @ OBSERVE.T + noise


def update(mean: F64, covariance: F64, measurement: F64) -> tuple[F64, F64]:
    """The state after ``measurement`` (x, y, a, h)."""
    expected, spread = project(mean, covariance)
    factor = scipy.linalg.cho_factor(spread, lower=True)
    gain = scipy.linalg.cho_solve(factor, OBSERVE @ covariance).T  # P H' S^-1
    return mean + gain @ (measurement - expected), covariance - gain @ spread @ gain.T


def gating_distance(mean: F64, covariance: F64, measurements: F64) -> F64:
    """Squared Mahalanobis distance (N,) from the state to each of ``measurements`` (N, 4)."""
    expected, spread = project(mean, covariance)
    root = scipy.linalg.cholesky(spread, lower=True)
    whitened = scipy.linalg.solve_triangular(root, (measurements - expected).T, lower=True)
    return np.asarray((whitened**2).sum(axis=0))
