"""JSON and TOML of a bounded depth; faults with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from jdetrt.documents import DEEPEST, decode_json, decode_toml, read_json, read_toml
from jdetrt.errors import ConfigError, DataError


class Row(msgspec.Struct, forbid_unknown_fields=True):
    fps: Annotated[float, Meta(gt=0.0)]


class Rows(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[Row] = []
    notes: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"rows": [{"fps": 1}, {"fps": "fast"}]}', r"rows\[1\]\.fps: Expected `float`, got `str`"),
        ('{"rows": [{"fps": 0}]}', r"rows\[0\]\.fps: Expected `float` > 0\.0"),
        ('{"rows": [{"fps": 1e999}]}', r"rows\[0\]\.fps: Number out of range"),
        ('{"rows": 3}', r"rows: Expected `array`, got `int`"),
        ("[]", r"Expected `object`, got `array`"),
        ('{"rows": [{"fps": NaN}]}', "JSON is malformed"),
        ("", "truncated"),
        ('{"notes": {"a": ' + "[" * 65 + "]" * 65 + "}}", "nested more than 64 deep"),
        ("[" * 1_000_000, "nested more than 64 deep"),
        ('{"notes":' * 5000, "nested more than 64 deep"),
    ],
)
def test_faults_of_json_have_their_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"^{path}: is not a table \(.*{says}.*\); again$") as err:
        read_json(path, Rows, DataError, "a table", "again")
    assert "\n" not in str(err.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = " + "[" * 504, "nested more than 64 deep"),
        ("x = " + "{a=" * 200_000, "nested more than 64 deep"),
        ("x = [" + "'[', " * 3 + "[" * 65, "nested more than 64 deep"),
        ("a" + ".a" * 100_000 + " = 1", "a key has more than 64 parts"),
        ("[" + "a . " * 70 + "a]", "a key has more than 64 parts"),
        ("x = " + "9" * 5000, "digits"),
        ("[notes]\nx = " + "9" * 900, r"notes\.x: expected a number of 64 bits"),
        ("[[rows]]\nfps = inf", r"rows\[0\]\.fps: expected a finite number, got inf"),
        ("[notes]\na = [1.0, nan]", r"notes\.a\[1\]: expected a finite number, got nan"),
        ("[[rows]]\nfps = -1.0", r"rows\[0\]\.fps: Expected `float` > 0\.0"),
        ("[[rows]]\nspeed = 1.0", r"rows\[0\]: Object contains unknown field `speed`"),
        ("x = \ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "Invalid"),
    ],
)
def test_faults_of_toml_have_their_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^{path}: .*{says}") as err:
        read_toml(path, Rows, ConfigError)
    assert "\n" not in str(err.value)


def test_brackets_in_strings_and_comments_are_no_nesting() -> None:
    brackets = "[" * 1000
    assert decode_json(json.dumps({"notes": {"a": f'"{brackets}\\'}}), Rows).notes == {
        "a": f'"{brackets}\\'
    }
    text = f'# {brackets}\n[notes]\na = \'{brackets}\'\nb = "\\"{brackets}"\n'
    text += f"c = '''\n'{brackets}'''\nd = \"\"\"\"{brackets}\"\"\"\n"
    notes = decode_toml(text.encode(), Rows).notes
    assert notes == {"a": brackets, "b": f'"{brackets}', "c": f"'{brackets}", "d": f'"{brackets}'}


def test_the_limit_is_exact() -> None:
    for depth, fine in ((DEEPEST, True), (DEEPEST + 1, False)):
        text = '{"notes":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
        if fine:
            with pytest.raises(ValueError, match="notes: Expected `object`"):
                decode_json(text, Rows)
        else:
            with pytest.raises(ValueError, match="nested"):
                decode_json(text, Rows)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    text = json.dumps(value)
    assert decode_json(text, object) == json.loads(text)
