"""nano without a size is taken in the size that suits the frames."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import jdetrt
from jdetrt.cli.track import command
from jdetrt.synthetic.clip import SyntheticClip, write_sequence


@pytest.mark.parametrize(
    ("size", "name"), [((320, 180), "nano-576x320.onnx"), ((320, 240), "nano-640x480.onnx")]
)
def test_nano_suits_the_frames(size: tuple[int, int], name: str, tmp_path: Path) -> None:
    clip = write_sequence(tmp_path / "clip", SyntheticClip(seed=1, frames=1, size=size, people=1))
    result = CliRunner().invoke(command, [str(clip), "--max-frames", "1"])
    assert result.exit_code == 0, result.output
    assert name in result.output
    with jdetrt.track(clip) as run:
        assert f"nano-{run.detector.size}.onnx" == name
