"""What events say of themselves: whether any is missing, came twice or out of order. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from stream.events import Event, Gap, SeqRange, TrackEnded, TrackStarted, speaks_from


@dataclass
class Account:
    """What a consumer can say of a list of events by their seqs alone."""

    lost: int = 0  # seqs that neither came nor were named by a gap
    repeated: int = 0  # events that came twice, or after a later one of their session
    given_up: int = 0  # seqs named by gaps
    open_tracks: set[tuple[str, str, int]] = field(default_factory=set)  # never ended
    sessions: set[tuple[str, str]] = field(default_factory=set)  # camera, session

    @classmethod
    def of(cls, events: Sequence[Event]) -> Self:
        account, expected = cls(), Counter[tuple[str, str]]()
        for event in events:
            key = (event.camera_id, event.session)
            first = speaks_from(event)
            account.lost += max(0, first - expected[key])
            account.repeated += event.seq < expected[key]
            account.given_up += _named(event)
            expected[key] = max(expected[key], event.seq + 1)
            account._follow(event, key)
        account.sessions = set(expected)
        return account

    @property
    def wrong(self) -> int:
        """Everything that should not have happened to a seq."""
        return self.lost + self.given_up + self.repeated

    def _follow(self, event: Event, key: tuple[str, str]) -> None:
        if isinstance(event, TrackStarted):
            self.open_tracks.add((*key, event.track_id))
        elif isinstance(event, TrackEnded):
            self.open_tracks.discard((*key, event.track_id))


def _named(event: Event) -> int:
    """How many seqs a gap names."""
    ranges = [each for each in event.ranges if isinstance(each, SeqRange)] if isinstance(event, Gap) else []
    return sum(each.last_seq - each.first_seq + 1 for each in ranges)


def missing_from(events: Sequence[Event], accepted: Sequence[Event]) -> int:
    """How many of the accepted events were not among `events`, byte for byte."""
    delivered: dict[str, set[str]] = defaultdict(set)
    for event in events:
        delivered[event.camera_id].add(event.to_json())
    return sum(event.to_json() not in delivered[event.camera_id] for event in accepted)
