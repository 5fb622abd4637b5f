"""Images as a source: a folder, a MOT sequence, a glob pattern, one image."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.errors import DataError, SourceError
from jdetrt.inputs import read_bytes
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.session import Closing
from jdetrt.runtime.sources.image_header import check_pixels, declared_size
from jdetrt.runtime.sources.rate import ASSUMED
from jdetrt.runtime.sources.seqinfo import SequenceInfo, read_seqinfo
from jdetrt.types import Frame, Size

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFolder",
    "Images",
    "folder_images",
    "natural_order",
    "read_image",
    "sequence_info",
]

_LOG = logging.getLogger(__name__)
_NAMED = 5  # unreadable images that are named

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# A marker with a segment, or the end; in a scan only FF00 (a byte FF) and restarts stand.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_LARGEST = 256 << 20  # bytes; no image is larger, so such a file is not read at all


class Images(Closing):
    """Images of one size, in natural order of their names (2 before 10).

    One that cannot be read is left out and counted; the others keep their numbers.

    Args:
        uri: what the user asked for, for messages.
        paths: of the images, at least one.
        name: of the source.
        frame_rate: frames per second.
        notes: sentences on what was assumed.

    Attributes:
        size: width and height of the first image that can be read, and so of all.
        length: number of images.
        account: of the images of the last iteration.

    Raises:
        SourceError: there is no image, or none can be read.
    """

    live = False

    def __init__(
        self,
        uri: str,
        paths: Sequence[Path],
        *,
        name: str,
        frame_rate: float = ASSUMED,
        notes: Sequence[str] = (),
    ) -> None:
        if not paths:
            raise SourceError(f"{uri}: no images found (looked for {_suffixes()})")
        self.uri = uri
        self.name = name
        self.frame_rate = frame_rate
        self.length: int | None = len(paths)
        self._paths = natural_order(paths)
        self.size: tuple[int, int] | None = _first_size(self._paths)
        self._notes = list(notes)
        self.account = Account("image")
        self._closed = False

    @classmethod
    def from_folder(cls, folder: Path, frame_rate: float | None = None) -> Images:
        """All images of a folder; of a folder with a seqinfo.ini, those that it promises.

        Raises:
            SourceError: there is no image, the seqinfo.ini is broken, or it promises another
                number of images than there are.
        """
        inside = folder_images(folder)
        # The folder's name: several copies of a sequence often carry one name in seqinfo.ini.
        name = folder.resolve().name
        notes = [] if frame_rate else inside.notes
        rate = frame_rate or inside.frame_rate
        images = cls(str(folder), inside.paths, name=name, frame_rate=rate, notes=notes)
        if inside.size not in (None, images.size):
            images._notes.append(
                f"{folder}: seqinfo.ini states {Size(*inside.size)}, but the images are "
                f"{images.size}; boxes in pixels of the one do not fit the other"
            )
        return images

    def __iter__(self) -> Iterator[Frame]:
        self.account = account = Account("image")
        account.notes += self._notes
        try:
            for index, path in enumerate(self._paths, start=1):
                if self._closed:
                    return
                try:
                    image = read_image(path)
                except SourceError as err:
                    account.leave_out("that cannot be read")
                    if account.lost <= _NAMED:
                        account.note(str(err))
                    continue
                account.take()
                if Size.of(image) != self.size:
                    raise SourceError(
                        f"{path}: the image is {Size.of(image)}, those before it are "
                        f"{self.size}; all images of a source must have the same size"
                    )
                yield Frame(image, index, (index - 1) / self.frame_rate, path.name)
        finally:
            if account.lost:
                _LOG.warning("%s: %s", self.uri, account.summary())

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


class ImageFolder(NamedTuple):
    """Images of a folder, unread and in no order, and what is stated or assumed of them."""

    paths: list[Path]
    frame_rate: float = ASSUMED
    size: tuple[int, int] | None = None
    notes: Sequence[str] = ()


def folder_images(folder: Path) -> ImageFolder:
    """List the images of a folder; of a sequence without a seqinfo.ini, those of its img1.

    Raises:
        SourceError: as `Images.from_folder`; a folder without images gives an empty list.
    """
    if not (folder / "seqinfo.ini").exists():
        paths = _images_in(folder, IMAGE_SUFFIXES)
        inside = folder / "img1"
        if paths or not inside.is_dir():
            return ImageFolder(paths)
        paths = _images_in(inside, IMAGE_SUFFIXES)
        return ImageFolder(paths, notes=[f"{folder}: has no seqinfo.ini; {_assumed(paths)}"])
    try:
        info = read_seqinfo(folder)
    except DataError as err:
        raise SourceError(str(err)) from err
    inside = folder / info.image_dir
    if not inside.is_dir():
        raise SourceError(
            f"{folder}: seqinfo.ini names the image folder {info.image_dir}, which does not "
            f"exist; public detections can be tracked without images: --detections"
        )
    paths = _images_in(inside, {info.extension.lower()})
    if len(paths) != info.length:
        raise SourceError(
            f"{folder}: seqinfo.ini states {info.length} images ({info.extension}), but "
            f"{info.image_dir} holds {len(paths)}{_first_gap(paths, info)}"
        )
    return ImageFolder(paths, info.frame_rate, info.size, info.notes)


def sequence_info(folder: str | Path) -> SequenceInfo | None:
    """Read a sequence's seqinfo.ini; without one, count the images in img1 or in the folder.

    Returns:
        What is stated, or assumed; None where there are neither.

    Raises:
        DataError: the seqinfo.ini is malformed.
        SourceError: the folder cannot be read.
    """
    folder = Path(folder)
    if (folder / "seqinfo.ini").exists():
        return read_seqinfo(folder)
    if not folder.is_dir() or not (images := folder_images(folder)).paths:
        return None
    first = natural_order(images.paths)[0]
    return SequenceInfo(
        name=folder.resolve().name,
        frame_rate=images.frame_rate,
        length=len(images.paths),
        size=None,
        image_dir=first.parent.name if first.parent != folder else ".",
        extension=first.suffix,
        notes=tuple(images.notes),
    )


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort files by name, numbers in names by their value.

    >>> natural_order([Path("a10.png"), Path("a9.png")])[0].name
    'a9.png'
    """
    return sorted(paths, key=_natural)


