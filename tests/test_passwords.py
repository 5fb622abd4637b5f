"""Passwords of cameras: nothing that is shown has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.errors import SourceError
from jdetrt.passwords import without_passwords
from jdetrt.runtime.sources.open import open_source


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://host/stream", "rtsp://host/stream"),
        ("rtsp://host:554/stream", "rtsp://host:554/stream"),
        ("rtsp://u:p#ss@host/s#h265", "rtsp://u:***@host/s#h265"),
        ("rtsp://u:p/a/ss@host/s", "rtsp://u:***@host/s"),
        ('rtsp://u:p"ss@host/s', "rtsp://u:***@host/s"),
        ("rtsp://u:p ss@host/s", "rtsp://u:***@host/s"),
        ("rtsp://u:p@ss@host/s", "rtsp://u:***@host/s"),
        ("rtsp://u:p:s?s&s@host/s", "rtsp://u:***@host/s"),
        ("rtsp://:ss@host/s", "rtsp://:***@host/s"),
        ("https://token-alone@host/s", "https://***@host/s"),
        ("RTSP://u:ss@[fe80::1]:554/s", "RTSP://u:***@[fe80::1]:554/s"),
        ("rtsp://host/s?user=a&password=ss", "rtsp://host/s?user=a&password=***"),
        ('rtsp://host/s?PWD=s#s/"s s&x=1', "rtsp://host/s?PWD=***&x=1"),
        ("http://host/s?access_token=ss&x=1", "http://host/s?access_token=***&x=1"),
        ("http://host/s?api_key=ss;x", "http://host/s?api_key=***"),
        (
            'gst:rtspsrc location="rtsp://u:s\\"s@h/s" user-pw="s s" ! decodebin ! appsink',
            'gst:rtspsrc location="rtsp://u:***@h/s" user-pw=*** ! decodebin ! appsink',
        ),
        (
            "mix rtsp://a:ss@one/s and rtsp://b:ss@two/s",
            "mix rtsp://a:***@one/s and rtsp://b:***@two/s",
        ),
        ("folder/me@work.mp4", "folder/me@work.mp4"),
        ("bypass.mp4", "bypass.mp4"),
    ],
)
def test_passwords_are_hidden_and_the_rest_stays(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@given(st.text(min_size=1, max_size=20), st.sampled_from(["rtsp", "http", "ftp", "gst+x"]))
def test_no_password_of_any_characters_is_shown(password: str, scheme: str) -> None:
    secret = f"<{password}>"
    shown = without_passwords(f"{scheme}://me:{secret}@host/stream")
    assert shown == f"{scheme}://me:***@host/stream"
    assert secret not in without_passwords(f"{scheme}://host/stream?password={secret[:1]}")


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://me:s#cret@host/stream",
        "rtsp://me:s#cret/@host/stream#h266",
        "ftp://me:s#cr/et@host/v",
        "camera:0?password=s#cret",
        "RTSP://me:s#cret@host/stream",
        "rtsp:/me:pass=s#cret",
        "gst:rtspsrc location=rtsp://me:s#cret@host/s ! fakesink",
    ],
)
def test_no_message_has_a_password(uri: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(uri)
    assert "cret" not in str(caught.value)


def test_a_hash_in_a_password_is_explained() -> None:
    with pytest.raises(SourceError, match="%23"):
        open_source("rtsp://me:s#cret@host/stream")
