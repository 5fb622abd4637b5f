"""An INT8 plan against the FP16 plan of the same network beside it: is there more work?"""

from __future__ import annotations

import logging
from pathlib import Path

from jdetrt.engine.tensorrt.describe import describe_plan
from jdetrt.engine.tensorrt.layers import Compiled
from jdetrt.engine.tensorrt.plan import Plan, Sidecar
from jdetrt.engine.tensorrt.summary import more_work, summarise
from jdetrt.errors import JdetrtError
from jdetrt.file_kind import PLAN_SUFFIXES

__all__ = ["tell_more_work"]

_log = logging.getLogger(__name__)


def tell_more_work(path: Path, sidecar: Sidecar, compiled: Compiled | None) -> None:
    """Log a warning where an INT8 plan launches or moves more than an FP16 plan in its folder.

    The folder is that of the plan, which for plans of the cache is the cache. Nothing is built.

    Args:
        path: the INT8 plan; any other is not compared.
        sidecar: its record.
        compiled: its layers; None where they are not known.
    """
    if compiled is None or "int8" not in sidecar.precision:
        return
    for other in sorted(path.parent.iterdir()):
        if other.suffix.lower() not in PLAN_SUFFIXES or other == path:
            continue
        try:
            if not _same_network(sidecar, Plan(other).sidecar):
                continue
            layers = describe_plan(other).compiled
        except JdetrtError as err:  # a file of somebody else's
            _log.info("%s is not compared with: %s", other, err)
            continue
        if layers is None:
            continue
        more = more_work(summarise(compiled), summarise(layers))
        if more is not None:
            _log.warning(
                "%s: does more than the FP16 plan %s, which may be faster: %s",
                path,
                other.name,
                more,
            )
        return


def _same_network(int8: Sidecar, other: Sidecar) -> bool:
    source = "checkpoint_sha256"
    return (
        other.precision == "fp16"
        and source in int8.metadata
        and int8.metadata[source] == other.metadata.get(source)
        and int8.inputs == other.inputs
        and int8.host == other.host
        and int8.options.compute_capabilities == other.options.compute_capabilities
    )
