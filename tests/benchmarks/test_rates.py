"""Lower rates, dropped frames and a virtual moving camera: what is measured is what is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from walkers import walkers

from jdetrt.benchmarks import rates
from jdetrt.benchmarks.camera_motion import measure_camera_motion
from jdetrt.benchmarks.virtual_camera import PATHS, VirtualCamera
from jdetrt.cli import main
from jdetrt.config import FusedConfig
from jdetrt.errors import ConfigError
from jdetrt.synthetic.crowd import crowd, labelled_crowd

FRAMES = 24


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Three walkers whose detections are the truth."""
    pytest.importorskip("trackeval")
    folder = walkers(tmp_path / "walkers", FRAMES)
    (folder / "det").mkdir()
    rows = (folder / "gt" / "gt.txt").read_text().splitlines()
    boxes = [(row.split(",")[0], row.split(",")[2:6]) for row in rows]
    det = "".join(f"{frame},-1,{','.join(box)},0.9\n" for frame, box in boxes)
    (folder / "det" / "det.txt").write_text(det)
    return folder


@pytest.mark.parametrize(("part", "seed"), [(1.0, None), (0.5, None), (0.17, None), (0.3, 4)])
def test_so_many_frames_are_kept(part: float, seed: int | None) -> None:
    keep = rates.keep_frames(1000, part, seed)
    assert keep[0] == 0
    assert (np.diff(keep) > 0).all()
    assert keep[-1] < 1000
    assert len(keep) == pytest.approx(1000 * part, abs=1 if seed is None else 60)
    if seed is None:
        assert np.ptp(np.diff(keep)) <= 1


def test_people_of_a_crowd_have_names() -> None:
    plain = list(crowd(10, 40, 3, embedding_dim=64))
    for people, (same, names) in zip(
        plain, labelled_crowd(10, 40, 3, embedding_dim=64), strict=True
    ):
        np.testing.assert_array_equal(people.boxes, same.boxes)
        assert len(set(names[names >= 0].tolist())) == (names >= 0).sum()
    first, last = (list(labelled_crowd(10, 40, 3, embedding_dim=64))[k] for k in (0, 5))
    known = [(a, b) for a in range(len(first[1])) for b in range(len(last[1]))]
    alike = {True: [], False: []}  # type: dict[bool, list[float]]
    for a, b in known:
        if first[1][a] >= 0 and last[1][b] >= 0:
            assert first[0].embeddings is not None
            assert last[0].embeddings is not None
            product = float(first[0].embeddings[a] @ last[0].embeddings[b])
            alike[bool(first[1][a] == last[1][b])].append(product)
    assert np.mean(alike[True]) > 0.7 > 0.5 > np.mean(alike[False])


def test_every_rate_and_every_tracker_has_its_scores(
    sequence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackers")
    monkeypatch.setattr(rates, "_SECONDS", 2)
    out = tmp_path / "rates.json"
    arguments = ["bench", "rates", str(sequence.parent), "--rates", "30,15", "--json", str(out)]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code in (0, None)
    result = json.loads(out.read_text())
    rows = {(row["rate"], row["drops"], row["tracker"]): row for row in result["rows"]}
    assert {key[:2] for key in rows} == {(30.0, "even"), (15.0, "even"), (15.0, "random")}
    assert rows[30.0, "even", "jdetrt fused"]["MOTA"] == 100
    assert rows[15.0, "random", "jdetrt fused"]["IDSW"] == 0
    walker = {
        (row["drops"], row["tracker"]): row for row in result["drops"] if row["scene"] == "walker"
    }
    assert walker["mean 4 FPS", "jdetrt fused"]["ids"] == 1
    assert walker["mean 4 FPS", "jdetrt iou, no timestamps"]["ids"] > 1
    with pytest.raises(ConfigError, match="numbers above 0 to 30"):
        rates.measure_rates({}, rates=[60])


@pytest.mark.parametrize("path", PATHS)
def test_a_window_moves_points_as_it_says(path: str) -> None:
    camera = VirtualCamera((640, 360), 50, 25.0, path)
    point, before = np.array([300.0, 170.0, 1.0]), None
    for window, motion in zip(camera.windows(), camera.motions(), strict=True):
        corner = np.linalg.inv(window[:, :2]) @ (np.array(camera.size) - window[:, 2])
        assert (corner <= np.array([640, 360]) + 1e-6).all()  # the window stays in the frame
        assert (window[:, 2] <= 1e-9).all()
        seen = window @ point
        if before is not None:
            assert motion is not None
            assert motion @ np.append(before, 1.0) == pytest.approx(seen)
        before = seen
    box = np.array([[290.0, 160.0, 310.0, 200.0], [0.0, 0.0, 10.0, 10.0]])
    moved, visible = camera.move(box, window)
    assert visible.tolist() == [True, False]
    assert moved[0, :2] == pytest.approx(window @ [290, 160, 1])


def test_a_virtual_camera_is_followed(sequence: Path) -> None:
    (given,) = rates.from_files(sequence.parent).values()
    result = measure_camera_motion(given, FusedConfig(), paths=["still", "pan"], modes=["off"])
    still, pan = result.rows
    assert still.MOTA > 80
    assert still.moves_px == 0
    assert pan.moves_px == pan.off_px > 0
