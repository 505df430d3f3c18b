"""The Engine protocol: the whole seam between the pipeline and whatever computes a network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineMismatch
from engines.spec import ModelSpec

Batch = NDArray[np.float32]
Outputs = dict[str, NDArray[np.float32]]


class Engine(Protocol):
    """A network, ready to compute. Made, used and closed by one thread.

    What `infer` returns belongs to the caller: no later call writes into it. The answer to one sample does not depend
    on the other samples of its batch, so that cameras cannot influence each other (contract test: bit for bit).
    """

    spec: ModelSpec
    fingerprint: str  # model hash, backend, version and options: equal fingerprints give equal answers on one machine
    max_batch: int
    best_batch: int  # how it likes to be fed (measured); 1 when a batch costs more than its parts

    def infer(self, batch: Batch) -> Outputs:
        """(B, C, H, W) float32 -> named outputs, B first. Raises EngineMismatch when the batch does not fit."""
        ...

    def close(self) -> None:
        """Free what it holds. May be called twice; `infer` afterwards raises EngineMismatch."""
        ...


def check_batch(engine: Engine, batch: Batch) -> None:
    """Raise EngineMismatch, with a sentence, unless `batch` is what the engine's spec promises to take."""
    wanted, stride = engine.spec.input_shape, engine.spec.stride
    fits = batch.ndim == 4 and all(
        n == w if w else n > 0 and n % stride == 0 for w, n in zip(wanted, batch.shape[1:], strict=True)
    )
    if batch.dtype != np.float32 or not fits:
        shape = ", ".join(str(w) if w else f"multiple of {stride}" for w in wanted)
        raise EngineMismatch(
            f"{engine.spec.name}: expected (B, {shape}) float32, got {batch.shape} {batch.dtype}; "
            "was it made by engines.preprocess with the same spec?"
        )
    if not 1 <= len(batch) <= engine.max_batch:
        raise EngineMismatch(
            f"{engine.spec.name}: batch of {len(batch)} is outside 1..{engine.max_batch}; split it at best_batch"
        )
