"""Which events are given up when there is no room for all, and what stands in their place. Pure.

Events are given up *in their place*: two neighbours of one camera and session become one `Gap`, which may swallow its
next neighbour in turn.

Which seq does such a gap carry? The **last** one that it names, for it stands where that event stood; it is that
event's only trace, so it names that seq too. A reader who saw seq 4 and now gets a gap with ranges 5..9 and seq 9
knows everything up to 9, and the next is 10: the same rule, "what this event speaks for ends at its seq", holds for
gaps and for all others (`speaks_from`). So every seq is either delivered to a sink or named by exactly one gap there,
and ids made of seq keep growing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from stream.events import Event, Gap, SeqRange, speaks_from, stamp
from stream.sinks.base import Accepted

SHED_SHARE: Final = 16  # a full line sheds this part of itself at once, so that shedding costs little per event
LEVELS: Final = {"emotion.sample": 0, "emotion.changed": 1}  # who is given up first; everything else is lifecycle
LIFECYCLE: Final = 2


@dataclass(frozen=True, slots=True)
class Held:
    """What has to be known of an event to give it up: little, for there may be hundreds of thousands."""

    place: int  # where it stands: an index, or a row
    order: Hashable  # whose order it stands in: worker start, camera, session
    level: int
    first_seq: int  # it speaks for these
    seq: int
    merged: bool = False  # it is a gap now, in the place of the last event that it swallowed


def held(accepted: Accepted, place: int) -> Held:
    event = accepted.event
    order = (accepted.start_ms, event.camera_id, event.session)
    return Held(place, order, level(event), speaks_from(event), event.seq)


def level(event: Event) -> int:
    """How dear an event is."""
    if isinstance(event, Gap) and event.reason in ("outbox_full", "withheld"):
        return 0
    return LEVELS.get(event.type, LIFECYCLE)


def thin(waiting: Sequence[Held], target: int, dearest: int = LIFECYCLE) -> list[Held]:
    """`waiting` with no more than `target` left, as far as that can be with nothing above the level `dearest` given up.

    Pairs of neighbours (in their own order) become gaps, oldest first: first pairs of samples, then also changes, at
    last also lifecycle events. Pairs, because a lone event that becomes a gap makes no room. One event of each order
    therefore always stays.
    """
    left = list(waiting)
    for dear in range(dearest + 1):
        if len(left) > target:
            left = _merge(left, len(left) - target, dear)
    return left


def _merge(waiting: Sequence[Held], excess: int, dear: int) -> list[Held]:
    """Merge the `excess` oldest pairs of which neither is above the level `dear`."""
    left: list[Held | None] = []
    open_at: dict[Hashable, int] = {}  # where the latest of each order stands, if it may be merged
    for one in waiting:
        before = open_at.pop(one.order, None)
        if one.level <= dear:
            if before is not None and excess > 0:
                earlier, left[before] = left[before], None
                assert earlier is not None  # open_at points at what still stands
                one = replace(one, level=0, first_seq=earlier.first_seq, merged=True)
                excess -= 1
            open_at[one.order] = len(left)
        left.append(one)
    return [one for one in left if one is not None]


def shed(waiting: Iterable[Accepted], target: int) -> list[Accepted]:
    """`thin`, of events themselves."""
    events = list(waiting)
    left = thin([held(accepted, place) for place, accepted in enumerate(events)], target)
    return [gap(events[one.place], one.first_seq) if one.merged else events[one.place] for one in left]


def gap(last: Accepted, first_seq: int, reason: Literal["outbox_full", "withheld"] = "outbox_full") -> Accepted:
    """What stands in the place of the last of some neighbours, for all that they speak for."""
    event = last.event
    named = SeqRange(first_seq=first_seq, last_seq=event.seq)
    return Accepted(Gap(**stamp(event), seq=event.seq, reason=reason, ranges=(named,)), last.accepted_at, last.start_ms)
