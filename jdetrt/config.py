"""Settings, and every number taken from the paper or its reference code, once.

Sections are frozen and typed; a TOML file that names an unknown key, or gives a value of the wrong
type, is refused with the path of the key. "Paper" is *Towards Real-Time Multi-Object Tracking*
(arXiv 1909.12605), "reference" its own code, the repository Towards-Realtime-MOT at e9fa1e8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from jdetrt.documents import read_toml
from jdetrt.errors import ConfigError

__all__ = [
    "ANCHORS_PER_CELL",
    "ANY_ASPECT",
    "CAMERA_MOTIONS",
    "DEFAULT_PRESET",
    "LARGEST_EMBEDDING",
    "LOSS_WEIGHT_INIT",
    "PRESETS",
    "PUBLISHED_ANCHORS",
    "STRIDES",
    "TABLE_2",
    "TABLE_2_TOTAL",
    "TOP_K_LIMIT",
    "AnyTrackerConfig",
    "ExportConfig",
    "FusedConfig",
    "IouConfig",
    "LabelConfig",
    "NetworkConfig",
    "PaperConfig",
    "ReferenceConfig",
    "ScoreScale",
    "TrackerConfig",
    "TrainingSet",
    "default_config",
    "load",
    "preset_of",
]

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
BelowOne = Annotated[float, Meta(ge=0.0, lt=1.0)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0.0, le=1e9)]
Side = Annotated[int, Meta(ge=1, le=1 << 16)]  # pixels
Anchor = tuple[Positive, Positive]
HeadAnchors = tuple[Anchor, Anchor, Anchor, Anchor]

_T = TypeVar("_T")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


# ---- association ---------------------------------------------------------------------------


class TrackerConfig(Section, frozen=True):
    """Settings that every association preset has."""

    score_threshold: Fraction = 0.5  # detections must be above it; reference track.py
    nms_iou: Fraction = 0.4  # reference track.py
    buffer: Count = 30  # frames at 30 FPS that a lost track is kept; scaled by the frame rate
    max_aspect: Positive = 1.6  # wider tracks (width / height) are not reported; reference track.py
    min_area: Annotated[float, Meta(ge=0.0, le=1e9)] = (
        200.0  # nor smaller ones, in square source pixels
    )


class ReferenceConfig(TrackerConfig, frozen=True, tag="reference", tag_field="preset"):
    """The paper's own tracker, quirks included (reference tracker/multitracker.py, matching.py)."""

    gate: Positive = 9.4877  # chi-square, 4 degrees of freedom, 95 %
    motion_weight: BelowOne = 0.02  # share of the squared Mahalanobis distance in the cost
    appearance_limit: Positive = 0.7  # first assignment
    iou_limit: BelowOne = 0.5  # second: 1 - IoU, tracks seen in the last frame
    unconfirmed_limit: BelowOne = 0.7  # third: 1 - IoU, tracks seen once
    duplicate_limit: BelowOne = 0.15  # a tracked and a lost track closer than this are one
    smoothing: Fraction = 0.9  # weight of the old embedding; paper section 3.6, equation 7


class PaperConfig(TrackerConfig, frozen=True, tag="paper", tag_field="preset"):
    """Association as paper section 3.6 words it; what it leaves open is marked (ours)."""

    motion_weight: BelowOne = 0.02  # 1 - lambda; lambda is not given: the reference's value
    gate: Positive = 9.4877  # (ours) no gate is mentioned; without one the motion term rules
    appearance_limit: Positive = 0.4  # (ours) largest cost: cosine distance and motion, weighted
    smoothing: Fraction = 0.9  # equation 7
    birth_frames: Annotated[int, Meta(ge=1)] = 2  # consecutive frames before a track is born


