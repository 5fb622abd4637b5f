"""Size and aspect filter of tracks."""

from __future__ import annotations

from jdetrt.types import Tracks

__all__ = ["reportable"]


def reportable(tracks: Tracks, max_aspect: float, min_area: float) -> Tracks:
    """Leave out tracks without the shape of a person, as the reference does (track.py).

    Args:
        tracks: of one frame.
        max_aspect: tracks with a width above ``max_aspect`` times their height are left out.
        min_area: so are those of at most so many square pixels.

    >>> boxes = [[0, 0, 10, 30], [0, 0, 40, 20], [0, 0, 10, 20]]
    >>> tracks = Tracks([4, 5, 6], boxes, [1, 1, 1])
    >>> reportable(tracks, max_aspect=1.6, min_area=200).ids
    array([4])
    """
    width, height = (tracks.boxes[:, 2:] - tracks.boxes[:, :2]).T
    shaped = (width <= max_aspect * height) & (width * height > min_area)
    if shaped.all():
        return tracks
    return tracks[shaped]
