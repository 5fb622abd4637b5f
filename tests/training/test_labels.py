from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.errors import DataError
from jdetrt.training.data.labels import label_path, parse_row, read_labels


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("/data/images/a.jpg", "/data/labels_with_ids/a.txt"),
        ("images/a.JPG", "labels_with_ids/a.txt"),
        ("d/images/sub/a.b.png", "d/labels_with_ids/sub/a.b.txt"),
        ("images/images/a.jpeg", "images/labels_with_ids/a.txt"),
        ("my images/x.jpg/images/x.jpg.PNG", "my images/x.jpg/labels_with_ids/x.jpg.txt"),
        ("d/images/images.png", "d/labels_with_ids/images.txt"),
    ],
)
def test_where_the_labels_of_a_picture_are(image: str, labels: str) -> None:
    assert label_path(Path(image)) == Path(labels)


@pytest.mark.parametrize("image", ["img1/a.jpg", "d/Images/a.jpg", "myimages/a.jpg", "images"])
def test_a_picture_outside_of_images_has_no_labels(image: str) -> None:
    with pytest.raises(DataError, match="expected a folder named 'images'"):
        label_path(Path(image))


def test_rows_become_edges(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf0 7 0.5 0.25 0.5 0.25\r\n\n0.0 -1 .0625 1 1.25e-1\t0.5\n")
    labels = read_labels(path)
    assert labels.relative
    assert labels.ids.tolist() == [7, -1]
    assert labels.boxes.tolist() == [[0.25, 0.125, 0.75, 0.375], [0, 0.75, 0.125, 1.25]]
    pixels = labels.in_pixels(64, 32)
    assert not pixels.relative
    assert pixels.boxes.tolist() == [[16, 4, 48, 12], [0, 24, 8, 40]]
    assert pixels.in_pixels(1, 1) is pixels
    assert labels.boxes.dtype == np.float32
    assert labels.ids.dtype == np.int64
    assert pixels.boxes.dtype == pixels.ignore.dtype == np.float32


def test_nobody_in_the_picture(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    labels = read_labels(tmp_path / "a.txt").in_pixels(10, 10)
    assert labels.boxes.shape == labels.ignore.shape == (0, 4)
    assert labels.ids.shape == (0,)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 1 .5 .5 .1", "expected 6 columns 'class id xc yc w h', got 5"),
        ("0 1 .5 .5 .1 .1 .9", "expected 6 columns .*, got 7"),
        ("0,1,.5,.5,.1,.1", "expected 6 columns .*, got 1"),
        ("0 one .5 .5 .1 .1", "expected a number, got 'one'"),
        ("0 1_0 .5 .5 .1 .1", "expected a number, got '1_0'"),
        ("0 1 nan .5 .1 .1", "expected a number, got 'nan'"),
        ("0 1 .5 .5 inf .1", "expected a number, got 'inf'"),
        ("1 1 .5 .5 .1 .1", r"expected class 0 \(a person\), got 1; delete"),
        ("0 -2 .5 .5 .1 .1", r"expected an id from 0, or -1 \(unknown\), got -2"),
        ("0 1.5 .5 .5 .1 .1", "expected an id from 0, .*, got 1.5"),
        ("0 1e300 .5 .5 .1 .1", "expected an id"),
        ("0 1 320 .5 .1 .1", "expected xc as a share of the image, about 0 to 1, got 320"),
        ("0 1 .5 .5 .1 48", "expected h as a share of the image, .* got 48"),
        ("0 1 .5 .5 0 .1", "expected w and h above 0, got 0 and 0.1; delete the row"),
        ("0 1 .5 .5 .1 -.1", "expected w and h above 0"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 1 .5 .5 .1 .1\n\n{row}\n")
    with pytest.raises(DataError, match=f"a.txt:3: {message}"):
        read_labels(path)


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.txt: the label file is missing; .* empty file"):
        read_labels(tmp_path / "a.txt")
    with pytest.raises(DataError, match="Is a directory"):
        read_labels(tmp_path)
    (tmp_path / "b.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match=r"b.txt: not a text file"):
        read_labels(tmp_path / "b.txt")
    with (tmp_path / "c.txt").open("wb") as file:
        file.truncate(1 << 40)  # sparse; a terabyte
    with pytest.raises(DataError, match="larger than 16 MiB"):
        read_labels(tmp_path / "c.txt")


@given(
    st.integers(-1, 10**9),
    st.tuples(*[st.floats(-1, 2)] * 2, *[st.floats(1e-6, 2)] * 2),
)
def test_what_is_written_is_read(identity: int, box: tuple[float, ...]) -> None:
    text = f"0 {identity} " + " ".join(map(repr, box))
    assert parse_row(text, "a.txt:1") == (identity, *box)