class IouConfig(TrackerConfig, frozen=True, tag="iou", tag_field="preset"):
    """Motion alone, for detections without embeddings.

    Two passes by score as in ByteTrack (arXiv 2110.06864), then one by distance for tracks that no
    box overlaps. Values chosen on the public detections of four MOT17 and two TUD sequences, as
    the middle of what is about equally good (docs/adr/0006).
    """

    score_threshold: Fraction = 0.1  # the low-score pass reaches down to here
    high_score: Fraction = 0.6  # the first pass takes detections from here
    birth_score: Fraction = 0.7  # tracks start from here
    buffer: Count = 60
    first_limit: BelowOne = 0.55  # 1 - IoU x score: high-score detections, all tracks
    second_limit: BelowOne = 0.5  # 1 - IoU: low-score detections, tracks of the last frame
    unconfirmed_limit: BelowOne = 0.7  # 1 - IoU x score: tracks seen once
    duplicate_limit: BelowOne = 0.15  # 1 - IoU: a tracked and a lost track closer than this are one
    reach: Positive = 0.2  # distance pass: how far a track may be from its box, in heights
    reach_growth: Annotated[float, Meta(ge=0.0, le=1e9)] = (
        0.03  # and how much further each frame unseen
    )
    reach_limit: Positive = 0.6  # but never further than this
    height_ratio: Fraction = 0.8  # and only if the heights are this alike
    # Noise of the motion filter (tracking.kalman): less of the measured aspect ratio and more
    # of its drift than in the reference, because a detector's box is better than the reference's
    # filter takes it to be.
    noise: tuple[Positive, Positive, Positive, Positive, Positive, Positive] = (
        0.05,
        0.008,
        0.05,
        1e-3,
        0.05,
        0.07,
    )


class FusedConfig(IouConfig, frozen=True, tag="fused", tag_field="preset"):
    """Motion first, appearance where motion cannot decide; without embeddings motion alone.

    All times are in frames at 30 FPS, whatever the frame rate. Values chosen at 30, 15, 10, 7.5 and
    5 FPS on public detections and on those of nano, as the middle of what is about equally good at
    all rates (docs/adr/0017).
    """

    first_limit: BelowOne = 0.55
    noise: tuple[Positive, Positive, Positive, Positive, Positive, Positive] = (
        0.05,
        0.008,
        0.05,
        1e-3,
        0.06,
        0.07,
    )
    # The first limit grows by so much for each frame that is missing at 30 FPS, up to the second
    # value; beyond ``first_limit`` only for pairs whose heights are alike by ``height_ratio``.
    sparse_growth: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    sparse_limit: BelowOne = 0.8
    smoothing: Fraction = 0.9  # weight of the old embedding
    crossing_weight: Fraction = 0.5  # of cosine distances, among overlaps that compete
    appearance_share: BelowOne = 0.4  # of the cosine distance in the cost of the distance pass
    appearance_limit: Positive = 0.25  # cosine distance: tracks and new people farther apart
    appearance_reach: Positive = 2.0  # how far apart at most, in heights
    appearance_growth: Annotated[float, Meta(ge=0.0, le=1e9)] = 0.05  # further each frame unseen


AnyTrackerConfig = ReferenceConfig | PaperConfig | IouConfig | FusedConfig  # by the key "preset"

PRESETS = ("reference", "paper", "iou", "fused")
DEFAULT_PRESET = "fused"  # docs/adr/0017
CAMERA_MOTIONS = ("auto", "off", "on")  # when jdetrt.runtime.camera_motion estimates it


def default_config(preset: str) -> AnyTrackerConfig:
    """The settings of a preset by its name. Raises ConfigError."""
    if preset not in PRESETS:
        raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    config: AnyTrackerConfig = msgspec.convert({"preset": preset}, AnyTrackerConfig)
    return config


def preset_of(config: TrackerConfig) -> str:
    """The name of the preset that settings belong to."""
    return str(msgspec.to_builtins(config)["preset"])


# ---- training data ---------------------------------------------------------------------------


class TrainingSet(NamedTuple):
    """A column of the paper's table 2, in thousands: images, boxes, identities (if any)."""

    name: str
    images: float
    boxes: float
    identities: float | None


# By the name of the list, without its ending. MOT16 has 53 in the table, which its own total of 54
# contradicts: 5.3.
_ETH = TrainingSet("ETH", 2, 17, None)
_M16 = TrainingSet("M16", 5.3, 112, 0.5)
_CS = TrainingSet("CS", 11, 55, 7)
TABLE_2 = {
    "eth": _ETH,
    "ethz": _ETH,
    "citypersons": TrainingSet("CP", 3, 21, None),
    "caltech": TrainingSet("CT", 27, 46, 0.6),
    "mot16": _M16,
    "mot17": _M16,
    "cuhksysu": _CS,
    "cuhk-sysu": _CS,
    "prw": TrainingSet("PRW", 6, 18, 0.5),
}
TABLE_2_TOTAL = TrainingSet("Total", 54, 270, 8.7)


