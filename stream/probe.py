"""How whoever measures or shows a run looks into it: the bench, the metrics and the live page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.pipeline import Parts
from stream.sinks.base import Accepted

if TYPE_CHECKING:
    from stream.runtime import Worker


@dataclass(frozen=True, slots=True)
class Probe:
    """Where whoever measures a run looks in. None of these may wait or raise: the calling thread has other work."""

    started: Callable[[Worker], None] = lambda _: None  # main thread: engines are loaded, the cameras begin now
    parts: Callable[[Parts], Parts] = lambda parts: parts  # analysis thread: what it takes is used; again at each swap
    # publish thread: (sink, events that it has just stored)
    acknowledged: Callable[[str, Sequence[Accepted]], None] = lambda *_: None
    accepted: Callable[[Sequence[Accepted]], None] = lambda _: None  # publish thread: they have their seq now


def together(probes: Sequence[Probe]) -> Probe:
    """All of them, one after the other, as one."""

    def started(worker: Worker) -> None:
        for probe in probes:
            probe.started(worker)

    def around(parts: Parts) -> Parts:
        for probe in probes:
            parts = probe.parts(parts)
        return parts

    def acknowledged(sink: str, batch: Sequence[Accepted]) -> None:
        for probe in probes:
            probe.acknowledged(sink, batch)

    def accepted(batch: Sequence[Accepted]) -> None:
        for probe in probes:
            probe.accepted(batch)

    return Probe(started, around, acknowledged, accepted)
