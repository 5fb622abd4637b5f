"""Find the plan of a model for this TensorRT and this GPU in the cache folder, or build it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec

from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.cache_folder import cache_folder, locked
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.plan import Host, Plan
from jdetrt.errors import PlanMismatchError, SessionError
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["find_or_build"]

_log = logging.getLogger(__name__)


def find_or_build(
    trt: TensorRt,
    model: str | Path | OnnxFile,
    options: BuildOptions | None = None,
    *,
    progress: Progress = NO_PROGRESS,
) -> Plan:
    """Give the plan of a model for this machine; build it if there is none.

    Its name in the cache folder holds a hash of all that it depends on: the model's content, how it
    is built, TensorRT's version, GPU and platform. A change of any makes it another plan; a stale
    one is never used. What is found is checked like any plan, and built again if it is damaged. Of
    two processes that want the same plan, one builds and the other waits.

    Args:
        trt: what builds and runs it.
        model: an ``.onnx`` file.
        options: how it is built.
        progress: told which plan is used or built, and of the phases of a build. Without it the
            plan is logged.

    Returns:
        The plan, its sidecar beside it.

    Raises:
        SessionError: there is no GPU here.
        JdetrtError: as `jdetrt.engine.tensorrt.builder.build.build_plan` does.
    """
    options = options or BuildOptions(allow_float=True)  # nobody is there to decide
    announce = _log.info if progress is NO_PROGRESS else progress.message
    device = current_device()
    if device is None:
        raise SessionError(
            f"{trt.backend} needs an NVIDIA GPU, but this machine has no GPU or no driver; "
            f"`jdetrt doctor` says what is missing. ONNX Runtime runs the model without a GPU"
        )
    here = Host.here(trt, device)
    model = model if isinstance(model, OnnxFile) else OnnxFile(model)
    key = _key(model.sha256, options, here)
    plan = Plan(cache_folder() / "plans" / f"{model.path.stem[:60]}-{key}.plan")
    with locked(plan.path):
        try:
            plan.check(here)
            if plan.sidecar.model.sha256 != model.sha256:  # it changed just before it was built
                raise PlanMismatchError(
                    f"{plan.path}: was built from a different version of {model.path.name}."
                )
        except SessionError:
            announce(f"No plan of {model.path.name} for {here} yet: building {plan.path}")
        except PlanMismatchError as err:
            announce(f"{err}\nBuilding it again.")
        else:
            announce(f"Using the plan {plan.path}")
            return plan
        built = build_plan(trt, model, plan.path, options, progress=progress)
        announce(f"Built in {built.build_seconds:.0f} s")
    return Plan(plan.path)


def _key(digest: str, options: BuildOptions, here: Host) -> str:
    tied = msgspec.structs.replace(here, cuda=None, l4t=None, jetpack=None)  # to the others
    facts = msgspec.json.encode((digest, options, tied))
    return hashlib.sha256(facts).hexdigest()[:16]
