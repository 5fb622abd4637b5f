from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.errors import ConfigError, DataError, SourceError
from jdetrt.training.batches import batches
from jdetrt.training.data.datasets import (
    DataSet,
    Mixture,
    Repeated,
    labelled_images,
    labels_account,
    open_data_set,
)
from jdetrt.training.data.sample import Sample
from jdetrt.training.losses.identity import TripletLoss
from jdetrt.training.recipe import AugmentConfig, LossConfig, open_recipe

SHARED = Path(__file__).parents[2] / "../shared/data"


def image(path: Path, value: int, size: tuple[int, int] = (40, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def jde(tmp_path: Path) -> Path:
    """Three images with the people 4, 9 and 4 again, nobody known, nobody."""
    for value, name in enumerate(("a.png", "sub/b.PNG", "c.png")):
        image(tmp_path / "images" / name, value)
    labels = tmp_path / "labels_with_ids"
    text(labels / "a.txt", "0 9 .5 .5 .5 .5\n0 4 .25 .5 .5 1\n")
    text(labels / "sub/b.txt", "0 -1 .5 .5 .5 .5\n0 4 .5 .5 1 1\n")
    text(labels / "c.txt", "")
    return tmp_path


@pytest.fixture
def mot(tmp_path: Path) -> Path:
    """Two sequences, in each of which there is somebody numbered 7."""
    for name, ids, frames in (("s1", (7, 2), 3), ("s2", (7, 7), 2)):
        for frame in range(1, frames + 1):
            image(tmp_path / name / "img1" / f"{frame:06d}.png", 10 * frame)
        rows = "".join(f"{n},{one},1,2,3,4,1,1,1\n" for n, one in enumerate(ids, start=1))
        text(tmp_path / name / "gt/gt.txt", rows)
    (tmp_path / "no sequence").mkdir()
    return tmp_path


def test_a_folder(jde: Path) -> None:
    data_set = open_data_set(jde)
    assert (len(data_set), data_set.identities) == (3, 2)
    a, c, b = (data_set[i] for i in range(3))
    assert [int(s.image[0, 0, 0]) for s in (a, b, c)] == [0, 1, 2]
    assert a.image.shape == (20, 40, 3)
    assert a.boxes.tolist() == [[10, 5, 30, 15], [0, 0, 20, 20]]
    assert [s.ids.tolist() for s in (a, b, c)] == [[1, 0], [-1, 0], []]
    assert a.boxes.dtype == a.ignore.dtype == b.boxes.dtype == c.boxes.dtype == np.float32
    assert a.ids.dtype == c.ids.dtype == np.int64
    assert [data_set.successor(i) for i in range(3)] == [None] * 3
    with pytest.raises(IndexError):
        data_set[3]


def test_a_list_is_relative_to_its_root(
    jde: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    listing = tmp_path_factory.mktemp("lists") / "some.train"
    listing.write_text("images/sub/b.PNG\r\n\nimages/a.png\n")
    data_set = open_data_set(listing, jde)
    assert [data_set[i].ids.tolist() for i in range(2)] == [[-1, 0], [1, 0]]
    listing.rename(jde / "some.train")
    assert len(open_data_set(str(jde / "some.train"))) == 2
    with pytest.raises(
        DataError, match=r"some.train:1: .*b.PNG does not exist; is the root right\?"
    ):
        open_data_set(jde / "some.train", jde / "images")
    (jde / "some.train").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        open_data_set(jde / "some.train")


def test_labels_are_read_at_the_start(jde: Path) -> None:
    text(jde / "labels_with_ids/sub/b.txt", "0 1 .5 .5 .5 .5\n0 1 .5 .5 .5 x\n")
    with pytest.raises(DataError, match=r"sub/b.txt:2: expected a number, got 'x'"):
        open_data_set(jde)
    (jde / "labels_with_ids/sub/b.txt").unlink()
    with pytest.raises(DataError, match=r"sub/b.txt: the label file is missing"):
        open_data_set(jde)


@pytest.mark.parametrize("pattern", ["", "s*"])
def test_the_same_number_in_two_sequences_is_two_people(mot: Path, pattern: str) -> None:
    data_set = open_data_set(f"{mot}/{pattern}")
    assert (len(data_set), data_set.identities) == (5, 3)
    assert [data_set[i].ids.tolist() for i in range(5)] == [[1], [0], [], [2], [2]]
    assert [data_set.successor(i) for i in range(5)] == [1, 2, None, 4, None]
    assert data_set[0].boxes.tolist() == [[1, 2, 4, 6]]


def test_one_sequence(mot: Path) -> None:
    data_set = open_data_set(mot / "s2")
    assert (len(data_set), data_set.identities) == (2, 1)


def test_what_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: not found; name a list of images, a folder"):
        open_data_set(tmp_path / "gone")
    with pytest.raises(DataError, match="expected a list of images, a folder"):
        open_data_set(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels_with_ids").mkdir()
    with pytest.raises(DataError, match=r"images: no images \(.bmp"):
        open_data_set(tmp_path)


@pytest.mark.parametrize(
    ("written", "asked"), [("ethz", "eth"), ("cuhk-sysu", "cuhksysu"), ("prw", "prw")]
)
def test_lists_that_the_recipe_paper_names_otherwise(written: str, asked: str, jde: Path) -> None:
    """`jdetrt data convert` writes them by its own names, the recipe has the reference's."""
    text(jde / f"{written}.train", "images/a.png\n")
    assert len(open_data_set(jde / f"{asked}.train")) == 1
    assert f"{asked}.train" in [one.path for one in open_recipe("paper").data]


def listed(folder: Path, *names_and_ids: tuple[str, tuple[int, ...]]) -> DataSet:
    """A list of images with people of these ids."""
    for name, ids in names_and_ids:
        image(folder / "images" / name, 1)
        label = (folder / "labels_with_ids" / name).with_suffix(".txt")
        text(label, "".join(f"0 {one} .5 .5 .2 .{n}\n" for n, one in enumerate(ids, start=4)))
    text(folder / "some.train", "".join(f"images/{name}\n" for name, _ in names_and_ids))
    return open_data_set(folder / "some.train")


def next_of(data: DataSet) -> list[int | None]:
    return [data.successor(index) for index in range(len(data))]


def test_frames_of_one_folder_in_a_list_follow_each_other(tmp_path: Path) -> None:
    """As in mot17.train of the reference; the list may be in any order and have gaps."""
    one, other = "MOT17-02-SDP/img1", "MOT17-04-SDP/img1"
    data = listed(
        tmp_path,
        (f"{one}/000001.jpg", (1, 2)),
        (f"{one}/000002.jpg", ()),
        (f"{other}/000001.jpg", (1,)),
        (f"{one}/000010.jpg", (2,)),
        (f"{one}/000009.jpg", (2, -1)),
        (f"{other}/000002.jpg", (1, 3)),
    )
    assert next_of(data) == [1, 4, 5, None, 3, None]


def test_separate_images_do_not_follow_each_other(tmp_path: Path) -> None:
    data = listed(
        tmp_path,
        ("s1.jpg", (1, 2)),  # CUHK-SYSU: a different place each
        ("s2.jpg", (3,)),
        ("s3.jpg", (4, 3)),
        ("c1s1_000151.jpg", (9,)),  # PRW: the same camera
        ("c1s1_000176.jpg", (9,)),
        ("c1s2_000176.jpg", (9,)),
        ("aachen_000000_000019.jpg", (-1,)),  # CityPersons
        ("aachen_000001_000019.jpg", (-1,)),
        ("house.jpg", (9,)),
        ("mouse.jpg", (9,)),
    )
    expected: list[int | None] = [None] * 10
    expected[1], expected[3] = 2, 4
    assert next_of(data) == expected


def test_the_triplet_losses_train_on_a_list(tmp_path: Path) -> None:
    """Batches are pairs with somebody in common, and the loss has something to learn from."""
    names = [(f"v{v}/{f:03d}.png", (v, 7 + v)) for v in range(3) for f in range(1, 5)]
    data = listed(tmp_path, *names)
    still = AugmentConfig(rotation=0, scale=(1, 1), translation=0, shear=0, flip=0)
    made = list(batches(data, still, (64, 32), 4, 0, 0, 0, pairs=True))
    assert len(made) >= 2
    for batch in made:
        for first in (0, 2):
            people = [batch.ids[batch.image_index == first + n].tolist() for n in (0, 1)]
            assert people[0] == people[1] != []
        loss = TripletLoss(LossConfig().margin)
        generator = torch.Generator().manual_seed(0)
        embeddings = torch.nn.functional.normalize(
            torch.randn(len(batch.ids), 8, generator=generator), dim=1
        )
        assert loss(embeddings, batch.ids, embeddings, batch.ids) > 0


def test_kept_in_memory(jde: Path) -> None:
    kept, read = open_data_set(jde, cache=True), open_data_set(jde)
    (jde / "images/a.png").unlink()
    assert kept[0].image.shape == (20, 40, 3)
    with pytest.raises(SourceError, match=r"a.png: cannot be read"):
        read[0]
    with pytest.raises(ValueError, match="read-only"):
        kept[0].image[:] = 0


def test_repeated(mot: Path) -> None:
    once, twice = open_data_set(mot), open_data_set(mot, repeat=2)
    assert (len(twice), twice.identities) == (10, once.identities)
    assert [twice[i].ids.tolist() for i in range(10)] == 2 * [
        once[i].ids.tolist() for i in range(5)
    ]
    assert [twice.successor(i) for i in range(10)] == [1, 2, None, 4, None, 6, 7, None, 9, None]
    with pytest.raises(IndexError):
        twice[10]
    with pytest.raises(ConfigError, match="repeat 0"):
        open_data_set(mot, repeat=0)


@dataclass
class Made:
    """A data set of one image for each list of ids; the images are the frames of a video."""

    frames: list[list[int]]
    identities: int

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        ids = np.array(self.frames[index], np.int64)
        nowhere = np.zeros((0, 4), np.float32)
        image: npt.NDArray[np.uint8] = np.zeros((1, 1, 3), np.uint8)
        return Sample(image, np.zeros((len(ids), 4), np.float32), ids, nowhere)

    def successor(self, index: int) -> int | None:
        return index + 1 if index + 1 < len(self) else None


@st.composite
def made(draw: st.DrawFn) -> Made:
    identities = draw(st.integers(0, 4))
    ids = st.lists(st.integers(-1, identities - 1), max_size=3)
    return Made(draw(st.lists(ids, min_size=1, max_size=4)), identities)


@given(st.lists(st.tuples(made(), st.integers(1, 3)), min_size=1, max_size=4))
def test_a_mixture_against_plain_lists(parts: list[tuple[Made, int]]) -> None:
    expected: list[list[int]] = []
    follows: list[int | None] = []
    first = 0
    for part, times in parts:
        for _ in range(times):
            start = len(expected)
            expected += [[i if i < 0 else i + first for i in ids] for ids in part.frames]
            follows += [*range(start + 1, len(expected)), None]
        first += part.identities
    data_sets: list[DataSet] = [Repeated(part, times) for part, times in parts]
    mixture = Mixture(data_sets)
    assert (len(mixture), mixture.identities) == (len(expected), first)
    assert [mixture[i].ids.tolist() for i in range(len(mixture))] == expected
    assert [mixture.successor(i) for i in range(len(mixture))] == follows
    assert mixture[0].ids.dtype == np.int64
    with pytest.raises(IndexError):
        mixture[len(mixture)]


def test_a_mixture_of_nothing() -> None:
    with pytest.raises(ConfigError, match="no training data"):
        Mixture([])


@pytest.mark.parametrize(
    ("name", "images", "boxes", "identities"),
    [  # as ../shared/data/README.md counts them
        ("sequences/PRW-c6s1", 1262, 2733, 434),
        ("sequences/MOT17-*-mini", 35, 790, 131),
        ("detection/coco128-person", 134, 604, 0),
        ("detection/citypersons", 135, 2193, 0),
    ],
)
def test_real_data(name: str, images: int, boxes: int, identities: int) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    data_set = labelled_images(SHARED / name)
    assert (len(data_set), data_set.identities) == (images, identities)
    ids = np.concatenate([labels.ids for labels in data_set.labels])
    assert len(ids) == boxes
    assert sorted(set(ids.tolist()) - {-1}) == list(range(identities))
    sample = data_set[len(data_set) - 1]
    height, width, _ = sample.image.shape
    assert (sample.boxes[:, 2:] > 0).all()
    assert (sample.boxes[:, :2] < [width, height]).all()


def test_people_without_an_id_can_be_somebody_each(jde: Path) -> None:
    known = open_data_set(jde)
    alone = open_data_set(jde, alone=True, repeat=2)
    assert (known.identities, alone.identities) == (2, 3)
    unknown = [i for i in range(3) if (known[i].ids < 0).any()]
    for i in range(3):
        assert (alone[i].ids >= 0).all()
        assert alone[i].ids.tolist() == alone[i + 3].ids.tolist()
        named = known[i].ids >= 0
        assert alone[i].ids[named].tolist() == known[i].ids[named].tolist()
    assert [alone[i].ids[known[i].ids < 0].tolist() for i in unknown] == [[2]]


def test_the_account_of_a_mixture_is_that_of_all_its_labels(tmp_path: Path) -> None:
    folder = tmp_path / "seq"
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    cv2.imwrite(str(folder / "img1" / "000001.png"), np.zeros((64, 64, 3), np.uint8))
    rows = ["1,1,0,0,9,20,1,1,1", "1,2,20,0,9,20,0,3,1", "1,3,30,0,9,20,1,1,0.1"]
    (folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    data = Mixture([open_data_set(folder, repeat=3), open_data_set(folder, min_visibility=0.5)])
    account = labels_account(data)
    assert account.to_dict() == {
        "taken": 3,
        "left_out": {},
        "by_design": {"of class 3 (car) with mark 0": 2, "less visible than asked for": 1},
    }
