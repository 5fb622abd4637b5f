"""Read the seqinfo.ini of a MOT sequence."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from jdetrt.errors import DataError
from jdetrt.inputs import read_text
from jdetrt.runtime.sources.rate import ASSUMED, HIGHEST, parse_rate

__all__ = ["LAST_FRAME", "SequenceInfo", "read_seqinfo"]

_LARGEST = 64 << 10  # bytes
_LONGEST_SIDE = 65535  # pixels, of a JPEG
_FOLDER = re.compile(r"[^/\\\0][^\\\0]*")
_EXTENSION = re.compile(r"\.*[A-Za-z0-9]{1,8}")
LAST_FRAME = 1_000_000  # nine hours at 30 frames a second; beyond it stands a typing error


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """Contents of a seqinfo.ini.

    Attributes:
        name: of the sequence, which need not be its folder's; the folder's where it says none.
        frame_rate: frames per second; 30 where it says none.
        length: number of frames.
        size: width and height in pixels, or None where it does not say.
        image_dir: folder of the images, inside the sequence's.
        extension: of the images, with its dot.
        notes: sentences on what was assumed.
    """

    name: str
    frame_rate: float
    length: int
    size: tuple[int, int] | None
    image_dir: str
    extension: str
    notes: tuple[str, ...] = ()


def read_seqinfo(path: str | Path) -> SequenceInfo:
    """Read the seqinfo.ini of a MOT sequence.

    Args:
        path: the file, or the folder of the sequence.

    Raises:
        DataError: the file is missing or no INI file; a key is missing, no number or not above 0.
    """
    path = Path(path)
    if path.is_dir():
        path /= "seqinfo.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, DataError, largest=_LARGEST))
    except configparser.Error as err:
        reason = str(err).splitlines()[0]
        raise DataError(f"{path}: expected an INI file with [Sequence] ({reason})") from err
    sections = [name for name in parser.sections() if name.strip().lower() == "sequence"]
    if not sections:
        raise DataError(f"{path}: has no section [Sequence]")
    section = parser[sections[0]]

    def number(key: str, most: int = LAST_FRAME) -> float:
        text = section.get(key, "").strip()
        try:
            value = 0.0 if "_" in text else float(text)
        except ValueError:
            value = 0.0
        if not 1 <= value <= most or value % 1:
            raise DataError(
                f"{path}: expected a number above 0 (at most {most:,}) for {key}, "
                f"got {_short(text)}"
            )
        return value

    def inside(key: str, default: str, form: re.Pattern[str]) -> str:
        value = section.get(key, "").strip() or default
        if not form.fullmatch(value) or ".." in PurePath(value).parts:
            raise DataError(
                f"{path}: expected a name inside the folder of the sequence for {key}, "
                f"got {value[:40]!r}"
            )
        return value

    notes: tuple[str, ...] = ()
    frame_rate = ASSUMED
    if "frameRate" in section:
        text = section["frameRate"].strip()
        try:
            frame_rate = parse_rate(text)
        except DataError:
            raise DataError(
                f"{path}: expected a number above 0 (at most {HIGHEST:,g}), such as 25 or "
                f"30000/1001, for frameRate, got {_short(text)}"
            ) from None
    else:
        notes = (f"{path}: states no frameRate; {ASSUMED:g} FPS are assumed",)
    has_size = "imWidth" in section and "imHeight" in section
    sides = [int(number(key, _LONGEST_SIDE)) for key in ("imWidth", "imHeight") if has_size]
    return SequenceInfo(
        name=section.get("name", "").strip() or path.resolve().parent.name,
        frame_rate=frame_rate,
        length=int(number("seqLength")),
        size=(sides[0], sides[1]) if has_size else None,
        image_dir=inside("imDir", "img1", _FOLDER),
        extension="." + inside("imExt", "jpg", _EXTENSION).lstrip("."),
        notes=notes,
    )


def _short(text: str) -> str:
    return " ".join(text.split())[:40] or "nothing"
