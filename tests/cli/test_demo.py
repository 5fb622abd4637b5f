"""``jdetrt demo`` on a short clip: what it writes and says."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_network import ship_tiny

from jdetrt import shipped
from jdetrt.cli import main
from jdetrt.evaluation.trackeval import score
from jdetrt.runtime.opencv import load_cv2


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["demo", *args])
    code = end.value.code
    assert isinstance(code, int)
    return code


def test_demo_leaves_a_video_and_tracks_that_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)  # no model there
    for _ in range(2):  # a second run replaces the first
        assert run("--output", str(tmp_path), "--max-frames", "40") == 0
    out = capsys.readouterr().out
    assert "ground truth" in out
    for path in ("tracks.mp4", "tracks/clip.txt"):
        assert str(tmp_path / path) in out
    video = load_cv2().VideoCapture(str(tmp_path / "tracks.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 40
    assert score(tmp_path, tmp_path / "tracks").combined.mota > 60


def test_demo_takes_the_model_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ship_tiny(tmp_path / "models", monkeypatch)
    assert run("--output", str(tmp_path / "demo"), "--max-frames", "4") == 0
    out = capsys.readouterr().out
    assert str(models / "nano-576x320.onnx") in out
    assert "ground truth" not in out
    assert (tmp_path / "demo" / "tracks.mp4").exists()
    assert (tmp_path / "demo" / "tracks" / "clip.txt").exists()


@pytest.mark.parametrize("theirs", ["clip/seqinfo.ini", "tracks.mp4", "tracks/clip.txt"])
def test_demo_replaces_nothing_of_the_users(
    tmp_path: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / theirs
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = set(tmp_path.rglob("*"))
    assert run("--output", str(tmp_path), "--max-frames", "2") == 1
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert set(tmp_path.rglob("*")) == before


def test_demo_names_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert run("--output", str(tmp_path / "file" / "demo"), "--max-frames", "2") == 1
    assert "file" in capsys.readouterr().err
