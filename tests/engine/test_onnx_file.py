"""What is read of an ONNX file without the package onnx, against that package."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_onnx import write_external_onnx, write_small_onnx

from jdetrt.engine.onnx_file import fingerprint, input_shape, metadata, model_files
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.errors import DataError, SessionError
from jdetrt.export import onnx_graph

NOTES = st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=5)


@given(notes=NOTES)
def test_metadata_as_onnx_reads_it(
    notes: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_small_onnx(tmp_path_factory.mktemp("onnx") / "model.onnx", **notes)
    expected = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert metadata(path) == expected == notes


def test_every_place_where_a_file_can_be_cut(tmp_path: Path) -> None:
    data = write_small_onnx(tmp_path / "whole.onnx", name="value").read_bytes()
    whole, cut = metadata(tmp_path / "whole.onnx"), tmp_path / "cut.onnx"
    # A message says nowhere how many fields it has: a cut between two of them cannot be seen.
    seen = 0
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with suppress(SessionError):
            assert metadata(cut) in ({}, whole)
            seen -= 1
        seen += 1
    assert len(data) - 10 < seen < len(data)


@pytest.mark.parametrize("name", ["model.bin", "w" * 127 + ".bin", "w" * 240 + ".bin"])
def test_a_fingerprint_covers_weights_in_other_files(name: str, tmp_path: Path) -> None:
    model = write_external_onnx(tmp_path / "model.onnx", name)
    weights = tmp_path / name
    assert list(model_files(model)) == [model, weights]
    before = fingerprint(model)
    assert before == fingerprint(model)
    data = bytearray(weights.read_bytes())
    data[0] ^= 1
    weights.write_bytes(data)
    assert fingerprint(model) != before
    weights.unlink()
    with pytest.raises(SessionError, match=r"\.bin: cannot be read"):
        fingerprint(model)
    os.mkfifo(weights)
    with pytest.raises(SessionError, match=r"\.bin: cannot be read \(not a regular file but"):
        fingerprint(model)


def test_a_fingerprint_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    model = write_small_onnx(tmp_path / "model.onnx")
    assert fingerprint(model) == hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "content",
    [b"\xff" * (1 << 20), b"\x08\x08\x12" + b"\xff" * (1 << 20), b"\x08\x00" * (1 << 20)],
)
def test_numbers_and_messages_without_an_end_are_refused_at_once(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    for read in (metadata, input_shape):
        with pytest.raises(SessionError, match="is not an ONNX model, or is cut short"):
            read(path)


def test_a_flipped_bit_in_a_note(tmp_path: Path) -> None:
    path = write_small_onnx(tmp_path / "a.onnx", note="plain")
    path.write_bytes(path.read_bytes().replace(b"plain", b"pl\xe1in"))
    with pytest.raises(SessionError, match="is not an ONNX model, or is cut short"):
        metadata(path)
    with pytest.raises(DataError, match="a name or a note in it is not text"):
        onnx_graph.read(path)
    with pytest.raises(SessionError, match="a name or a note in it is not text"):
        OrtSession(path)


@pytest.mark.parametrize("name", ["../weights.bin", "/weights.bin", "a/../../weights", "we\0.bin"])
def test_weights_are_inside_the_folder_of_the_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    model = write_external_onnx(tmp_path / "model" / "a.onnx", "w" * len(name))
    model.write_bytes(model.read_bytes().replace(b"w" * len(name), name.encode()))
    with pytest.raises(SessionError, match=r"no file of its own folder|cannot be read"):
        fingerprint(model)
