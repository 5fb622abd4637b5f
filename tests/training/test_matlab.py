import builtins
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.training.convert.matlab import as_boxes, as_list, read_mat


@pytest.mark.parametrize("count", [0, 1, 2])
def test_struct_arrays_and_cells_of_any_length(tmp_path: Path, count: int) -> None:
    structs = np.zeros((1, count), [("name", object), ("box", object)])
    cells = np.empty((1, count), object)
    for i in range(count):
        structs[0, i] = (f"p{i}", np.array([[i, 2.0, 3.0, 4.0]]))
        cells[0, i] = f"text{i}"
    savemat(tmp_path / "a.mat", {"s": structs, "c": cells})
    found = as_list(read_mat(tmp_path / "a.mat", "s"))
    assert [(one["name"], one["box"].tolist()) for one in found] == [
        (f"p{i}", [i, 2, 3, 4]) for i in range(count)
    ]
    assert [str(text) for text in as_list(read_mat(tmp_path / "a.mat", "c"))] == [
        f"text{i}" for i in range(count)
    ]


def test_cells_that_hold_different_things(tmp_path: Path) -> None:
    cells = np.empty((1, 3), object)
    cells[:] = [[np.zeros((0, 0)), {"id": 1}, np.array([[1.0, 2.0]])]]
    savemat(tmp_path / "a.mat", {"a": {"inner": cells, "name": "x"}})
    found = read_mat(tmp_path / "a.mat", "a")
    first, second, third = found["inner"]
    assert (as_list(first), second, third.tolist()) == ([], {"id": 1}, [1, 2])
    assert found["name"] == "x"


def test_the_first_variable_that_is_there(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"second": 2, "third": 3})
    assert read_mat(tmp_path / "a.mat", "first", "second", "third") == 2
    with pytest.raises(DataError, match=r"a\.mat: expected the variable x or y, .* second, third"):
        read_mat(tmp_path / "a.mat", "x", "y")


@pytest.mark.parametrize("keep", [0, 1, 130, 200, -20])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(100.0)}, do_compression=True)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.mat: (not a MATLAB file|expected the variable)"):
        read_mat(path, "x")


def test_missing_files_and_other_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.mat: cannot be read"):
        read_mat(tmp_path / "a.mat", "x")
    (tmp_path / "b.mat").write_text("<html>not found</html>" * 20)
    with pytest.raises(DataError, match=r"b\.mat: not a MATLAB file"):
        read_mat(tmp_path / "b.mat", "x")


def test_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("scipy"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jdetrt\[train\]'"):
        read_mat(tmp_path / "a.mat", "x")


def test_boxes_keep_their_columns() -> None:
    assert as_boxes(np.array([250, 1, 2, 3], np.uint8)).tolist() == [[250, 1, 2, 3]]
    assert as_boxes(np.zeros((0, 5)), 5).shape == (0, 5)
    with pytest.raises(ValueError, match="expected 4 columns, got 5"):
        as_boxes(np.zeros((2, 5)))


def _raw(*elements: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + b"".join(elements)


def _array(kind: int, shape: bytes, *content: bytes) -> bytes:
    body = (
        struct.pack("<IIII", 6, 8, kind, 0) + shape + struct.pack("<II", 1, 0) + b"".join(content)
    )
    return struct.pack("<II", 14, len(body)) + body


_ONE = struct.pack("<IIii", 5, 8, 1, 1)
_BYTES = struct.pack("<II", 2, 1) + bytes(8)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_array(6, struct.pack("<IIii", 5, 8, 1 << 30, 1), _BYTES), "declares the shape"),
        (_array(1, struct.pack("<IIii", 5, 8, 1 << 30, 1)), "declares the shape"),
        (_array(6, struct.pack("<IIii", 5, 8, -1, -1), _BYTES), "declares the shape"),
        (_array(6, struct.pack("<IIH", 5, 2, 8) + bytes(6), _BYTES), "a shape of 2 bytes"),
        (_array(4, _ONE, struct.pack("<II", 12048, 1) + bytes(8)), "without numbers"),
        (_array(1, _ONE), "0 cells or fields, 1 are declared"),
        (_array(2, _ONE, struct.pack("<IIII", 5, 4, 0, 0), struct.pack("<II", 1, 0)), "names of"),
        (_array(99, _ONE, _BYTES), "class 99"),
        (struct.pack("<II", 3, 8) + bytes(8), "type 3 where an array"),
        (struct.pack("<II", 14, 1 << 31), "longer than the file"),
    ],
)
def test_what_is_declared_is_compared_with_what_is_there(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(_raw(content))
    with pytest.raises(DataError, match=rf"a\.mat: not a MATLAB file .*{says}"):
        read_mat(path, "a")


def test_cells_in_cells_and_archives_that_unpack_to_too_much(tmp_path: Path) -> None:
    nested = _array(6, _ONE, _BYTES)
    for _ in range(40):
        nested = _array(1, _ONE, nested)
    (tmp_path / "a.mat").write_bytes(_raw(nested))
    with pytest.raises(DataError, match="nested more than 32 deep"):
        read_mat(tmp_path / "a.mat", "a")
    packed = zlib.compress(bytes(140 << 20), 1)
    (tmp_path / "b.mat").write_bytes(_raw(struct.pack("<II", 15, len(packed)) + packed))
    with pytest.raises(DataError, match="unpacks to more than 128 MiB"):
        read_mat(tmp_path / "b.mat", "a")
