"""Sources that are read by frame number, and a scan of them for frames to calibrate on.

Whether two images are alike is told by a perceptual hash with a bit for each of 16 x 16 places:
whether the image gets brighter from there to the right ("difference hash"). Storing an image anew,
smaller or more strongly compressed, changes next to none of them; somebody walking through it
changes several.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt import inputs
from jdetrt.account import Account
from jdetrt.errors import CalibrationError, SourceError
from jdetrt.passwords import without_passwords
from jdetrt.progress import Progress
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.sources.camera_uri import is_camera_uri
from jdetrt.runtime.sources.images import read_image
from jdetrt.runtime.sources.open import account_of, image_paths, open_source
from jdetrt.types import Frame

__all__ = [
    "SAME_BITS",
    "Candidate",
    "Fingerprint",
    "FrameSource",
    "OnFault",
    "count_people",
    "distinct",
    "fingerprint",
    "scan",
]

OnFault = Callable[[str], None]  # receives a sentence about a frame that cannot be read

_SIDE = 16
# Of 256 bits. At 30 frames a second a street changes 1 to 5 bits from one frame to the next.
SAME_BITS = 2
# Standard deviation in grey levels below which there is nothing in an image but noise.
_LEAST_CONTRAST = 2.0


@dataclass(frozen=True, slots=True)
class FrameSource:
    """The frames of a video, a folder of images, a MOT sequence or a pattern, by number.

    Images of a folder may be of different sizes: each is letterboxed on its own.

    Attributes:
        uri: as it was given.
        paths: the images, in order; empty for a video.
    """

    uri: str
    paths: tuple[Path, ...]

    @classmethod
    def open(cls, uri: str | Path) -> FrameSource:
        """Find the images of a source, or check that it is a video.

        Raises:
            SourceError: there is no such source, or nothing in it.
            CalibrationError: it is a camera, whose frames cannot be read a second time.
        """
        if is_camera_uri(str(uri)):  # not even opened: a pipeline may do anything
            shown = without_passwords(uri)
            raise CalibrationError(
                f"{shown}: a camera's frames cannot be read again; record a clip with: "
                f"jdetrt track {shown} --video clip.mp4, or by other means"
            )
        paths = image_paths(uri)
        if not paths:
            open_source(uri).close()
        return cls(str(uri), paths)

    def read(
        self,
        numbers: Collection[int] | None,
        on_fault: OnFault,
        accounts: list[Account] | None = None,
    ) -> Generator[Frame, None, None]:
        """Read frames, each only when it is asked for.

        Args:
            numbers: of the frames, from 1, at least one; None for all.
            on_fault: called for each image that cannot be read, and for a video that breaks off.
            accounts: gets the account of what was read, once all is.
        """
        accounts = [] if accounts is None else accounts
        if self.paths:
            yield from self._images(numbers, on_fault, accounts)
        else:
            yield from self._video(numbers, on_fault, accounts)

    def digest(self, frame: Frame) -> str:
        """SHA-256 of an image's file, or of a video's frame as it was decoded.

        Raises:
            OSError: the file is gone.
        """
        if self.paths:
            return inputs.sha256(self.paths[frame.index - 1])
        return hashlib.sha256(frame.image.data).hexdigest()

    def _images(
        self, numbers: Collection[int] | None, on_fault: OnFault, accounts: list[Account]
    ) -> Generator[Frame, None, None]:
        account = Account("image")
        for number in range(1, len(self.paths) + 1) if numbers is None else sorted(numbers):
            if not 1 <= number <= len(self.paths):
                on_fault(
                    f"{self.uri}: has {len(self.paths)} images, so there is no number {number}"
                )
                continue
            path = self.paths[number - 1]
            try:
                image = read_image(path)
            except SourceError as err:
                account.leave_out("that cannot be read")
                on_fault(str(err))
                continue
            account.take()
            yield Frame(image, number, None, path.name)
        accounts.append(account)

    def _video(
        self, numbers: Collection[int] | None, on_fault: OnFault, accounts: list[Account]
    ) -> Generator[Frame, None, None]:
        chosen = None if numbers is None else frozenset(numbers)
        last = None if chosen is None else max(chosen)
        index = 0
        try:
            with open_source(self.uri) as source:
                for frame in source:
                    index = frame.index
                    if chosen is None or index in chosen:
                        yield frame
                    if index == last:
                        return
                account = account_of(source)
        except SourceError as err:
            broken = Account("frame")
            broken.take(index)
            broken.leave_out("after a fault")
            accounts.append(broken)
            on_fault(str(err))
            return
        accounts.append(account)
        if account.lost:
            on_fault(f"{self.uri}: {account.summary()}")
        if last is not None:
            on_fault(f"{self.uri}: ends after frame {index}, so there is no number {last}")


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """An image in a few numbers.

    Attributes:
        bits: ``(32,)`` uint8, the 256 bits of its hash.
        brightness: mean grey level, 0 to 255.
        blank: whether it is of one colour, but for noise.
    """

    bits: npt.NDArray[np.uint8]
    brightness: float
    blank: bool


def fingerprint(image: npt.NDArray[np.uint8]) -> Fingerprint:
    """Compute the fingerprint of an image, ``(H, W, 3)`` uint8 BGR.

    >>> fingerprint(np.full((48, 64, 3), 7, np.uint8)).blank
    True
    """
    cv2 = load_cv2()
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(
        bits=np.packbits(small[:, 1:] > small[:, :-1]),
        brightness=float(small.mean()),
        blank=float(small.std()) < _LEAST_CONTRAST,
    )


def distinct(hashes: npt.NDArray[np.uint8], same_bits: int = SAME_BITS) -> list[int]:
    """Choose images of which no two are alike; of those that are, the first.

    Args:
        hashes: ``(N, 32)`` uint8.
        same_bits: two images are alike if no more bits than this differ.

    Returns:
        Their indices, ascending.

    >>> distinct(np.array([[0], [1], [255]], np.uint8))
    [0, 2]
    """
    bits = np.unpackbits(hashes, axis=1).view(np.bool_)
    chosen: list[int] = []
    for i in range(len(bits)):
        if not chosen or (bits[chosen] != bits[i]).sum(axis=1).min() > same_bits:
            chosen.append(i)
    return chosen


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that may be chosen.

    Attributes:
        index: its number in its source, from 1.
        name: of its file, or "".
        sha256: as in `FrameSource.digest`.
        fingerprint: of its image.
    """

    index: int
    name: str
    sha256: str
    fingerprint: Fingerprint


