"""The Detector protocol: frames in, faces out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stream.records import Faces, Frame


class Detector(Protocol):
    """Made and used by the analysis thread. Frames of all cameras come together."""

    def detect(self, frames: Sequence[Frame]) -> list[Faces]:
        """One Faces per frame, same order, in pixels of the full frame; a frame's answer depends on it alone."""
        ...
