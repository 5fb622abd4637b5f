"""Caltech Pedestrian (Dollar et al., CVPR 2009 and PAMI 2012): video from a car, 640x480.

Layout: a folder with the annotations, ``annotations/setXX/VYYY.vbb`` (or ``annotations.json``,
often made from them), and the images: the videos ``setXX/VYYY.seq`` of the download, or their
frames, ``images/setXX_VYYY_N.png`` or ``setXX/VYYY/N.jpg``, N from 0, with or without ``I`` and
zeros before it. Frames of a video keep their JPEG bytes.

Sets 00 to 05 are for training; the reference validates on 06 to 10, the benchmark's test sets.
Labels are the boxes of ``person``, of the whole body even where it is hidden, with the object of
the annotation as identity. ``people`` (groups), ``person?`` and ``person-fa`` are left out.

Most frames are empty or show people of a few pixels, and the reference lists 26 738 of 128 000 by
an unpublished rule. The rule here: a frame is taken if one of its people is in the benchmark's
"reasonable" set, at least 50 pixels high and 65 % visible (PAMI 2012, section 3.2). All people of
such a frame are labelled, so that no network learns the small and hidden ones as background.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jdetrt.documents import decode_json
from jdetrt.errors import DataError
from jdetrt.inputs import read_bytes
from jdetrt.training.convert.matlab import as_boxes, as_list, read_mat
from jdetrt.training.convert.names import inner_name, one_line
from jdetrt.training.convert.writer import LabelledImage

__all__ = ["caltech", "read_seq"]

_SETS = {"train": range(6), "val": range(6, 11)}
_PERSON = "person"
_HEIGHT, _VISIBLE = 50, 0.65  # of the "reasonable" set
_FRAME = re.compile(r"(?:(set\d\d)_(V\d\d\d)_)?I?(\d+)\.(?:png|jpe?g)")

# A NorPix .seq file: a header of 1024 bytes (little-endian), then for each frame its size with this
# field (uint32), the JPEG, and a time stamp of 8 bytes, in some versions 16.
_HEADER = 1024
_MAGIC = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")
_FORMAT, _COUNT = 568, 572  # offsets of the image format and the number of frames, uint32
_JPEG_FORMATS = (102, 201)
_START_OF_JPEG = b"\xff\xd8"
_GAPS = (8, 16)  # bytes between a JPEG and the size of the next


@dataclass(frozen=True, slots=True)
class _Person:
    """A ``person`` in a frame."""

    identity: int  # object of the annotation
    box: tuple[float, ...]  # left, top, width, height
    visibility: float  # 0 to 1

    def is_reasonable(self) -> bool:
        return self.box[3] >= _HEIGHT and self.visibility >= _VISIBLE


_Frames = dict[int, list[_Person]]  # by number, from 0


def caltech(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Frames of a split with a reasonably visible person. Raises DataError."""
    names = [f"set{number:02d}" for number in _SETS[split]]
    videos = dict(_annotations(raw, names))
    if not videos:
        raise DataError(
            f"{raw}: expected annotations of {names[0]} to {names[-1]}, as "
            f"annotations/{names[0]}/V000.vbb or in annotations.json"
        )
    extracted = _extracted(raw, names)
    for (set_name, video), frames in videos.items():
        chosen = {
            number: people
            for number, people in sorted(frames.items())
            if any(person.is_reasonable() for person in people)
        }
        if not chosen:
            continue
        sources = _sources(raw, set_name, video, extracted)
        for number, people in chosen.items():
            source = sources.get(number)
            if source is None:
                raise DataError(
                    f"{raw}: {set_name} {video} has people in frame {number} (from 0), and no such "
                    f"frame in {set_name}/{video}.seq, images/ or {set_name}/{video}/"
                )
            suffix = ".jpg" if isinstance(source, bytes) else source.suffix
            yield LabelledImage(
                name=f"{set_name}_{video}_{number}{suffix}",
                source=source,
                boxes=as_boxes([person.box for person in people]),
                people=tuple((set_name, video, person.identity) for person in people),
            )


def _sources(
    raw: Path, set_name: str, video: str, extracted: Mapping[tuple[str, str], dict[int, Path]]
) -> Mapping[int, Path | bytes]:
    path = raw / set_name / f"{video}.seq"
    if path.exists():
        return dict(enumerate(read_seq(path)))
    return extracted.get((set_name, video), {})


