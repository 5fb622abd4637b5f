"""The learning rate of every step, as a function of nothing but its number."""

from __future__ import annotations

import math

from jdetrt.training.recipe import ScheduleConfig

__all__ = ["rate"]

_BURN_IN_POWER = 4  # reference train.py
_DROP = 0.1  # paper section 4.2


def rate(config: ScheduleConfig, step: int, steps_per_epoch: int) -> float:
    """Share of the base learning rate for a step.

    Args:
        config: the schedule.
        step: from 0, over all epochs.
        steps_per_epoch: 1 or more.

    The burn-in is part of the first epoch, as in the reference: there the share is
    ``(step / burn_in) ** 4``. A fall in steps takes whole epochs; a cosine goes from 1 to
    ``config.final``, step by step.

    >>> config = ScheduleConfig(epochs=30, burn_in=0)
    >>> [round(rate(config, 10 * epoch, 10), 6) for epoch in (0, 14, 15, 21, 22, 29)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    epoch = step // steps_per_epoch
    burn_in = min(config.burn_in, steps_per_epoch)
    start = (step / burn_in) ** _BURN_IN_POWER if step < burn_in else 1.0
    if config.fall == "cosine":
        done = step / (config.epochs * steps_per_epoch)
        share = config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    else:
        drops = sum(epoch >= int(part * config.epochs) for part in config.steps)
        share = _DROP**drops
    return start * share
