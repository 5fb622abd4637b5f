"""``jdetrt track --detections``: people from a list of detections, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt.cli.progress import OnFrame, ProgressBars
from jdetrt.cli.results import plural
from jdetrt.cli.track.outputs import Outputs, RunOptions
from jdetrt.cli.track.run import run_to_the_end, summarise
from jdetrt.errors import DataError

if TYPE_CHECKING:
    from jdetrt.account import Account
    from jdetrt.config import TrackerConfig
    from jdetrt.runtime.confidences import Unit

__all__ = ["track_list"]


def track_list(
    sequence: Path,
    detections: Path,
    config: TrackerConfig,
    paths: Mapping[str, Path],
    options: RunOptions,
    stack: ExitStack,
    *,
    frame_rate: float | None,
    unit: Unit,
    strict: bool,
    regions: Path | None = None,
) -> int:
    """Track the detections of a file to their end, or to Ctrl-C, and print what was done.

    Args:
        sequence: folder with a seqinfo.ini or with images; without either, the detections say how
            many frames there are.
        detections: a MOT det.txt.
        config: settings of the tracker.
        paths: of the outputs, by kind.
        options: of the run.
        stack: closes what is opened.
        frame_rate: frames per second, in place of what is stated or assumed.
        unit: of the confidences.
        strict: refuse boxes without area.
        regions: file of lines, zones and masks.

    Returns:
        The exit code: 3 where no detection could be used, or an image could not be read.

    Raises:
        DataError, SourceError, OutputError: as `jdetrt.runtime.pipeline.track_detections`.
    """
    from jdetrt.runtime.events.open import open_counter
    from jdetrt.runtime.mot.public_detections import is_thinned, read_detections
    from jdetrt.runtime.pipeline import ASSOCIATION, track_detections
    from jdetrt.runtime.sources.images import sequence_info
    from jdetrt.runtime.sources.open import account_of, open_source
    from jdetrt.runtime.sources.rate import ASSUMED
    from jdetrt.runtime.timing import Stopwatch
    from jdetrt.runtime.tracking.tracker import Tracker

    if not sequence.is_dir():
        raise DataError(
            f"{sequence}: expected the folder of a sequence: with seqinfo.ini, with images, or "
            "with det/det.txt"
        )
    info = sequence_info(sequence)
    by_frame = read_detections(
        detections, length=info.length if info else None, unit=unit, strict=strict
    )
    frames = info.length if info else max(by_frame, default=0)
    length = min(frames, options.max_frames or frames)
    notes = [] if info is None or frame_rate else [*info.notes]
    if info is None:
        assumed = "" if frame_rate else f" at {ASSUMED:g} FPS"
        notes.append(
            f"{sequence}: has neither seqinfo.ini nor images; {plural(frames, 'frame')}{assumed} "
            "are assumed, up to the last detection"
        )
    if is_thinned(by_frame):
        notes.append(
            f"{detections}: has {plural(len(by_frame), 'frame')} of {frames}, most of them "
            "after a gap: the gaps count as frames left out, not as frames without people"
        )
    frame_rate = frame_rate or (info.frame_rate if info else ASSUMED)
    name = sequence.resolve().name
    draws = bool({"video", "images", "heat_map"} & set(paths))
    follows = options.camera_motion == "on"
    images = stack.enter_context(open_source(sequence)) if draws or follows else None
    tracker, bars = Tracker(config, frame_rate), ProgressBars(quiet=options.quiet, rate="FPS")
    stopwatch = Stopwatch(ASSOCIATION)
    outputs = Outputs(stack, options.rotation)
    size = images.size if images else info.size if info else None
    counter = None if regions is None else open_counter(regions, frame_rate, size=size)
    run = partial(
        track_detections,
        {index: rows for index, rows in by_frame.items() if index <= length},
        tracker,
        outputs.open(paths, frame_rate, counter=counter),
        length=length,
        frames=images,
        on_frame=OnFrame(bars, name),
        stopwatch=stopwatch,
        select=counter.select if counter else None,
        camera_motion="on" if follows else "off",
    )

    def accounts() -> dict[str, list[Account]]:
        used = by_frame.judge(config.score_threshold, frames, size, length)
        return {name: [used] if images is None else [used, account_of(images)]}

    def summary() -> int:
        more = {"regions": {name: counter.state()}} if counter else None
        return summarise(options, {name: stopwatch.report()}, outputs, accounts(), notes, more)

    try:
        bars.start(name, length)
        return run_to_the_end(run, bars, name, tracker.warm_up, summary)
    except DataError as err:
        raise DataError(f"{detections}: {err}") from err
