"""`emostream engines bench`: every engine of a model against the others, each in a process of its own, by turns.

Turns, because the speed of a machine drifts: each round asks everyone once for each batch size, and the best round
counts.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from engines.bench import sizes_up_to
from engines.builder import build_apart
from engines.cache import Cache, Entry
from engines.child import PACKAGES, command, told
from engines.choice import candidates
from engines.errors import EngineError
from engines.options import Options
from engines.store import Model

ROUNDS = 20
# What the method that is rebuilt here was published with: MobileNetV1 48x48 with center loss, classification alone.
PUBLISHED = {"what": "MobileNetV1 with center loss as published, Quadro K4200, batch 1", "ms_per_call": {1: 3.57}}
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who takes part: a command that speaks as engines.contestant does."""

    name: str
    precision: str
    command: Sequence[str]
    request: str | None = None
    build_s: float | None = None
    size_bytes: int | None = None


def entrants(models: Sequence[Model], options: Options, cache: Cache, largest: int, say: Say) -> list[Entrant]:
    """Each of the models (one network in several precisions) on each backend that runs here, built if need be."""
    found = []
    for model in models:
        asked, left_out = candidates(model, options)
        for name, candidate in asked.items():
            try:
                say(f"{model.spec.name} with {name}")
                entry = build_apart(model, candidate.backend, candidate.options, cache).wait()
            except EngineError as error:
                left_out[name] = str(error)
                continue
            found.append(_entrant(model, candidate.options, entry, largest))
        for name, why in left_out.items():
            say(f"{model.spec.name} without {name}: {why}")
    return found


def _entrant(model: Model, options: Options, entry: Entry, largest: int) -> Entrant:
    request = {
        **told(model, options),
        "folder": str(entry.folder),
        "largest": largest,
    }
    manifest = entry.manifest
    return Entrant(
        manifest.fingerprint.library,
        manifest.fingerprint.precision,
        command("engines.contestant"),
        json.dumps(request),
        manifest.build_s,
        entry.size(),
    )


def contest(taking_part: Sequence[Entrant], largest: int, say: Say, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """A row for each: what loading cost, and milliseconds a call and a sample by batch size."""
    sizes = sizes_up_to(largest)
    with ExitStack() as stack:
        alive = []
        for entrant in taking_part:  # each loads alone
            child = stack.enter_context(_Child(entrant))
            try:
                alive.append((entrant, child, child.read()))
            except EngineError as error:
                say(str(error))
        best: list[dict[int, float]] = [dict.fromkeys(sizes, float("inf")) for _ in alive]
        for number in range(rounds):
            for (_, child, _), times in zip(alive, best, strict=True):
                for size in sizes:
                    times[size] = min(times[size], child.time(size))
            say(f"round {number + 1} of {rounds}")
        return [_row(entrant, loaded, times) for (entrant, _, loaded), times in zip(alive, best, strict=True)]


def _row(entrant: Entrant, loaded: Mapping[str, float], times: Mapping[int, float]) -> dict[str, Any]:
    per_sample = {size: times[size] / size for size in times}
    return {
        "engine": entrant.name,
        "precision": entrant.precision,
        "build_s": entrant.build_s,
        "bytes": entrant.size_bytes,
        **loaded,
        "ms_per_call": {size: round(spent, 3) for size, spent in times.items()},
        "ms_per_sample": {size: round(spent, 4) for size, spent in per_sample.items()},
        "samples_per_s": round(1000 / min(per_sample.values())),
    }


class _Child:
    """A contestant's process."""

    def __init__(self, entrant: Entrant) -> None:
        self._name = f"{entrant.name} {entrant.precision}"
        self._process = subprocess.Popen(
            list(entrant.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PACKAGES,
        )
        if entrant.request is not None:
            self._send(entrant.request)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with self._process.stdout:
            self._process.wait()

    def time(self, size: int) -> float:
        """Milliseconds of one call."""
        self._send(json.dumps({"size": size}))
        return float(self.read()["ms"])

    def read(self) -> dict[str, float]:
        """Its next line. Raises EngineError when it has died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(f"{self._name} ended with exit code {self._process.wait()} and is left out")
        answer: dict[str, float] = json.loads(line)
        return answer

    def _send(self, line: str) -> None:
        with suppress(BrokenPipeError):  # `read` says so
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
