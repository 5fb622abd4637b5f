"""Names of images in a download, which may not lead out of its folder or out of the data set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from jdetrt.errors import DataError

__all__ = ["check_inside", "inner_name", "one_line"]

_LONGEST = 200  # characters


def inner_name(name: object, where: object) -> str:
    """Give the name of an image as text; refuse one that is absolute or climbs with ``..``.

    Args:
        name: as a file of the download has it, with ``/`` between folders.
        where: that file, for the message.

    Raises:
        DataError: it is refused.

    >>> inner_name("berlin/000001.png", "a.mat")
    'berlin/000001.png'
    """
    text = str(name)
    parts = {*PurePosixPath(text).parts, *PureWindowsPath(text).parts}
    anchored = text.startswith("/") or PureWindowsPath(text).anchor
    if not text.strip() or anchored or ".." in parts or not text.isprintable():
        raise DataError(
            f"{where}: names the image {text[:60]!r}, which leads out of the folder; nothing is "
            "read or written there. Download the data set again from its source"
        )
    return text


def one_line(fault: object) -> str:
    """Words of an error or a file for a message: on one line, and not endless."""
    text = " ".join(str(fault).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def check_inside(path: Path, folder: Path, where: object) -> None:
    """Refuse a path that symbolic links lead out of a folder. Raises DataError."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{where}: {path} is, by a link, outside of {folder}; put the images there, not a link"
        )
