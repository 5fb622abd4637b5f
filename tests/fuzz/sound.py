"""Sound values: finite numbers, shapes and ranges as the types say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import torch

__all__ = ["all_of", "finite", "within"]

_LARGEST = 1e30  # numbers of ours are smaller, whatever they count or measure


def finite(value: Any) -> str | None:
    """Tell where a number is not finite, or absurdly large."""
    return next(_numbers(value, "value", 0), None)


def _numbers(value: Any, place: str, depth: int) -> Iterator[str]:
    if depth > 100:
        yield f"{place}: nested without an end"
    elif isinstance(value, (float, int)) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) > _LARGEST:
            yield f"{place}: {value}"
    elif isinstance(value, np.ndarray):
        if value.dtype.kind in "fc" and not np.isfinite(value).all():
            yield f"{place}: not finite"
    elif isinstance(value, torch.Tensor):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            yield f"{place}: not finite"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{place}[{key!r}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _numbers(inner, f"{place}[{index}]", depth + 1)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _numbers(getattr(value, name), f"{place}.{name}", depth + 1)
    elif dataclasses.is_dataclass(value):
        for one in dataclasses.fields(value):
            yield from _numbers(getattr(value, one.name), f"{place}.{one.name}", depth + 1)


def within(low: float, value: float, high: float, name: str) -> str | None:
    """Tell whether a number leaves its range."""
    return None if low <= value <= high else f"{name}: {value}"


def all_of(*rules: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    """The first fault that a rule finds."""

    def fault(value: Any) -> str | None:
        return next((found for rule in rules if (found := rule(value)) is not None), None)

    return fault
