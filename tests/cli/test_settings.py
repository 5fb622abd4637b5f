"""Settings of a tracker as TOML: what is written is what is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from jdetrt.cli.settings import toml_text, tracker_settings
from jdetrt.config import (
    IouConfig,
    PaperConfig,
    ReferenceConfig,
    TrackerConfig,
    load,
    preset_of,
)


@pytest.mark.parametrize(
    "config",
    [
        ReferenceConfig(),
        PaperConfig(gate=1e8 + 0.1, birth_frames=1),
        IouConfig(reach=1e-9, buffer=99, min_area=0.1 + 0.2),
    ],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, config: TrackerConfig) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(toml_text(config))
    assert load(path, type(config)) == config
    assert tracker_settings(path, None, IouConfig, {}) == config
    assert tracker_settings(path, preset_of(config), IouConfig, {"nms_iou": None}) == config


def test_every_number_is_toml() -> None:
    """Python and JSON spell infinity in ways that TOML does not know."""
    config = msgspec.structs.replace(ReferenceConfig(), gate=float("inf"), iou_limit=1e-7)
    read = msgspec.toml.decode(toml_text(config))
    assert read["gate"] == float("inf")
    assert read["iou_limit"] == 1e-7