def scan(
    source: FrameSource,
    limit: int,
    random: np.random.Generator,
    on_fault: OnFault,
    progress: Progress,
    accounts: list[Account] | None = None,
) -> tuple[list[Candidate], int]:
    """Collect frames from all over a source, no two alike.

    Of a folder at most ``limit`` images are read, one somewhere in each of ``limit`` equal parts. A
    video is read to its end, because its length is not known before; from twice the limit on, every
    second candidate is dropped, and from then on every second frame is left out.

    Args:
        source: to read.
        limit: number of candidates; up to twice as many are given.
        random: chooses the images.
        on_fault: called for each frame that cannot be read.
        progress: has a phase for the source.
        accounts: gets the account of what was read.

    Returns:
        The candidates in order, none blank and no two alike; and how many were blank.
    """
    phase = f"Frames of {Path(source.uri).name}"
    numbers = _spread(len(source.paths), limit, random)
    progress.start(phase, len(numbers or source.paths) or None)
    candidates: list[Candidate] = []
    stride = 1
    done = 0
    for frame in source.read(numbers, on_fault, accounts):
        if (frame.index - 1) % stride and not source.paths:
            continue
        candidates.append(
            Candidate(frame.index, frame.name, source.digest(frame), fingerprint(frame.image))
        )
        done += 1
        progress.advance(phase, done)
        if len(candidates) > 2 * limit:
            candidates = candidates[::2]
            stride *= 2
    progress.finish(phase)
    clear = [candidate for candidate in candidates if not candidate.fingerprint.blank]
    if not clear:
        return [], len(candidates)
    different = distinct(np.stack([candidate.fingerprint.bits for candidate in clear]))
    return [clear[i] for i in different], len(candidates) - len(clear)


def count_people(
    source: FrameSource,
    numbers: list[int],
    detector: Detector,
    on_fault: OnFault,
    progress: Progress,
) -> Iterator[tuple[int, int]]:
    """Count the people in frames of a source, as a tracker would see them.

    Yields:
        The number of a frame, and how many people a detector finds in it.

    Raises:
        SessionError: the model fails, or gives numbers that are not finite.
    """
    phase = f"People in {Path(source.uri).name}"
    progress.start(phase, len(numbers))
    for done, frame in enumerate(source.read(numbers, on_fault), start=1):
        yield frame.index, len(detector.detect(frame.image))
        progress.advance(phase, done)
    progress.finish(phase)


def _spread(length: int, limit: int, random: np.random.Generator) -> list[int] | None:
    """Choose numbers from 1 to ``length``, one in each of ``limit`` equal parts; None for all."""
    if length <= limit:
        return None
    edges = np.linspace(0, length, limit + 1).astype(int)
    return [int(random.integers(low, high)) + 1 for low, high in itertools.pairwise(edges)]