# ---- network and export --------------------------------------------------------------------

LARGEST_EMBEDDING = 65536  # numbers; far more than any network has
STRIDES = (32, 16, 8)  # network pixels a cell of each head, in output order; paper section 3.2
ANCHORS_PER_CELL = 4  # paper section 3.2

# Anchor width and height in network pixels, of the heads /32, /16, /8 in this order, by network
# width and height: the effective (masked) values of the reference's cfg/yolov3_WIDTHxHEIGHT.cfg.
PUBLISHED_ANCHORS = {
    (1088, 608): (
        ((128, 384), (180, 540), (256, 640), (512, 640)),
        ((32, 96), (45, 135), (64, 192), (90, 271)),
        ((8, 24), (11, 34), (16, 48), (23, 68)),
    ),
    (864, 480): (
        ((102, 305), (143, 429), (203, 508), (407, 508)),
        ((25, 76), (36, 107), (51, 152), (71, 215)),
        ((6, 19), (9, 27), (13, 38), (18, 54)),
    ),
    (576, 320): (
        ((85, 255), (120, 360), (170, 420), (340, 320)),
        ((21, 64), (30, 90), (43, 128), (60, 180)),
        ((6, 16), (8, 23), (11, 32), (16, 45)),
    ),
}

# Initial log variances of the task weights of each head; reference models.py.
LOSS_WEIGHT_INIT = {"s_c": -4.15, "s_r": -4.85, "s_id": -2.3}


ANY_ASPECT = 1e6  # a `TrackerConfig.max_aspect` that leaves out no box


class LabelConfig(Section, frozen=True):
    """The class that a network detects, where that is another than people."""

    id: Count  # its number in the labels of the training data, and in results
    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]


class ScoreScale(Section, frozen=True):
    """A score is the sigmoid of ``slope * logit + offset``, in networks of about this size."""

    size: tuple[int, int]
    slope: Positive
    offset: float


class NetworkConfig(Section, frozen=True):
    """The shape of a JDE network, the size that its anchors belong to, and how to track with it."""

    body: str = "darknet53"
    # Network width and height at training; None where a checkpoint does not record it.
    size: tuple[Side, Side] | None = None
    # Default: reference cfg/yolov3_1088x608.cfg.
    embedding_dim: Annotated[int, Meta(ge=1, le=LARGEST_EMBEDDING)] = 512
    # Anchor width and height in network pixels, heads /32, /16, /8, the same at every network
    # size; None for the reference's rule, which goes by the size (jdetrt.training.network.anchors).
    anchors: tuple[HeadAnchors, HeadAnchors, HeadAnchors] | None = None
    # What suits the network where nobody says otherwise; it goes with the checkpoint, the models
    # and the plans that are made of it. None for a preset's own (jdetrt.runtime.settings).
    tracker: AnyTrackerConfig | None = None
    label: LabelConfig | None = None  # what it detects; None for people
    # The same score means the same at every network size: of these, the one counts that is nearest
    # in pixels. Only for networks that predict distances; none: scores are the network's own.
    scores: tuple[ScoreScale, ...] = ()


TOP_K_LIMIT = 3840  # TensorRT's TopK takes no more


class ExportConfig(Section, frozen=True):
    """Settings of an export to ONNX."""

    # Network width and height, multiples of 32; None for the size that the checkpoint records.
    size: tuple[Side, Side] | None = None
    # Candidates; where there are fewer, all.
    top_k: Annotated[int, Meta(ge=1, le=TOP_K_LIMIT)] = 256
    dynamic_batch: bool = False
    precision: Literal["fp32", "fp16"] = "fp32"  # what the network computes in; decoding: fp32
    half_weights: bool = False  # convolution weights rounded to and stored as float16
    opset: int = 17  # the newest that TensorRT 8.5 reads


def load(path: str | Path, section: type[_T]) -> _T:
    """Read a TOML file into a section.

    Raises:
        ConfigError: the file is missing, is not TOML, or has an unknown or wrong key.
    """
    return read_toml(path, section, ConfigError)
