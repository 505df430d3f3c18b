"""What an engine costs per sample at each batch size: where its `best_batch` comes from.

`python -m engines.bench MODEL [HEIGHT WIDTH]` prints one JSON object; the sides are for a model that leaves them free.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from engines.base import Engine
from engines.load import load_engine
from engines.store import find_model

SIZES = (1, 2, 4, 8, 16, 32)
ROUNDS = 40


def milliseconds_per_sample(
    engine: Engine,
    side: tuple[int, int],
    sizes: Sequence[int] = SIZES,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.process_time,
) -> dict[int, float]:
    """Batch size -> milliseconds for each of its samples, the best of `rounds`. `side` is (height, width).

    By default of CPU time, which on one thread is the time on an idle machine. The sizes take turns, so that another
    load hits them alike, and the best round is the one it hit least.
    """
    channels = engine.spec.input_shape[0]
    batch = np.random.default_rng(0).normal(size=(max(sizes), channels, *side)).astype(np.float32)
    best = dict.fromkeys(sizes, float("inf"))
    for _ in range(rounds):
        for size in sizes:
            start_s = clock()
            engine.infer(batch[:size])
            best[size] = min(best[size], (clock() - start_s) * 1000 / size)
    return best


def main(arguments: Sequence[str]) -> None:
    """Measure the model on ONNX Runtime, with the threads that a worker gives it."""
    model = find_model(arguments[0])
    _, height, width = model.spec.input_shape
    side = (int(arguments[1]), int(arguments[2])) if len(arguments) > 2 else (height, width)
    engine = load_engine(model)
    sizes = [size for size in SIZES if size <= engine.max_batch]
    print(json.dumps({"engine": engine.fingerprint, "side": side, "ms": milliseconds_per_sample(engine, side, sizes)}))
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1:])
