"""Find the plan of a model for this TensorRT and this GPU in the cache folder, or build it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec

from jdetrt.engine import onnx_file
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder import build_plan
from jdetrt.engine.tensorrt.cache_folder import cache_folder, locked
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.plan import Host, open_plan
from jdetrt.errors import PlanMismatchError, SessionError
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["find_or_build"]

_log = logging.getLogger(__name__)


def find_or_build(
    trt: TensorRt,
    model: Path,
    options: BuildOptions | None = None,
    *,
    progress: Progress = NO_PROGRESS,
) -> Path:
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
        JdetrtError: as `jdetrt.engine.tensorrt.builder.build_plan` does.
    """
    options = options or BuildOptions()
    announce = _log.info if progress is NO_PROGRESS else progress.message
    device = current_device()
    if device is None:
        raise SessionError(
            f"{trt.backend} needs an NVIDIA GPU, but this machine has no GPU or no driver; "
            f"`jdetrt doctor` says what is missing. ONNX Runtime runs the model without a GPU"
        )
    here = Host.here(trt, device)
    digest = onnx_file.fingerprint(model)
    plan = cache_folder() / "plans" / f"{model.stem[:60]}-{_key(digest, options, here)}.plan"
    with locked(plan):
        try:
            sidecar, _ = open_plan(plan, here)
            if sidecar.model.sha256 != digest:  # the file changed just before it was built
                raise PlanMismatchError(
                    f"{plan}: was built from a different version of {model.name}."
                )
        except SessionError:
            announce(f"No plan of {model.name} for {here} yet: building {plan}")
        except PlanMismatchError as err:
            announce(f"{err}\nBuilding it again.")
        else:
            announce(f"Using the plan {plan}")
            return plan
        built = build_plan(trt, model, plan, options, progress=progress)
        announce(f"Built in {built.build_seconds:.0f} s")
    return plan


def _key(digest: str, options: BuildOptions, here: Host) -> str:
    tied = msgspec.structs.replace(here, cuda=None, l4t=None, jetpack=None)  # to the others
    facts = msgspec.json.encode((digest, options, tied))
    return hashlib.sha256(facts).hexdigest()[:16]
