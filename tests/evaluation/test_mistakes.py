"""Mistakes of a detector: which ones there are, joined over frames, and the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from walkers import samples_of, true_session, walkers

from jdetrt.cli import main
from jdetrt.evaluation.mistakes import Mistakes, find_mistakes
from jdetrt.evaluation.mistakes_page import write_mistakes
from jdetrt.training.data.sample import Sample
from jdetrt.types import Detections

NOBODY = np.array([[200, 90, 220, 126], [202, 90, 222, 126]], np.float32)  # in turn


class Frames:
    """Samples as a data set: a video, or separate images."""

    identities = 3

    def __init__(self, samples: Sequence[Sample], video: bool = True) -> None:
        self.samples, self.video = samples, video

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def successor(self, index: int) -> int | None:
        return index + 1 if self.video and index + 1 < len(self) else None


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return samples_of(walkers(tmp_path / "walkers"))


def found(samples: list[Sample], video: bool = True, worst: int = 50) -> Mistakes:
    """Of three people one is missed in frames 2 to 4, with a faint box in frame 4; in all frames
    somebody is seen where nobody is."""

    def change(index: int, seen: Detections) -> Detections:
        scores = seen.scores.copy()
        boxes = seen.boxes.copy()
        if index in (1, 2):
            boxes[2] = 0, 0, 1, 1
            scores[2] = 0.01
        if index == 3:
            scores[2] = 0.3
        faint = np.float32(0.52 + 0.05 * index)
        return Detections(
            np.concatenate([boxes, NOBODY[index % 2 : index % 2 + 1]]), np.append(scores, faint)
        )

    names = [f"frame {number}" for number in range(1, len(samples) + 1)]
    session = true_session(samples, change=change)
    return find_mistakes(session, Frames(samples, video), names, worst=worst)


def test_of_consecutive_frames_one_mistake_is_left(samples: list[Sample]) -> None:
    mistakes = found(samples)
    assert (mistakes.images, mistakes.people) == (6, 18)
    assert (mistakes.misses.boxes, mistakes.misses.separate) == (3, 1)
    (miss,) = mistakes.misses.worst
    assert (miss.frames, miss.badness, miss.image) == (3, 72.0, "frame 2")
    assert miss.box.tolist() == samples[1].boxes[2].tolist()
    assert (mistakes.false_alarms.boxes, mistakes.false_alarms.separate) == (6, 1)
    (alarm,) = mistakes.false_alarms.worst
    assert (alarm.frames, alarm.image) == (6, "frame 6")
    assert alarm.score == alarm.badness == pytest.approx(0.77, abs=1e-3)


def test_separate_images_have_separate_mistakes(samples: list[Sample]) -> None:
    mistakes = found(samples, video=False, worst=2)
    assert (mistakes.misses.separate, mistakes.false_alarms.separate) == (3, 6)
    assert [one.image for one in mistakes.false_alarms.worst] == ["frame 6", "frame 5"]
    assert len(mistakes.misses.worst) == 2
    assert all(one.frames == 1 for one in mistakes.misses.worst + mistakes.false_alarms.worst)


def test_the_best_box_that_fits_is_named(samples: list[Sample]) -> None:
    faint = found(samples[3:], video=False)  # index 0 of the session is frame 4 here
    assert all(one.score == 0.0 for one in faint.misses.worst[:1])
    scores = sorted(one.score for one in found(samples, video=False).misses.worst)
    assert scores == [0.0, 0.0, pytest.approx(0.3, abs=1e-3)]


def test_a_person_in_a_region_to_ignore_is_no_false_alarm(samples: list[Sample]) -> None:
    region = np.array([[190, 80, 256, 128]], np.float32)
    ignoring = [
        Sample(one.image, one.boxes, one.ids, region if at != 2 else one.ignore)
        for at, one in enumerate(samples)
    ]
    assert found(ignoring).false_alarms.boxes == 1


def test_the_page_shows_crops(samples: list[Sample], tmp_path: Path) -> None:
    mistakes = found(samples)
    write_mistakes(tmp_path / "page.html", mistakes, "Mistakes of <nano>")
    text = (tmp_path / "page.html").read_text()
    assert "Mistakes of &lt;nano&gt;" in text
    assert "3 boxes of people missed, 1 separate miss." in text
    assert "6 boxes with nobody in them, at 1 place." in text
    crop = text.split("base64,")[1].split('"')[0]
    image = cv2.imdecode(np.frombuffer(base64.b64decode(crop), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[0] == 240 or image.shape[1] == 480
    red = (image[..., 2] > 180) & (image[..., 0] < 110) & (image[..., 1] < 110)
    assert red.any(axis=1).sum() > 100  # the box: half as high as the crop


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_network import save_tiny

    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    walkers(tmp_path / "walkers")
    command = ["visualize", "mistakes", "tiny.safetensors", "walkers"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "-o", "page.html", "--worst", "2"])
    assert not stop.value.code
    output = capsys.readouterr().out
    assert "Read: 18 people" in output
    assert "Boxes missed: " in output
    assert Path("page.html").read_text().startswith("<!doctype html>")
    with pytest.raises(SystemExit) as stop:
        main([*command, "-o", "walkers/gt/gt.txt"])
    assert stop.value.code == 1
