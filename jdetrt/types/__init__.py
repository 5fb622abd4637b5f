"""Values that pass between the parts, and the protocol of a session."""

from jdetrt.size import Size
from jdetrt.types.frame import Frame
from jdetrt.types.people import Detections, Tracks
from jdetrt.types.session import Array, Session, TensorSpec

__all__ = ["Array", "Detections", "Frame", "Session", "Size", "TensorSpec", "Tracks"]
