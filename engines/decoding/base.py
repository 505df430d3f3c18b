"""What a decoding family has to do: outputs of images of one size -> candidate faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.base import Outputs


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a network suggests in one small image: before suppression several boxes for each face, in no order."""

    boxes: NDArray[np.float32]  # (N, 4) x1 y1 x2 y2, edges in pixels of the small image, may reach outside it
    landmarks: NDArray[np.float32]  # (N, 5, 2), pixel centres of the small image, in the order of engines.spec
    scores: NDArray[np.float32]  # (N,) 0..1, all at least the threshold asked for

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """All of them, in order."""
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """Those of a mask or of indices, in the order of the indices."""
        return Candidates(self.boxes[rows], self.landmarks[rows], self.scores[rows])


# (outputs of B images, (height, width) of each, lowest score) -> what stands in them, each in the pixels of its own
# image, and (N,) in which one; what is told of an image does not depend on its neighbours
Decode = Callable[[Outputs, tuple[int, int], float], tuple[Candidates, NDArray[np.intp]]]


@dataclass(frozen=True, slots=True)
class Decoding:
    """A family of detector networks that are read in the same way."""

    outputs: tuple[str, ...]  # the names that `decode` reads
    decode: Decode
