"""Which run an event is, or will be, stored under: the arithmetic behind the ids of a stream's entries.

A stream takes only growing ids, so every session of a camera gets a run that is greater than any id before it. When
another worker had the camera meanwhile, ids of the old run are too small for what was not stored yet: from that seq
on, the session goes on under a newer run, and what was accepted before that moment is marked late.
"""

from __future__ import annotations

from datetime import datetime

from stream.sinks.base import Accepted
from stream.sinks.entries import EntryId


class Runs:
    """The runs of one camera and session, in the order in which they began. Almost always one."""

    def __init__(self, run: int) -> None:
        self._begun: list[tuple[int, int, datetime | None]] = [
            (0, run, None)
        ]  # first seq, run, when (None: at first contact)
        self.confirmed_seq = -1  # the highest seq that Redis has confirmed to us

    def place(self, accepted: Accepted) -> tuple[EntryId, bool]:
        """The event's id, and whether it is late."""
        seq = accepted.event.seq
        first_seq, run, begun_at = next(begun for begun in reversed(self._begun) if begun[0] <= seq)
        # the first always is: it is why this run began, whatever the clock has done since
        late = begun_at is not None and (seq == first_seq or accepted.accepted_at <= begun_at)
        return EntryId(run, seq), late

    def begin(self, first_seq: int, run: int, now: datetime) -> None:
        """From `first_seq` on, events go under `run`; those accepted until `now` are late."""
        self._begun.append((first_seq, run, now))
