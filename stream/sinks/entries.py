"""What one entry of a camera's stream looks like, for both who writes it (the Redis sink) and who reads it (client).

An entry's id is `<run>-<seq>`; its fields are the event's JSON and what the transport adds to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from stream.sinks.base import Accepted

EVENT: Final = b"event"  # the bytes of Event.to_json
TYPE: Final = b"type"  # its type, so that a consumer may choose without parsing
ACCEPTED_AT: Final = b"accepted_at"  # UTC, ISO 8601
LATE: Final = b"late"  # present (and `true`) when something accepted later stands before it


class EntryId(NamedTuple):
    """The id of an entry; ids compare as Redis compares them."""

    run: int  # epoch ms of the worker's start, or a little more: see sinks.redis
    seq: int

    def __str__(self) -> str:
        return f"{self.run}-{self.seq}"

    @classmethod
    def parse(cls, text: bytes | str) -> EntryId:
        """From the bytes that Redis answers. Raises ValueError for anything else."""
        run, _, seq = (text.decode("ascii") if isinstance(text, bytes) else text).partition("-")
        return cls(int(run), int(seq or 0))


NOTHING: Final = EntryId(0, 0)  # the last id of a stream that never had an entry


def fields(accepted: Accepted, text: str, late: bool) -> dict[Any, Any]:
    """The fields of an entry, as redis-py types them; `text` is the event's JSON."""
    entry = {EVENT: text, TYPE: accepted.event.type, ACCEPTED_AT: utc(accepted.accepted_at)}
    return {**entry, LATE: "true"} if late else entry


def is_same(accepted: Accepted, entry: Mapping[bytes, bytes]) -> bool:
    """Whether the entry holds this event. Session and seq are its identity; a gap may since have taken its place."""
    try:
        stored = json.loads(entry[EVENT])
        return (stored["session"], stored["seq"]) == (accepted.event.session, accepted.event.seq)
    except (KeyError, TypeError, ValueError):
        return False


def utc(moment: datetime) -> str:
    """ISO 8601 with microseconds and a Z, so that texts sort as times do."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
