"""The Detector protocol: frames in, faces out; and what a decoding family has to do for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.base import Outputs
from stream.records import Faces, Frame


class Detector(Protocol):
    """Made, used and closed by the analysis thread. Frames of all cameras come together."""

    def detect(self, frames: Sequence[Frame]) -> list[Faces]:
        """One Faces per frame, same order, in pixels of the full frame; a frame's answer depends on it alone."""
        ...

    def close(self) -> None:
        """Close the engine. May be called twice."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a network suggests in one small image: several boxes for each face, in no order."""

    boxes: NDArray[np.float32]  # (N, 4) x1 y1 x2 y2, edges in pixels of the small image, may reach outside it
    landmarks: NDArray[np.float32]  # (N, 5, 2), pixel centres of the small image, in the order of engines.spec
    scores: NDArray[np.float32]  # (N,) 0..1, all at least the threshold asked for

    def __len__(self) -> int:
        return len(self.scores)


# (one image's outputs without B, (height, width) of the small image, lowest score) -> what stands in them
Decode = Callable[[Outputs, tuple[int, int], float], Candidates]


@dataclass(frozen=True, slots=True)
class Decoding:
    """A family of detector networks that are read in the same way."""

    outputs: tuple[str, ...]  # the names that `decode` reads
    decode: Decode
