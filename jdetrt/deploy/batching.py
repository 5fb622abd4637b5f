"""Batching of a server by measured times of the network."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["preferred_sizes", "queue_delay_us"]

_GAIN = 1.05  # in images a second, for which a larger batch is worth its longer wait


def preferred_sizes(milliseconds: Mapping[int, float]) -> tuple[int, ...]:
    """Choose the sizes of batches that give more images a second than all smaller ones.

    Args:
        milliseconds: of a run of the network, by its number of images; 1 is among them.

    Returns:
        Sizes above 1, rising; none where no batch gains 5 %.

    >>> preferred_sizes({1: 10.0, 2: 19.8, 4: 30.0, 8: 80.0})
    (4,)
    """
    best, sizes = 1e3 / milliseconds[1], []
    for size in sorted(size for size in milliseconds if size > 1):
        rate = 1e3 * size / milliseconds[size]
        if rate >= _GAIN * best:
            best = rate
            sizes.append(size)
    return tuple(sizes)


def queue_delay_us(milliseconds: Mapping[int, float]) -> int:
    """Choose the microseconds that a request waits for others: half of a run with one image.

    A longer wait costs a lonely request more than a batch can save it; where batches were measured
    and gain nothing, none waits.
    """
    if len(milliseconds) > 1 and not preferred_sizes(milliseconds):
        return 0
    return round(1e3 * milliseconds[1] / 2)