def read_image(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read one image as ``(H, W, 3)`` uint8, BGR, turned as its EXIF data say.

    Raises:
        SourceError: the file is missing, is no image, is truncated, or declares more than
            `jdetrt.runtime.sources.image_header.LARGEST_IMAGE` pixels. Damage inside a file
            that is whole in length is only seen where its decoder sees it.
    """
    cv2 = load_cv2()
    data = read_bytes(path, SourceError, largest=_LARGEST)
    if not data:
        raise SourceError(f"{path}: the image is empty (0 bytes)")
    if _is_truncated(data):
        raise SourceError(f"{path}: the image is truncated ({len(data)} bytes)")
    declared = declared_size(data)
    if declared is None:
        raise SourceError(
            f"{path}: not an image, or a damaged one ({len(data)} bytes); expected a JPEG, PNG, "
            "BMP, WebP, TIFF or GIF file"
        )
    check_pixels(path, declared, SourceError)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as err:
        raise SourceError(f"{path}: cannot be decoded ({err.err})") from err
    if image is None:
        raise SourceError(
            f"{path}: not an image that OpenCV can decode, or a damaged one ({len(data)} bytes)"
        )
    decoded: npt.NDArray[np.uint8] = image
    return decoded


def _is_truncated(data: bytes) -> bool:
    """Tell whether a JPEG or PNG is truncated: OpenCV 4 fills the rest with grey and says nothing.

    OpenCV 5 makes room for as much as a chunk of a PNG says that it has.
    """
    if data.startswith(b"\xff\xd8"):
        return not _has_jpeg_end(data)
    return data.startswith(b"\x89PNG") and not _has_png_end(data)


def _has_png_end(data: bytes) -> bool:
    """Tell whether all chunks of a PNG are there, up to the last (PNG 1.2, 3.2)."""
    position = 8
    while position + 12 <= len(data):
        if data.startswith(b"IEND", position + 4):
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return False


def _has_jpeg_end(data: bytes) -> bool:
    """Tell whether a JPEG has its own end (FFD9), walking its markers (ITU-T T.81, annex B).

    What lies inside a segment (a thumbnail) or after the end (the video of a motion photo) may
    have marks of its own, which do not count.
    """
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        if marker[0] == b"\xff\xd9":
            return True
        position = marker.end()
        position += int.from_bytes(data[position : position + 2], "big")
    return False


def _images_in(folder: Path, suffixes: set[str] | frozenset[str]) -> list[Path]:
    try:
        return [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".")
        ]
    except OSError as err:
        raise SourceError(f"{folder}: cannot be read ({err.strerror or err})") from err


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: digits by their value."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", str(path))
    return [(int(digits or -1), text) for digits, text in parts]


def _first_gap(paths: Sequence[Path], info: SequenceInfo) -> str:
    """Name the first frame without an image, where the images are numbered."""
    numbers = {int(path.stem) for path in paths if re.fullmatch("[0-9]+", path.stem)}
    missing = next((i for i in range(1, info.length + 1) if i not in numbers), None)
    if not numbers or missing is None:
        return ""
    return f"; the first that is missing is {missing:06d}{info.extension}"


def _first_size(paths: Sequence[Path]) -> Size:
    """Size of the first image that can be read; raise what is wrong with the first of all."""
    for path in paths:
        with suppress(SourceError):
            return Size.of(read_image(path))
    return Size.of(read_image(paths[0]))


def _assumed(paths: Sequence[Path]) -> str:
    """Say how frames are numbered and timed where nothing says it."""
    text = f"{len(paths)} images at {ASSUMED:g} FPS are assumed"
    numbers = [int(path.stem) for path in paths if re.fullmatch("[0-9]{1,9}", path.stem)]
    if numbers and min(numbers) != 1:
        text += f", the first of them, numbered {min(numbers)}, as frame 1"
    return text


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
