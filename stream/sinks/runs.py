"""Which run an event is, or will be, stored under: the arithmetic behind the ids of a stream's entries.

A stream takes only growing ids, so every session of a camera gets a run that is greater than any id before it. When
another worker had the camera meanwhile, ids of the old run are too small for what was not stored yet: from that seq
on, the session goes on under a newer run, and what was accepted before that moment is marked late.

Runs are noted before they are used: a worker that comes after one that was killed sends the rest under the ids that
its first tries had, so that Redis recognises what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from stream.sinks.base import Accepted
from stream.sinks.entries import EntryId

RunKey = tuple[int, str, str]  # worker start, camera, session


@dataclass(frozen=True, slots=True)
class Begun:
    """A run of a session, from one of its events on."""

    first_seq: int
    run: int
    at: datetime | None  # None: at first contact


class RunNotes(Protocol):
    """Where runs are noted."""

    def begun(self, key: RunKey) -> tuple[Sequence[Begun], int]:
        """What was noted, in order, and the highest seq that is known to be stored, -1 for none."""
        ...

    def note(self, key: RunKey, begun: Begun) -> None:
        """In the place of those from later events; it outlives whatever happens now. Raises OutboxError."""
        ...


class NoNotes:
    """For events that do not outlive their process either."""

    def begun(self, key: RunKey) -> tuple[Sequence[Begun], int]:
        return (), -1

    def note(self, key: RunKey, begun: Begun) -> None:
        """Nothing has to be remembered."""


class Runs:
    """The runs of one camera and session, in the order in which they began. Almost always one."""

    def __init__(self, key: RunKey, notes: RunNotes, newest: int) -> None:
        """`newest` is the greatest run that the camera's stream holds."""
        self._key = key
        self._notes = notes
        begun, self.confirmed_seq = notes.begun(key)  # the highest seq that Redis has confirmed
        self._begun = list(begun)
        if not self._begun:
            self._begin(Begun(0, max(key[0], newest + 1), None))

    def place(self, accepted: Accepted) -> tuple[EntryId, bool]:
        """The event's id, and whether it is late."""
        seq = accepted.event.seq
        begun = next(begun for begun in reversed(self._begun) if begun.first_seq <= seq)
        # the first always is: it is why this run began, whatever the clock has done since
        late = begun.at is not None and (seq == begun.first_seq or accepted.accepted_at <= begun.at)
        return EntryId(begun.run, seq), late

    def begin(self, first_seq: int, run: int, now: datetime) -> None:
        """From `first_seq` on, events go under `run`; those accepted until `now` are late."""
        self._begin(Begun(first_seq, run, now))

    def _begin(self, begun: Begun) -> None:
        """It takes the place of those that began at later events: these go under the newer run, too."""
        self._notes.note(self._key, begun)
        self._begun = [*(one for one in self._begun if one.first_seq < begun.first_seq), begun]
