"""Reading a camera's stream without being fooled: what an entry holds, and which seqs are missing before it. Pure.

An entry's id is `<run>-<seq>`, so holes show in the ids themselves: within a run, an event begins where the one before
it ended (`speaks_from`), and a run begins at seq 0. A run that begins late goes on with a session that began under an
older run (another worker had the camera meanwhile), so there the session's own last seq counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stream.events import AnyEvent, Gap, SeqRange, parse, speaks_from, stamp
from stream.sinks.entries import EVENT, LATE, EntryId

SESSIONS: Final = 8  # of a camera are remembered: those whose late events may still come


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream as it was read."""

    id: EntryId
    event: AnyEvent | None  # None: nothing for us, see `trouble`
    late: bool = False
    trouble: str | None = None  # why it is no event at all; None for a type or schema that is only newer than we are


def decode(entry_id: bytes, flat: Sequence[bytes] | None) -> Entry:
    """From an id and the flat list of fields and values that Redis answers, or None where the entry was trimmed."""
    place = EntryId.parse(entry_id)
    if flat is None:
        return Entry(place, None, trouble="it was trimmed before anybody acknowledged it")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    try:
        return Entry(place, parse(fields[EVENT]), fields.get(LATE) == b"true")
    except KeyError:
        return Entry(place, None, trouble="it has no field `event`")
    except ValueError as error:
        return Entry(place, None, trouble=str(error))


class Continuity:
    """What one reader knows of one camera's stream: everything up to `position`."""

    def __init__(self, position: EntryId) -> None:
        self.position = position
        self._sessions: dict[str, int] = {}  # session -> last seq that was seen of it, latest session last

    def missing(self, entry: Entry) -> SeqRange | None:
        """The seqs between our position and this entry, where that can be known."""
        if entry.event is None:
            return None
        expected, begins = self._expected(entry, entry.event.session), speaks_from(entry.event)
        return None if expected is None or begins <= expected else SeqRange(first_seq=expected, last_seq=begins - 1)

    def follow(self, entry: Entry) -> Gap | None:
        """Go on to this entry; the gap to tell before it, if something is missing between the two."""
        missing = self.missing(entry)
        if entry.trouble is None:  # of a newer kind perhaps, but its place is known
            self.position = entry.id
        if entry.event is None:
            return None
        self._sessions.pop(entry.event.session, None)
        self._sessions[entry.event.session] = entry.event.seq
        if len(self._sessions) > SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return _trimmed(entry.event, missing) if missing else None

    def _expected(self, entry: Entry, session: str) -> int | None:
        """The seq that comes next, or None where that cannot be known."""
        if entry.id.run == self.position.run:
            return self.position.seq + 1
        if entry.late:
            return self._sessions[session] + 1 if session in self._sessions else None
        return 0


def _trimmed(event: AnyEvent, missing: SeqRange) -> Gap:
    """Stands directly before `event`, and like every gap carries the last seq that it names."""
    return Gap(**stamp(event), seq=missing.last_seq, reason="trimmed", ranges=(missing,))
