"""Short clips with a manifest, for all tests of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdetrt.synthetic.clip import SyntheticClip, write_sequence

CLIPS, FRAMES = 4, 4


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of MOT sequences with ground truth; leave it as it is."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(CLIPS):
        # A camera that stands still: how it moves is estimated by the time that threads take.
        scene = SyntheticClip(
            seed=seed, frames=FRAMES, size=(480, 270), people=4, moving_camera=False
        )
        write_sequence(folder / f"clip{seed}", scene)
    return folder


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    """A manifest of the clips."""
    path = tmp_path / "videos.txt"
    path.write_text("".join(f"{clips}/clip{seed}\n" for seed in range(CLIPS)))
    return path
