"""Which settings a model is tracked with, where nobody gives all of them."""

from __future__ import annotations

import pytest

from jdetrt.config import FusedConfig, IouConfig, PaperConfig
from jdetrt.errors import ConfigError, SessionError
from jdetrt.runtime.settings import tracker_config, tracker_note
from jdetrt.testing import FakeSession


def session(metadata: dict[str, str], *, embeddings: bool = True) -> FakeSession:
    dim = 4 if embeddings else None
    return FakeSession([], size=(64, 32), embedding_size=dim, metadata=metadata)


def test_a_model_that_says_nothing_is_tracked_with_fused() -> None:
    assert tracker_config(session({})) == FusedConfig()
    assert tracker_config(session({}, embeddings=False)) == FusedConfig()


def test_what_travels_with_a_model_is_taken_unless_a_preset_is_named() -> None:
    own = IouConfig(score_threshold=0.3, buffer=7)
    noted = session(tracker_note(own))
    assert tracker_config(noted) == own
    assert tracker_config(noted, "iou") == IouConfig()
    assert tracker_config(noted, "paper") == PaperConfig()
    with pytest.raises(ConfigError, match="one of reference, paper, iou"):
        tracker_config(noted, "sort")


@pytest.mark.parametrize(
    "note", ["", "{}", "[1]", '{"preset": "sort"}', '{"preset": "iou", "buffer": -1}']
)
def test_settings_that_cannot_be_read_are_named(note: str) -> None:
    with pytest.raises(SessionError, match=r"model's metadata"):
        tracker_config(session({"tracker": note}))
