"""`jdetrt track --manifest` in one process: results, what a second run does, and what fails."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, jdetrt


def run(videos: Path, *arguments: object, code: int = 0) -> dict[str, Any]:
    """Track a manifest into ``out`` beside it; the report."""
    done = invoke(videos, *arguments)
    assert done.code == code, done
    report: dict[str, Any] = json.loads((videos.parent / "out" / "report.json").read_text())
    return report


def invoke(videos: Path, *arguments: object) -> Done:
    folder = videos.parent / "out"
    return jdetrt("track", "--manifest", videos, "-o", folder, "-q", *arguments)


def tracks(videos: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (videos.parent / "out").glob("*.txt")}


def states(report: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in report["recordings"]}


@pytest.fixture
def tracked(videos: Path) -> Path:
    """A manifest whose first two recordings are tracked."""
    lines = videos.read_text().splitlines(keepends=True)
    videos.write_text("".join(lines[:2]))
    run(videos)
    return videos


def test_tracks_are_those_of_each_recording_by_itself(videos: Path, clips: Path) -> None:
    report = run(videos)
    assert set(states(report).values()) == {"tracked"}
    alone = videos.parent / "alone.txt"
    for name, text in tracks(videos).items():
        assert jdetrt("track", clips / Path(name).stem, "--mot", alone, "-q").code == 0
        assert alone.read_bytes() == text
    assert sum(map(len, tracks(videos).values())) > 0
    totals = report["totals"]
    results = [one["result"] for one in report["recordings"]]
    assert totals["frames"] == sum(one["frames"] for one in results) == 16
    assert totals["detections"] == sum(one["detections"] for one in results) > 0
    assert totals["tracks"] == sum(one["tracks"] for one in results) > 0


def test_a_second_run_does_only_what_is_missing(tracked: Path, clips: Path) -> None:
    with tracked.open("a") as file:
        file.write(f"{clips}/clip2\n")
    first = tracked.parent / "out" / "clip0.txt"
    before = first.stat().st_mtime_ns
    assert states(run(tracked)) == {
        "clip0": "up to date",
        "clip1": "up to date",
        "clip2": "tracked",
    }
    assert first.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["remove", "edit"])
def test_results_that_are_gone_or_changed_are_made_again(tracked: Path, damage: str) -> None:
    before = tracks(tracked)
    path = tracked.parent / "out" / "clip1.txt"
    path.unlink() if damage == "remove" else path.write_text("1,1,0,0,5,5,1,-1,-1,-1\n")
    report = run(tracked)
    assert states(report) == {"clip0": "up to date", "clip1": "tracked"}
    assert report["recordings"][1]["changed"] == ["results"]
    assert tracks(tracked) == before


def test_a_damaged_record_is_no_record(tracked: Path) -> None:
    (tracked.parent / "out" / "records" / "clip0.json").write_text("{")
    assert states(run(tracked)) == {"clip0": "tracked", "clip1": "up to date"}


def test_changed_settings_and_model_are_noticed(tracked: Path) -> None:
    report = run(tracked, "--score-threshold", "0.6")
    assert [one["changed"] for one in report["recordings"]] == [["score_threshold"]] * 2
    copy = tracked.parent / "model.onnx"
    from jdetrt.shipped import resolve

    shutil.copy(resolve("nano"), copy)
    report = run(tracked, "--model", copy)
    assert [one["changed"] for one in report["recordings"]] == [["model", "score_threshold"]] * 2
    copy.write_bytes(copy.read_bytes() + b"\x82\x01\x02\x08\x01")  # a field that nobody knows
    report = run(tracked, "--model", copy)
    assert [one["changed"] for one in report["recordings"]] == [["model"]] * 2


def test_a_changed_recording_is_noticed(tracked: Path, clips: Path) -> None:
    copy = tracked.parent / "clip0"
    shutil.copytree(clips / "clip0", copy)
    tracked.write_text(f"clip0\n{clips}/clip1\n")
    assert states(run(tracked)) == {"clip0": "tracked", "clip1": "up to date"}
    image = next((copy / "img1").iterdir())
    image.write_bytes((clips / "clip1" / "img1" / image.name).read_bytes())
    report = run(tracked)
    assert states(report) == {"clip0": "tracked", "clip1": "up to date"}
    assert report["recordings"][0]["changed"] == ["recording"]


def test_one_that_fails_stops_no_other(tracked: Path, clips: Path) -> None:
    bad = tracked.parent / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    tracked.write_text(f"bad.mp4\ngone.mp4\n{clips}/clip0\n{clips}/clip2\n")
    done = invoke(tracked)
    assert done.code == 1
    assert "Failed: bad: " in done.err
    assert "Failed: gone: " in done.err
    report = json.loads((tracked.parent / "out" / "report.json").read_text())
    assert list(states(report).values()) == ["failed", "failed", "up to date", "tracked"]
    assert report["totals"]["failed"] == 2
    assert report["totals"]["unlisted"] == 1
    assert not list((tracked.parent / "out").glob("bad*"))


def test_a_recording_that_breaks_off_leaves_no_part(videos: Path, clips: Path) -> None:
    """`jdetrt track` keeps the frames up to there; here results are whole or absent."""
    import cv2

    video = videos.parent / "cut.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (480, 270))
    for path in sorted((clips / "clip0" / "img1").iterdir()):
        image = cv2.imread(str(path))
        assert image is not None
        for _ in range(3):
            writer.write(image)
    writer.release()
    data = video.read_bytes()
    videos.write_text("cut.avi\n")
    assert states(run(videos)) == {"cut": "tracked"}
    before = tracks(videos)
    video.write_bytes(data[: len(data) // 2])
    report = run(videos, code=1)
    assert states(report) == {"cut": "failed"}
    assert "earlier run are kept (recording changed)" in report["recordings"][0]["error"]
    assert tracks(videos) == before  # those of the whole recording
    shutil.rmtree(videos.parent / "out")
    run(videos, code=1)
    assert tracks(videos) == {}


def test_missing_frames_are_counted_and_the_exit_code_is_3(videos: Path, clips: Path) -> None:
    copy = videos.parent / "some"
    copy.mkdir()
    for path in (clips / "clip0" / "img1").iterdir():
        shutil.copy(path, copy)
    sorted(copy.iterdir())[2].write_bytes(b"no image")
    videos.write_text("some\n")
    report = run(videos, code=3)
    assert report["totals"]["left_out"] == 1
    assert states(run(videos, code=3)) == {"some": "up to date"}  # and still says so


def test_an_interrupted_run_goes_on(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jdetrt.recordings.tracking import RecordingTracker, Task

    work = RecordingTracker.__call__
    calls = []

    def interrupted(self: RecordingTracker, task: Task) -> object:
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(self, task)

    with monkeypatch.context() as patch:
        patch.setattr(RecordingTracker, "__call__", interrupted)
        done = invoke(videos)
    assert done.code == 130
    assert "The same command goes on" in done.err
    assert sorted(tracks(videos)) == ["clip0.txt", "clip1.txt"]
    assert [*states(run(videos)).values()] == ["up to date"] * 2 + ["tracked"] * 2


def test_an_output_in_the_place_of_an_input_is_refused(videos: Path, clips: Path) -> None:
    truth = clips / "clip0" / "gt" / "gt.txt"
    before = truth.read_bytes()
    done = invoke(videos, "--mot", clips / "{name}" / "gt" / "gt.txt")
    assert done.code == 1
    assert "would take the place of the ground truth of clip0" in done.err
    assert truth.read_bytes() == before


def test_more_outputs_with_lines_and_zones(tracked: Path) -> None:
    regions = tracked.parent / "regions.toml"
    text = 'size = [480, 270]\n[[line]]\nname = "door"\npoints = [[10, 10], [400, 200]]\n'
    regions.write_text(text)
    folder = tracked.parent / "more"
    options = (
        *("--jsonl", folder / "{name}.jsonl", "--events", folder / "{name}-events.jsonl"),
        *("--regions", regions),
    )
    report = run(tracked, *options)
    assert len((folder / "clip0.jsonl").read_text().splitlines()) == 4
    assert (folder / "clip1-events.jsonl").exists()
    assert set(report["recordings"][0]["changed"]) == {"outputs", "regions"}
    regions.write_text(text.replace("400", "300"))
    assert run(tracked, *options)["recordings"][0]["changed"] == ["regions"]


def test_wrong_lines_and_zones_end_the_run(tracked: Path) -> None:
    regions = tracked.parent / "regions.toml"
    regions.write_text("[[line]]\n")
    done = invoke(tracked, "--regions", regions)
    assert done.code == 1
    assert str(regions) in done.err
    assert "Failed" not in done.err
    assert "--regions" in invoke(tracked, "--events", tracked.parent / "{name}.jsonl").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--live", "8000"], "either --manifest or --live"),
        (["source.mp4"], "either --manifest or SOURCE"),
        (["--jsonl", "-"], "outputs are files"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_options_that_do_not_go_together(videos: Path, arguments: list[str], words: str) -> None:
    done = invoke(videos, *arguments)
    assert done.code == 2
    assert words in done.err


def test_options_of_a_manifest_without_one() -> None:
    done = jdetrt("track", "a.mp4", "--workers", "2")
    assert done.code == 2
    assert "--workers belongs to --manifest" in done.err


def test_several_workers_need_ray(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = invoke(videos, "--workers", "2")
    assert done.code == 1
    assert "pip install" in done.err
    assert "[ray]" in done.err
    assert "--workers 1" in done.err


def test_a_model_that_cannot_be_opened_ends_the_run(videos: Path) -> None:
    model = videos.parent / "model.onnx"
    model.write_bytes(b"\x08\x08" + bytes(200))
    done = invoke(videos, "--model", model)
    assert done.code == 1
    assert str(model) in done.err


def test_scores_are_those_of_a_folder(videos: Path, clips: Path) -> None:
    run(videos)
    texts = []
    for truth in (clips, videos):
        path = videos.parent / "scores.json"
        assert jdetrt("score", truth, videos.parent / "out", "--json", path).code == 0
        texts.append(json.loads(path.read_text()))
    assert texts[0]["combined"] == texts[1]["combined"]
    assert texts[0]["sequences"] == texts[1]["sequences"]
    assert texts[0]["combined"]["HOTA"] > 0


def test_a_recording_that_cannot_be_scored_is_named(tracked: Path, clips: Path) -> None:
    rows = [{"source": f"{clips}/clip{seed}"} for seed in range(2)]
    rows.append({"source": f"{clips}/clip2"})  # which has no results
    tracked.write_text("\n".join(map(json.dumps, rows)))
    out = tracked.parent / "out"
    done = jdetrt("score", tracked, out)
    assert done.code == 1
    assert "Failed: clip2: " in done.err
    assert "COMBINED" in done.out
    assert jdetrt("score", tracked, out, "--only-present").code == 0
