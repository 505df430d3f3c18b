"""How whoever measures or shows a run looks into it: the bench, the metrics and the live page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stream.detectors.gaze import Area, Boxes
from stream.pipeline import Parts
from stream.records import Faces, Frame, Scores, Tracks
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


class Observer:
    """Stands behind the protocols of a run's detector and classifier, and passes everything on.

    Whoever observes overrides what they want to see. Used by the analysis thread alone.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.follows, self.most = parts.detector.follows, parts.detector.most

    def around(self) -> Parts:
        """The same parts, observed."""
        return replace(self._parts, detector=self, classifier=self)

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        """First in each step, once."""
        return self._parts.detector.follow(frames, expected)

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        """Perhaps several times in a step, perhaps for no area."""
        return self._parts.detector.search(frames, areas)

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]:
        """Last in each step, once."""
        return self._parts.classifier.classify(frames, tracks, due)


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
