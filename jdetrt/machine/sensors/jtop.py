"""jtop (package jetson-stats), where the user has installed it and its service.

It is under the AGPL, so it is never a dependency: it is imported where it is installed.
"""

from __future__ import annotations

from typing import Any

from jdetrt.machine.sensors.base import AbsentError, Reading, measured

__all__ = ["Jtop", "open_jtop"]


class Jtop:
    """A connection to jtop's service. Implements ``Sensor``.

    Args:
        client: a ``jtop.jtop`` that is not started, or something like it.

    Raises:
        AbsentError: the service does not answer.
    """

    name = "jtop"
    scope = "module"

    def __init__(self, client: Any) -> None:
        self._client = client
        try:
            client.start()
        except Exception as err:  # jtop's own errors share no base but Exception
            raise AbsentError(f"its service does not answer: {err}") from err

    def read(self) -> Reading | None:
        """Latest reading of the service."""
        power = self._client.power
        total = power.get("tot", {}).get("power")
        return Reading(
            watts=None if total is None else total / 1e3,
            rails={name: rail["power"] / 1e3 for name, rail in power.get("rail", {}).items()},
            celsius=measured(
                {
                    name: float(one["temp"])
                    for name, one in self._client.temperature.items()
                    if one.get("online", True)
                }
            ),
            mhz={
                name: one["freq"]["cur"] / 1e3
                for name, one in self._client.gpu.items()
                if "cur" in one.get("freq", {})
            },
        )

    def close(self) -> None:
        """Leave the service."""
        self._client.close()


def open_jtop() -> Jtop:
    """Connect. Raises AbsentError."""
    try:
        import jtop
    except ImportError as err:
        raise AbsentError("not installed") from err
    return Jtop(jtop.jtop())
