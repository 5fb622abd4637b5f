"""Files of ``torch.save``, read without running any code in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from jdetrt.errors import CheckpointError

__all__ = ["outline", "read_torch"]


def read_torch(path: Path) -> object:
    """Read a file of tensors and plain values.

    Raises:
        CheckpointError: the file is cut short or damaged, or holds something else.
    """
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
        reason = str(err).split(". ")[0].strip() or type(err).__name__
        raise CheckpointError(
            f"{path}: is cut short or damaged ({path.stat().st_size} bytes: {reason}); "
            "copy or download it again"
        ) from err
    return content


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
