"""Files of ``torch.save``, read without running any code in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from jdetrt.errors import CheckpointError
from jdetrt.inputs import check_regular

__all__ = ["outline", "read_torch", "weights_in"]


# Where training programs keep weights, the likelier first.
_KEYS = ("model", "state_dict", "model_state_dict", "ema", "model_ema", "module", "weights")
_PARALLEL = "module."
_LARGEST_DECLARED = 512 << 20  # bytes, of tensors in a file that is smaller
_WRAPPER = re.compile(r"(^|\.)_orig_mod\.")


def read_torch(path: Path) -> object:
    """Read a file of tensors and plain values.

    Raises:
        CheckpointError: the file is cut short or damaged, or holds something else.
    """
    check_regular(path, CheckpointError)
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            # About a pickle protocol that torch.save does not write; what follows is an error.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            # About torch's own way to build a quantised tensor; it is refused later.
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        match = re.search(r"GLOBAL ([\w.]+)", str(err))
        what = f"wants to run or build '{match[1]}'" if match else "is no plain torch file"
        raise CheckpointError(
            f"{path}: {what}; none of its code was run. Only tensors and plain values are read. If "
            "you trust the file, load it with weights_only=False and save the weights alone: "
            "torch.save(checkpoint['model'], file), or model.state_dict() if it is a module"
        ) from err
    except (CheckpointError, MemoryError):
        raise
    except Exception as err:  # a damaged pickle raises anything: EOFError, KeyError, ...
        reason = " ".join(str(err).split(". ")[0].split())[:200] or type(err).__name__
        raise CheckpointError(
            f"{path}: is cut short or damaged ({path.stat().st_size} bytes: {reason}); "
            "copy or download it again"
        ) from err
    return content


def weights_in(content: object, path: Path) -> dict[str, object] | None:
    """Find the named tensors in what training programs save, without the prefixes of wrappers.

    They are the content itself, or lie under a key such as ``"state_dict"``, perhaps twice. Names
    lose ``module.`` (DataParallel, averaged models) and ``_orig_mod.`` (torch.compile).

    Args:
        content: of `read_torch`.
        path: the file.

    Raises:
        CheckpointError: the tensors declare far more numbers than the file has.

    Returns:
        Values by name; None where there is no tensor. Whatever else lies beside the tensors of a
        training program's own dict is left out.
    """
    for inner in (content, *_under_keys(content)):
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            state = {_WRAPPER.sub(r"\1", str(name)): value for name, value in inner.items()}
            if any(str(name).startswith(_PARALLEL) for name in inner):
                state.pop("n_averaged", None)  # of an averaged model
            while state and all(name.startswith(_PARALLEL) for name in state):
                state = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
            _check_sizes(state.values(), path)
            return state
    return None


def _check_sizes(values: Iterable[object], path: Path) -> None:
    """Refuse tensors that repeat a few stored numbers until they fill the memory."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    declared = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if declared > max(path.stat().st_size, _LARGEST_DECLARED):
        raise CheckpointError(
            f"{path}: its tensors declare {declared:,} bytes, the file has "
            f"{path.stat().st_size:,}; save the weights again, with .clone() of each"
        )


def _under_keys(content: object) -> Iterator[object]:
    level = [content]
    for _ in range(2):
        level = [
            inner[key]
            for inner in level
            if isinstance(inner, Mapping)
            for key in _KEYS
            if key in inner
        ]
        yield from level


def outline(content: object) -> str:
    """Describe the content of a file in a few words, for a message."""
    if isinstance(content, Mapping):
        keys = ", ".join(repr(key) for key in list(content)[:6])
        return f"a dict with the keys {keys}{', ...' if len(content) > 6 else ''}"
    return f"a {type(content).__name__}"


def _check_archive(path: Path) -> None:
    """Refuse an archive that torch.save did not write, before torch unpacks any of it."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # a bare pickle, as torch wrote it before 1.6
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise CheckpointError(
            f"{path}: is a TorchScript program (torch.jit.save), not weights alone; save the "
            "weights of its original model: torch.save(model.state_dict(), file)"
        )
    # torch.save compresses nothing; a compressed member may become a thousand times as large.
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise CheckpointError(
            f"{path}: is a zip archive that torch.save did not write: it would be larger "
            f"when unpacked; if it contains a checkpoint, unpack it yourself"
        )
