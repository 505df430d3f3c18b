"""`auto`: every backend that is installed and can run here builds its engine; those that pass parity are timed in one
process, by turns, and the fastest is remembered (`engines.choice`), so that the choice is the same at each start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing

from engines.backends.base import Progress
from engines.base import Batch, Engine, example
from engines.builder import build_apart
from engines.cache import Cache, Entry
from engines.choice import DEFAULT, Candidate, Choice, candidates, choice_path, only_default, remembered, surroundings
from engines.errors import EngineError, EngineMissing
from engines.load import load_engine
from engines.options import Options
from engines.store import Model

ROUNDS = 30
WAITING = (1, 2, 4, 8, 16)  # faces, or pictures, of all cameras at one time
PATIENCE_S = 5.0  # of each engine
FEWEST = 3


def choose(model: Model, options: Options, cache: Cache, progress: Progress = lambda done: None) -> Choice:
    """The fastest of the candidates that pass parity, built and timed now unless it is remembered.

    Raises EngineMissing when none does.
    """
    if (choice := remembered(model, options, cache)) is not None:
        return choice
    asked, left_out = candidates(model, options)
    if not asked:
        raise _none(model, left_out)
    path = choice_path(model, options, cache, surroundings())
    with cache.alone(path.stem):  # workers that start together measure once, undisturbed, and agree
        if (choice := remembered(model, options, cache)) is None:
            choice = _found(model, cache, asked, left_out, progress)
            cache.keep(path, choice.model_dump_json(indent=2) + "\n")
    progress(1.0)
    return choice


def _found(
    model: Model, cache: Cache, asked: Mapping[str, Candidate], left_out: dict[str, str], progress: Progress
) -> Choice:
    """Raises EngineMissing when nobody passes parity."""
    if list(asked) == [DEFAULT]:
        return only_default(left_out)  # there is nothing to compare it with
    entries = _built(model, cache, asked, left_out, progress)
    if not entries:
        raise _none(model, left_out)
    return _fastest(asked, _timed(model, asked, entries), left_out)


def _built(
    model: Model, cache: Cache, asked: Mapping[str, Candidate], left_out: dict[str, str], progress: Progress
) -> dict[str, Entry]:
    """The engines of those that pass parity; why others do not goes into `left_out`."""
    entries: dict[str, Entry] = {}
    for number, (name, candidate) in enumerate(asked.items()):
        try:
            job = build_apart(model, candidate.backend, candidate.options, cache)
            entries[name] = job.wait(lambda done, number=number: progress((number + done) / (len(asked) + 1)))  # type: ignore[misc]
        except EngineError as error:
            left_out[name] = str(error)
    return entries


def _none(model: Model, left_out: Mapping[str, str]) -> EngineMissing:
    told = "; ".join(f"{name}: {why}" for name, why in sorted(left_out.items()))
    return EngineMissing(f"no backend here computes {model.spec.name}: {told}")


def _fastest(asked: Mapping[str, Candidate], costs: Mapping[str, float], left_out: dict[str, str]) -> Choice:
    order = sorted(costs, key=lambda name: costs[name])
    told = ", ".join(f"{name} {costs[name]:.3f}" for name in order)
    return Choice(
        backend=asked[order[0]].backend,
        bf16=bool(asked[order[0]].options.bf16),
        reason=f"ms a sample, the mean over {', '.join(map(str, WAITING))} that wait: {told}",
        ms_per_sample={name: round(costs[name], 4) for name in order},
        left_out=left_out,
    )


def _timed(model: Model, asked: Mapping[str, Candidate], entries: Mapping[str, Entry]) -> dict[str, float]:
    """Milliseconds a sample of each engine: the mean over WAITING, each of them the best of rounds in turns.

    Of wall time, since a GPU's work is none of the CPU's.
    """
    with ExitStack() as stack:
        engines: dict[str, Engine] = {
            name: stack.enter_context(closing(load_engine(model, asked[name].backend, asked[name].options, entry)))
            for name, entry in entries.items()
        }
        sides = next(iter(asked.values())).options.sides(model.spec)
        batch = example(model.spec, max(WAITING), sides)
        best = {(name, count): float("inf") for name in engines for count in WAITING}
        end_s = time.monotonic() + PATIENCE_S * len(engines)
        for number in range(ROUNDS):
            for (name, count), known in best.items():
                best[name, count] = min(known, _cost_ms(engines[name], batch[:count]))
            if number >= FEWEST and time.monotonic() > end_s:
                break
        return {name: sum(best[name, count] for count in WAITING) / len(WAITING) for name in engines}


def _cost_ms(engine: Engine, batch: Batch) -> float:
    """Of each sample, when so many wait at once and are split as the engine likes."""
    start_s = time.perf_counter()
    for start in range(0, len(batch), engine.best_batch):
        engine.infer(batch[start : start + engine.best_batch])
    return (time.perf_counter() - start_s) * 1000 / len(batch)
