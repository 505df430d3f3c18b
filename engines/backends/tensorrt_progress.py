"""How far a build is, out of the nested phases that TensorRT tells: a number that only grows."""

from __future__ import annotations

from dataclasses import dataclass

ROOT_SHARE = 0.95  # of what is left, for a phase without a parent: nobody says whether another one follows


@dataclass(slots=True)
class _Phase:
    begin: float  # where it starts, 0..1 of the whole
    width: float  # its share of the whole
    steps: int
    complete: int = 0

    def reached(self) -> float:
        return self.begin + self.width * min(1.0, self.complete / self.steps)


class Phases:
    """A phase fills one step of its parent. Names are unique among the open ones, and come again later."""

    def __init__(self) -> None:
        self._open: dict[str, _Phase] = {}
        self._done = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins."""
        outer = self._open.get(parent or "")
        if outer is None:
            begin, width = self._done, (1.0 - self._done) * ROOT_SHARE
        else:
            begin, width = outer.reached(), outer.width / outer.steps
        self._open[name] = _Phase(begin, width, max(1, steps))

    def step(self, name: str, step: int) -> float | None:
        """`step`, counted from 0, is done: how much that makes of the whole, None when it is no more than before."""
        phase = self._open.get(name)
        if phase is None:
            return None
        phase.complete = max(phase.complete, step + 1)
        return self._grown(phase.reached())

    def finish(self, name: str) -> float | None:
        """A phase is over, with or without having told all its steps."""
        phase = self._open.pop(name, None)
        return None if phase is None else self._grown(phase.begin + phase.width)

    def _grown(self, reached: float) -> float | None:
        if reached <= self._done:
            return None
        self._done = reached
        return reached
