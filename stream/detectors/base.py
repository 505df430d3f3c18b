"""The Detector protocol: frames in, faces out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stream.detectors.gaze import Area, Boxes
from stream.records import Faces, Frame


class Detector(Protocol):
    """Made and used by the analysis thread. Frames of all cameras come together; a frame's answer depends on it alone.

    Faces are in pixels of the full frame, best score first; one Faces per frame, in the same order.
    """

    follows: bool  # whether it can look at single faces; else all of every frame is to be searched
    most: int  # faces in one frame

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        """The faces in these areas of each frame's small image."""
        ...

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        """The face at each of the (N, 4) boxes x1 y1 x2 y2, if it is there; where the faces were a moment ago.

        In no frame more faces than boxes; none at all from a detector that can only search.
        """
        ...