def _extracted(raw: Path, names: list[str]) -> dict[tuple[str, str], dict[int, Path]]:
    """Frames that are files, by video and number."""
    frames: dict[tuple[str, str], dict[int, Path]] = {}
    folders = [raw / "images", *(path for name in names for path in (raw / name).glob("V*/"))]
    for folder in folders:
        for path in folder.glob("*.*"):
            name = _FRAME.fullmatch(path.name)
            if name is None:
                continue
            key = (name[1], name[2]) if name[1] else (folder.parent.name, folder.name)
            frames.setdefault(key, {})[int(name[3])] = path
    return frames


def _annotations(raw: Path, names: list[str]) -> Iterator[tuple[tuple[str, str], _Frames]]:
    whole = raw / "annotations.json"
    if whole.exists():
        yield from _from_json(whole, names)
        return
    for name in names:
        for path in sorted((raw / "annotations" / name).glob("V*.vbb")):
            yield (name, path.stem), _from_vbb(path)


def _from_vbb(path: Path) -> _Frames:
    """Read a .vbb, a MATLAB file with the struct A: objLists (by frame) and objLbl (by object)."""
    video = read_mat(path, "A")
    try:
        labels = [str(label) for label in as_list(video["objLbl"])]
        return {
            number: [
                _person(one) for one in as_list(objects) if labels[int(one["id"]) - 1] == _PERSON
            ]
            for number, objects in enumerate(as_list(video["objLists"]))
        }
    except (KeyError, TypeError, ValueError, IndexError) as err:
        raise DataError(
            f"{path}: expected A with objLbl and objLists of id, pos, occl and posv "
            f"({one_line(repr(err))})"
        ) from err


def _from_json(path: Path, names: list[str]) -> Iterator[tuple[tuple[str, str], _Frames]]:
    """Read sets of videos with ``frames``: objects (lbl, id, pos, occl, posv) by number."""
    try:
        sets = decode_json(read_bytes(path, DataError), dict[str, Any])
        for set_name in (name for name in names if name in sets):
            for video, annotation in sorted(sets[set_name].items()):
                inner_name(video, path)
                frames = {
                    int(number): [_person(one) for one in objects if one["lbl"] == _PERSON]
                    for number, objects in annotation["frames"].items()
                }
                yield (set_name, video), frames
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
        raise DataError(
            f"{path}: expected sets, videos and frames of objects with lbl, id, pos, occl, posv "
            f"({one_line(repr(err))})"
        ) from err


def _person(entry: Mapping[str, Any]) -> _Person:
    """Convert an annotation. Raises KeyError, TypeError or ValueError if it is malformed."""
    (box,) = as_boxes(np.ravel(entry["pos"])).tolist()
    visible = np.asarray(entry["posv"], np.float64).ravel().tolist()
    visibility = _visibility(box, visible) if entry["occl"] else 1.0
    return _Person(int(entry["id"]), tuple(box), visibility)


def _visibility(box: list[float], visible: list[float]) -> float:
    """Visible share of an occluded person.

    As in the benchmark's code a visible box of zeros means all of it, one equal to the box nothing.
    """
    if not any(visible):
        return 1.0
    area = box[2] * box[3]
    if visible == box or area == 0:
        return 0.0
    return visible[2] * visible[3] / area


def read_seq(path: str | Path) -> list[bytes]:
    """Read the frames of a ``.seq`` file, each as the bytes of its JPEG.

    Raises:
        DataError: the file is missing, truncated, of another format, or without JPEG frames.
    """
    data = read_bytes(Path(path), DataError)
    if len(data) < _HEADER or not data.startswith(_MAGIC):
        raise DataError(f"{path}: not a .seq video (it has no NorPix header)")
    (image_format,) = struct.unpack_from("<I", data, _FORMAT)
    if image_format not in _JPEG_FORMATS:
        raise DataError(
            f"{path}: expected JPEG frames (format {' or '.join(map(str, _JPEG_FORMATS))}), "
            f"it has format {image_format}"
        )
    (count,) = struct.unpack_from("<I", data, _COUNT)
    frames: list[bytes] = []
    position, gap = _HEADER, _GAPS[0]
    for number in range(count):
        if number == 1:
            gap = next((one for one in _GAPS if _is_frame(data, position + one)), gap)
        start = position + (gap if number else 0)
        if not _is_frame(data, start):
            raise DataError(
                f"{path}: frame {number + 1} of {count} is missing or not a JPEG; the file is "
                "truncated or damaged: download it again"
            )
        (size,) = struct.unpack_from("<I", data, start)
        position = start + size
        frames.append(data[start + 4 : position])
    return frames


def _is_frame(data: bytes, start: int) -> bool:
    """Tell whether a size is at ``start`` and a JPEG of that size follows."""
    if data[start + 4 : start + 6] != _START_OF_JPEG:
        return False
    return start + int.from_bytes(data[start : start + 4], "little") <= len(data)
