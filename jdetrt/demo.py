"""The main job on a clip of our own: render, track, write. No download, no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jdetrt import shipped
from jdetrt.engine.open import open_session
from jdetrt.errors import OutputError
from jdetrt.runtime.mot.public_detections import every_frame, read_detections
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.pipeline import OnFrame, Pipeline
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.timing import RunReport
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.clip import SyntheticClip, is_written_sequence, write_sequence
from jdetrt.testing import FakeSession
from jdetrt.types import Session

__all__ = ["DemoResult", "run_demo"]

NETWORK_SIZE = (576, 320)


class DemoResult(NamedTuple):
    """Where things are, and how fast the run was; no model where none ships."""

    model: Path | None
    clip: Path
    mot: Path
    video: Path
    report: RunReport


def run_demo(
    output: str | Path, *, frames: int = 300, seed: int = 0, on_frame: OnFrame | None = None
) -> DemoResult:
    """Render a clip of walking people and track them.

    The network is the shipped model nano. Where it does not ship, a fake session stands in for it
    and hands out the clip's own ground truth with noise, misses and false alarms. All the rest is
    the real pipeline: read, letterbox, decode, associate, draw, write.

    Args:
        output: folder; gets ``clip/`` (a MOT sequence with ground truth), ``tracks/clip.txt`` and
            ``tracks.mp4``, so that ``jdetrt score OUTPUT OUTPUT/tracks`` works.
        frames: length of the clip.
        seed: of the clip and of the noise.
        on_frame: called after each tracked frame.

    Raises:
        ConfigError: a length below 1 or a seed below 0.
        OutputError: the folder cannot be written, or holds files of these names that are not of an
            earlier demonstration.
        MissingDependencyError: OpenCV is not installed.
    """
    load_cv2()  # where it is missing, say so before anything is made
    output = Path(output)
    clip = SyntheticClip(seed=seed, frames=frames)
    mot, video = output / "tracks" / "clip.txt", output / "tracks.mp4"
    if not is_written_sequence(output / "clip"):
        for path in (mot, video):
            if path.exists():
                raise OutputError(
                    f"{path}: exists already and is not from an earlier demo; name another "
                    f"folder or delete it"
                )
    folder = write_sequence(output / "clip", clip, overwrite=True)
    model = shipped.resolve(shipped.NANO) if shipped.sizes() else None
    with (
        _fake(folder, clip) if model is None else open_session(model) as session,
        open_source(folder) as source,
    ):
        report = Pipeline(
            source,
            session,
            Tracker(tracker_config(session), source.frame_rate),
            [MotSink(mot), VideoSink(video, source.frame_rate)],
            on_frame=on_frame,
        ).run()
    return DemoResult(model, folder, mot, video, report)


def _fake(folder: Path, clip: SyntheticClip) -> Session:
    detections = read_detections(folder / "det" / "det.txt", length=clip.frames)
    return FakeSession.from_detections(
        every_frame(detections, clip.frames), size=NETWORK_SIZE, source_size=clip.size
    )
