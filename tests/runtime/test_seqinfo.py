"""seqinfo.ini: what is read from it, and what is said of a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdetrt.errors import DataError
from jdetrt.runtime.sources.seqinfo import SequenceInfo, read_seqinfo

SEQINFO = """[Sequence]
name=MOT17-05-DPM
imDir=img1
frameRate=14
seqLength=837
imWidth=640
imHeight=480
imExt=.jpg
"""


def test_seqinfo(tmp_path: Path) -> None:
    (tmp_path / "seqinfo.ini").write_text(SEQINFO)
    expected = SequenceInfo("MOT17-05-DPM", 14.0, 837, (640, 480), "img1", ".jpg")
    assert read_seqinfo(tmp_path) == expected
    assert read_seqinfo(tmp_path / "seqinfo.ini") == expected


def test_seqinfo_says_little(tmp_path: Path) -> None:
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=29.97\nseqLength=3\n")
    assert read_seqinfo(tmp_path) == SequenceInfo(tmp_path.name, 29.97, 3, None, "img1", ".jpg")


def test_a_seqinfo_without_a_frame_rate_counts_as_30(tmp_path: Path) -> None:
    (tmp_path / "seqinfo.ini").write_text(SEQINFO.replace("frameRate=14\n", ""))
    assert read_seqinfo(tmp_path).frame_rate == 30.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("frameRate=14", "frameRate=", r"expected a number above 0 .* for frameRate, got nothing"),
        ("frameRate=14", "frameRate=nan", "for frameRate, got nan"),
        ("frameRate=14", "frameRate=fast", "for frameRate, got fast"),
        ("seqLength=837", "seqLength=0", "for seqLength, got 0"),
        ("seqLength=837", "seqLength=8.5", "for seqLength, got 8.5"),
        ("seqLength=837", "seqLength=9e99", "for seqLength, got 9e99"),
        ("seqLength=837", "seqLength=9999999", r"\(at most 1,000,000\) for seqLength, got 9999999"),
        ("imWidth=640", "imWidth=-640", "for imWidth, got -640"),
        ("[Sequence]", "[Other]", r"no section \[Sequence\]"),
        ("[Sequence]", "", r"expected an INI file"),
        ("seqLength=837", "seqLength=837\nseqLength=838", "expected an INI file"),
    ],
)
def test_a_broken_seqinfo(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "seqinfo.ini").write_text(SEQINFO.replace(old, new))
    with pytest.raises(DataError, match=f"seqinfo.ini: .*{message}"):
        read_seqinfo(tmp_path)


def test_no_seqinfo(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"seqinfo.ini: cannot be read"):
        read_seqinfo(tmp_path)
    (tmp_path / "seqinfo.ini").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"seqinfo.ini: not a text file"):
        read_seqinfo(tmp_path)


@pytest.mark.parametrize("ending", ["png", ".png", " .png "])
def test_the_extension_has_its_dot(tmp_path: Path, ending: str) -> None:
    (tmp_path / "seqinfo.ini").write_text(SEQINFO.replace("imExt=.jpg", f"imExt={ending}"))
    assert read_seqinfo(tmp_path).extension == ".png"
