"""What an engine costs per sample at each batch size: where its `best_batch` comes from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from engines.base import Engine, example

ROUNDS = 40
PATIENCE_S = 4.0  # after which no further round begins; a detector's take longer
FEWEST = 3
NO_WORSE = 1.03  # a batch that costs so much more per sample than the best one is as good, and nobody waits for others


def sizes_up_to(max_batch: int) -> tuple[int, ...]:
    """1, 2, 4 ... and the largest."""
    return tuple(sorted({size for size in (2**n for n in range(16)) if size < max_batch} | {max_batch}))


def best_batch_of(costs: Mapping[int, float]) -> int:
    """The smallest batch that costs, per sample, about as little as any. `costs` as `milliseconds_per_sample` gives."""
    return min(size for size, cost in costs.items() if cost <= NO_WORSE * min(costs.values()))


def milliseconds_per_sample(
    engine: Engine,
    side: tuple[int, int] | None = None,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32),
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, float]:
    """Batch size -> milliseconds for each of its samples, the best of `rounds`. `side` is (height, width), where free.

    By default of wall time: CPU time knows nothing of a GPU, and that of other threads, as OpenVINO has them, comes
    late. The sizes take turns, so that another load hits them alike, and the best round is the one it hit least.
    """
    batch = example(engine.spec, max(sizes), side)
    best = dict.fromkeys(sizes, float("inf"))
    end_s = time.monotonic() + PATIENCE_S
    for number in range(rounds):
        if number >= FEWEST and time.monotonic() > end_s:
            break
        for size in sizes:
            start_s = clock()
            engine.infer(batch[:size])
            best[size] = min(best[size], (clock() - start_s) * 1000 / size)
    return best
