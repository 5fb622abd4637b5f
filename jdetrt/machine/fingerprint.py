"""One short word for a machine in a state, so that only like is compared with like.

It is made from what a manifest (``jdetrt.machine.manifest.manifest``) says of hardware, clocks,
power mode and libraries. The date, the commit and the version of this package are no part of it:
they are what a comparison is about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differences", "fingerprint"]

_OWN = ("jdetrt",)
_IDLE = ("now_mhz",)  # of a clock: it changes while nobody changes anything
_PLAIN = ("cpu", "cores", "arch", "os", "gpus", "jetson", "libraries", "locked")


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits: the same for the same machine in the same state.

    >>> board = {"cpu": "Carmel", "cores": 6, "memory_gib": 7.4, "date": "2026-11-22"}
    >>> fingerprint(board) == fingerprint({**board, "date": "2027-01-01", "memory_gib": 7.3})
    True
    >>> fingerprint(board) == fingerprint({**board, "cores": 4})
    False
    """
    text = json.dumps(_facts(manifest), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What two machines differ in, one line each; empty where their fingerprints are equal.

    >>> differences({"cpu": "Carmel", "cores": 6}, {"cpu": "Carmel", "cores": 4})
    ['cores: 6 and 4']
    """
    first, second = dict(_flat(_facts(one))), dict(_flat(_facts(other)))
    return [
        f"{name}: {_shown(first.get(name))} and {_shown(second.get(name))}"
        for name in sorted(first | second)
        if first.get(name) != second.get(name)
    ]


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    memory = manifest.get("memory_gib")
    packages = manifest.get("packages") or {}
    return {
        **{name: manifest.get(name) for name in _PLAIN},
        # A kernel takes more or less for itself: whole GiB.
        "memory_gib": None if memory is None else round(memory),
        "python": ".".join(str(manifest.get("python")).split(".")[:2]),
        "packages": {name: packages[name] for name in packages if name not in _OWN},
        "clocks": [
            {name: value for name, value in clock.items() if name not in _IDLE}
            for clock in manifest.get("clocks") or ()
        ],
    }


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{index}]")
    else:
        yield name, value


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
