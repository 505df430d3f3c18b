"""The Engine protocol: the whole seam between the pipeline and whatever computes a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineMismatch, ModelInvalid
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


def example(spec: ModelSpec, count: int, side: tuple[int, int] | None = None) -> Batch:
    """(count, C, H, W) of noise, the same at every call, to try an engine or its speed. `side` is (height, width).

    Without it, free sides are two strides.
    """
    channels, height, width = spec.input_shape
    height, width = side or (height or 2 * spec.stride, width or 2 * spec.stride)
    return np.random.default_rng(0).normal(size=(count, channels, height, width)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as a compiled network declares it, whatever the backend."""

    name: str
    shape: tuple[int | None, ...]  # None is free
    float32: bool


def check_ports(spec: ModelSpec, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Raise ModelInvalid, with a sentence, unless the network takes and gives what its spec says."""
    problem = _input_problem(spec, inputs) or _output_problem(spec, outputs)
    if problem:
        raise ModelInvalid(f"{spec.name}: {problem}; export the model and its spec again, together")


def _input_problem(spec: ModelSpec, inputs: Sequence[Port]) -> str | None:
    if len(inputs) != 1:
        return f"expected one input, the network has {len(inputs)}"
    port = inputs[0]
    wanted = spec.input_shape
    # a fixed side must not meet a free one of the spec; a fixed side of the spec may well run on a free network
    fits = len(port.shape) == 4 and all(n is None or n == w for w, n in zip(wanted, port.shape[1:], strict=True))
    if not fits or not port.float32:
        return f"the spec says (B, {wanted}) float32 with 0 for free, the input {port.name!r} is {port.shape}"
    return None


def _output_problem(spec: ModelSpec, outputs: Sequence[Port]) -> str | None:
    given = {port.name: port for port in outputs}
    missing = [name for name in spec.outputs if name not in given]
    if missing:
        return f"the spec names the outputs {', '.join(missing)}, the network has {', '.join(given)}"
    other = [name for name in spec.outputs if not given[name].float32]
    if other:
        return f"the outputs {', '.join(other)} are not float32"
    columns = given[spec.outputs[0]].shape[-1:]
    if spec.task == "emotion" and columns not in ((None,), (len(spec.labels),)):
        return f"the spec has {len(spec.labels)} labels, the output {spec.outputs[0]!r} ends in {columns}"
    return None
