import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from raw_data import jpeg, read_jde, write_picture

from jdetrt.errors import DataError, OutputError
from jdetrt.training.convert.writer import LabelledImage, Link, write_data_set
from jdetrt.training.data.datasets import open_data_set


def labelled(
    name: str, source: Path | bytes, boxes: Sequence[Sequence[float]], people: Sequence[object]
) -> LabelledImage:
    return LabelledImage(name, source, np.reshape(boxes, (-1, 4)).astype(float), tuple(people))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_picture(tmp_path / "raw" / "a.png", 200, 100)
    write_picture(tmp_path / "raw" / "b.png", 40, 80)
    return tmp_path / "raw"


def test_labels_list_and_identities(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    done = write_data_set(
        [
            labelled("x/a.png", raw / "a.png", [[10, 20, 30, 40], [-20, 90, 60, 30]], ["p9", None]),
            labelled("b.png", raw / "b.png", [[0, 0, 40, 80], [1, 2, 3, 4]], ["p2", "p9"]),
            labelled("video/0.jpg", jpeg(64, 48), [], []),
        ],
        root,
        "Set/train",
        "set.train",
    )
    assert done.listing.read_text() == (
        "Set/train/images/x/a.png\nSet/train/images/b.png\nSet/train/images/video/0.jpg\n"
    )
    labels = root / "Set" / "train" / "labels_with_ids"
    # Centres (25, 40) and (10, 105) of 200 x 100; a box may reach outside.
    assert (labels / "x" / "a.txt").read_text() == (
        "0 0 0.125000 0.400000 0.150000 0.400000\n0 -1 0.050000 1.050000 0.300000 0.300000\n"
    )
    assert (labels / "b.txt").read_text() == (
        "0 1 0.500000 0.500000 1.000000 1.000000\n0 0 0.062500 0.050000 0.075000 0.050000\n"
    )
    assert (labels / "video" / "0.txt").read_text() == ""
    assert (root / "Set/train/images/video/0.jpg").read_bytes() == jpeg(64, 48)
    assert (done.images, done.boxes, done.identities) == (3, 4, 2)


def test_training_reads_what_is_written(raw: Path, tmp_path: Path) -> None:
    boxes = [[10, 20, 30, 40], [-20, 90, 60, 30]]
    images = [
        labelled("v/b.png", raw / "b.png", [], []),
        labelled("v/a.png", raw / "a.png", boxes, ["p", None]),
    ]
    done = write_data_set(images, tmp_path / "out", "Set/train", "set.train")
    data_set = open_data_set(done.listing)
    assert len(data_set[0].boxes) == 0
    sample = data_set[1]
    assert sample.image.shape == (100, 200, 3)
    assert sample.ids.tolist() == [0, -1]
    np.testing.assert_allclose(sample.boxes, [[10, 20, 40, 60], [-20, 90, 40, 120]], atol=1e-3)


def test_boxes_of_which_nothing_is_in_the_picture(raw: Path, tmp_path: Path) -> None:
    boxes = [[0, 0, 0, 10], [5, 5, 10, -1], [200, 0, 5, 5], [-5, 0, 5, 5], [0, -9, 5, 9]]
    kept = [[199.5, 99.5, 9, 9], [-4.5, -4.5, 5, 5]]
    people = ["no"] * len(boxes) + ["yes", "yes"]
    done = write_data_set(
        [labelled("a.png", raw / "a.png", [*boxes, *kept], people)], tmp_path, "set", "list"
    )
    rows = read_jde(done.listing)["set/images/a.png"]
    assert rows == [(0, 199.5, 99.5, 9, 9), (0, -4.5, -4.5, 5, 5)]
    assert done.identities == 1
    assert (done.boxes, done.left_out) == (2, {"without area": 2, "outside of the image": 3})


@pytest.mark.parametrize("link", ["symlink", "hard", "copy"])
def test_how_pictures_get_there(
    raw: Path, tmp_path: Path, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [labelled("a.png", Path("raw/a.png"), [], [])]
    write_data_set(images, tmp_path / "out", "set", "list", link=link)
    placed = tmp_path / "out" / "set" / "images" / "a.png"
    assert placed.read_bytes() == (raw / "a.png").read_bytes()
    assert placed.is_symlink() == (link == "symlink")
    assert placed.samefile(raw / "a.png") == (link != "copy")


def test_the_list_of_an_earlier_version_is_replaced_too(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    images = [labelled("a.png", raw / "a.png", [[1, 2, 3, 4]], [7])]
    done = write_data_set(images, root, "Set/train", "set.train")
    text = done.listing.read_text()
    done.listing.unlink()
    done.listing.write_text("Set/train/images/of-before.png\n")  # a file, not a link
    write_data_set(images, root, "Set/train", "set.train")
    assert done.listing.read_text() == text
    done.listing.unlink()  # the next list of this folder has another name
    assert write_data_set(images, root, "Set/train", "other").listing.read_text() == text


def test_a_file_system_without_links_gets_a_copy_of_the_list(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    images = [labelled("a.png", raw / "a.png", [[1, 2, 3, 4]], [7])]
    monkeypatch.setattr(Path, "symlink_to", refuse)
    done = write_data_set(images, tmp_path / "out", "Set/train", "set.train", link="copy")
    assert not done.listing.is_symlink()
    assert len(open_data_set(done.listing)) == 1


def test_a_second_run_replaces_the_first(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    first = [labelled("a.png", raw / "a.png", [[1, 2, 3, 4]], [7])]
    write_data_set(first, root, "Set/train", "set.train")
    other = [labelled("b.png", raw / "b.png", [[5, 6, 7, 8]], [None])]
    for _ in range(2):
        done = write_data_set(other, root, "Set/train", "set.train")
        assert read_jde(done.listing) == {"Set/train/images/b.png": [(-1, 5, 6, 7, 8)]}
        files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        assert files == [
            "Set/train/.jdetrt",
            "Set/train/images.list",
            "Set/train/images/b.png",
            "Set/train/labels_with_ids/b.txt",
            "set.train",
        ]
    assert (raw / "a.png").exists()  # what was linked stays


class Stopped(BaseException):
    pass


def test_an_interrupted_run_leaves_nothing_half(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "new" / "out"
    whole = [labelled("a.png", raw / "a.png", [[1, 2, 3, 4]], [7])]

    def breaks_off() -> Iterator[LabelledImage]:
        yield labelled("b.png", raw / "b.png", [], [])
        raise Stopped

    with pytest.raises(Stopped):
        write_data_set(breaks_off(), root, "Set/train", "set.train")
    assert not (tmp_path / "new").exists()
    done = write_data_set(whole, root, "Set/train", "set.train")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    with pytest.raises(Stopped):
        write_data_set(breaks_off(), root, "Set/train", "set.train")
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before
    assert read_jde(done.listing) == {"Set/train/images/a.png": [(0, 1, 2, 3, 4)]}


def test_other_peoples_folders_stay(raw: Path, tmp_path: Path) -> None:
    images = [labelled("a.png", raw / "a.png", [], [])]
    with pytest.raises(OutputError, match=r"raw: exists already"):
        write_data_set(images, tmp_path, "raw", "list")
    write_data_set(images, tmp_path, "set", "list")
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="set: exists"):
        write_data_set(images, tmp_path, "set", "list")
    assert (tmp_path / "set" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "list").exists()


def test_bad_pictures_are_named(raw: Path, tmp_path: Path) -> None:
    def write(*images: LabelledImage) -> None:
        write_data_set(images, tmp_path, "set", "list")

    cut = raw / "cut.png"
    cut.write_bytes((raw / "a.png").read_bytes()[:500])
    with pytest.raises(DataError, match=r"cut\.png: .* truncated .* again"):
        write(labelled("cut.png", cut, [], []))
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        write(labelled("gone.png", raw / "gone.png", [], []))
    with pytest.raises(DataError, match=r"^v/3\.jpg: .* truncated"):
        write(labelled("v/3.jpg", jpeg()[:300], [], []))
    with pytest.raises(DataError, match=r"a\.png: two images"):
        write(*[labelled("a.png", raw / "a.png", [], [])] * 2)
    with pytest.raises(DataError, match=r"a\.png: expected finite"):
        write(labelled("a.png", raw / "a.png", [[1, float("nan"), 3, 4]], [None]))
    with pytest.raises(DataError, match="no images to list"):
        write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
