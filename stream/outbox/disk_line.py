"""A line on disk: one sink's view of the events in a Store. Memory holds the batch that is under way, and no more."""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from stream.config import OutboxConfig
from stream.events import AnyEvent, Event, Gap, SeqRange, parse
from stream.outbox.line import out_of_turn
from stream.outbox.shedding import SHED_SHARE, Held, gap, held, thin
from stream.outbox.store import OutboxFull, Store
from stream.sinks.base import Accepted

log = logging.getLogger(__name__)

MARK_EVERY: Final = 512  # acknowledged events, at most, of which a killed process forgets that they were
UNDER_WAY: Final = 512  # events, at most, that were handed out beyond those
NEVER_S: Final = 1e18
FAR: Final = 1 << 62  # no id is larger
FEW: Final = 1000  # events that the file has room for from its start, see Store.prepare
WINDOW: Final = 4  # times as many events as are given up are looked at first
LOOK_EVERY_S: Final = 10.0  # for events that have become too old
ROW: Final = "id, start_ms, camera_id, session, seq, first_seq, accepted_s, body"


class DiskLine:
    """See base.Line. `extend` and `make_room` belong into `writing`. `wall` is UTC.

    Acknowledgements are written with the next events, or when many have come together: forgetting some costs only
    sending again what the sink then recognises.
    """

    def __init__(self, sink: str, config: OutboxConfig, store: Store, wall: Callable[[], datetime]) -> None:
        self._sink = sink
        self._config = config
        self._limit = config.max_events
        self._store = store
        self._wall = wall
        ((self._rows,),) = store.read("SELECT count(*) FROM event")
        ((self._marked,),) = store.read("SELECT coalesce(max(event_id), 0) FROM mark")  # acknowledged, on disk
        self._acknowledged: int = self._marked  # every event up to this id
        self._unwritten: list[tuple[int, float]] = []  # marks: up to which event, when (UTC, epoch seconds)
        self._depth = store.waiting()
        # An earlier process may have sent these without leaving a trace of it: they are never given up.
        ((sent,),) = store.read(
            "SELECT max(id) FROM (SELECT id FROM event WHERE id > ? ORDER BY id LIMIT ?)",
            self._marked,
            MARK_EVERY + UNDER_WAY,
        )
        self._sent: int = sent or self._marked
        self._cursor: int = self._marked  # every event up to this id was handed out by this process
        self._handed: deque[tuple[int, Accepted]] = deque()
        self._writing: sqlite3.Connection | None = None
        self._looked_s = 0.0
        self._told = False  # true once this fullness was logged

    @property
    def depth(self) -> int:
        return self._depth

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction for `extend` and `make_room`; when it fails, nothing of them has happened.

        What was acknowledged is written with it.
        """
        before = self._rows, self._depth, self._marked
        try:
            with self._store.transaction() as connection:
                self._writing = connection
                self._mark()
                yield connection
            self._unwritten.clear()
        except BaseException:
            self._rows, self._depth, self._marked = before
            raise
        finally:
            self._writing = None

    def extend(self, accepted: Sequence[Accepted]) -> None:
        self._run(
            "INSERT INTO event (start_ms, camera_id, session, seq, first_seq, level, accepted_s, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [_row(one) for one in accepted],
        )
        self._rows += len(accepted)
        self._depth += len(accepted)

    def make_room(self, give_up: bool) -> None:
        """What the sink acknowledged once is forgotten first, without a word; only then is anything given up."""
        now_s = self._wall().timestamp()
        self._forget(now_s)
        excess = self._rows - self._limit
        if excess > 0:
            excess -= self._delete(
                "id IN (SELECT id FROM event WHERE id <= ? ORDER BY id LIMIT ?)", self._marked, excess
            )
        if give_up and excess > 0:
            self._give_up(excess + self._limit // SHED_SHARE)
        if not self._looked_s <= now_s < self._looked_s + LOOK_EVERY_S:  # or the clock was set back
            self._looked_s = now_s
            if self._store.set_aside():
                self._limit = self._config.max_events
            if give_up:
                self._give_up_older_than(now_s - self._config.max_age_s)

    def head(self, limit: int) -> list[Accepted]:
        if len(self._handed) < limit:
            question = f"SELECT {ROW} FROM event WHERE id > ? ORDER BY id LIMIT ?"
            for row in self._store.read(question, self._cursor, limit - len(self._handed)):
                self._cursor = row[0]
                self._handed.append((self._cursor, _accepted(row)))
            self._sent = max(self._sent, self._cursor)
        return [accepted for _, accepted in islice(self._handed, limit)]

    def acknowledge(self, batch: Sequence[Accepted]) -> None:
        event_id = 0
        for accepted in batch:
            if not self._handed or self._handed[0][1] is not accepted:
                raise out_of_turn(accepted)
            event_id, _ = self._handed.popleft()
            if event_id > self._acknowledged:
                self._acknowledged = event_id
                self._depth -= 1
        if event_id:
            self._unwritten.append((event_id, self._wall().timestamp()))
        self._told = self._told and self._depth > 0
        if self._acknowledged - self._marked >= MARK_EVERY:
            self.flush()

    def rewind(self) -> None:
        with suppress(OutboxFull), self.writing() as connection:
            self._forget(self._wall().timestamp())
            # what comes again is retained until `retain_s` after it was acknowledged again
            connection.execute("DELETE FROM mark WHERE event_id < ?", (self._marked,))
            connection.execute("UPDATE mark SET at_s = ?", (NEVER_S,))
        self._handed.clear()
        self._cursor = 0

    def flush(self) -> None:
        """Write down what was acknowledged, and forget what need not be retained any more.

        On a full disk both wait: what was acknowledged would only be sent again.
        """
        with suppress(OutboxFull), self.writing():
            self._forget(self._wall().timestamp())

    def shed(self, share: int) -> None:
        """Give up a share of what waits: there is no space on the disk for more, and until there is, no more wait."""
        with self.writing():
            self._delete("id <= ?", self._marked)
            self._give_up(max(1, self._depth // share))
        # pages that are half empty take space, too; for few events there is room, or a burst would be given up at once
        self._limit = max(self._rows * 3 // 4, FEW)

    def _mark(self) -> None:
        self._run("INSERT OR REPLACE INTO mark VALUES (?, ?)", self._unwritten)
        self._marked = self._acknowledged

    def _forget(self, now_s: float) -> None:
        """What was acknowledged `retain_s` ago. The latest mark stays: it says what was."""
        ((until,),) = self._ask("SELECT max(event_id) FROM mark WHERE at_s <= ?", now_s - self._config.retain_s)
        if until is not None:
            self._delete("id <= ?", until)
            self._run("DELETE FROM mark WHERE event_id < ?", [(until,)])

    def _give_up(self, count: int) -> None:
        """So many events fewer than now, of those that no sink can have seen."""
        why = f"{self._rows} events wait"
        waiting = self._waiting("", limit=WINDOW * count)  # mostly samples: then no more has to be looked at
        left = thin(waiting, max(0, len(waiting) - count), dearest=0)
        if len(waiting) - len(left) < count:
            waiting = self._waiting("")
            left = thin(waiting, max(0, len(waiting) - count))
        self._keep(waiting, left, why)

    def _give_up_older_than(self, until_s: float) -> None:
        """Of the beginning: what stands behind a younger event, as after the clock was set back, has its turn later."""
        young = "SELECT min(id) FROM event WHERE id > ? AND accepted_s >= ?"
        waiting = self._waiting(f"AND id < coalesce(({young}), {FAR})", max(self._sent, self._acknowledged), until_s)
        if len(waiting) > 1:
            self._keep(waiting, thin(waiting, 0), f"events are older than {self._config.max_age_s:g} s")

    def _waiting(self, where: str, *values: Any, limit: int = -1) -> list[Held]:
        rows = self._ask(
            "SELECT id, start_ms, camera_id, session, level, first_seq, seq FROM event "
            f"WHERE id > max(?, ?) {where} ORDER BY id LIMIT ?",
            self._sent,
            self._acknowledged,
            *values,
            limit,
        )
        return [
            Held(event_id, (start_ms, camera_id, session), level, first_seq, seq)
            for event_id, start_ms, camera_id, session, level, first_seq, seq in rows
        ]

    def _keep(self, waiting: Sequence[Held], left: Sequence[Held], why: str) -> None:
        kept = {one.place for one in left}
        self._run("DELETE FROM event WHERE id = ?", [(one.place,) for one in waiting if one.place not in kept])
        for one in left:
            if one.merged:
                ((*row,),) = self._ask(f"SELECT {ROW} FROM event WHERE id = ?", one.place)
                named = gap(_accepted(tuple(row)), one.first_seq)
                *_, first_seq, level, _, body = _row(named)
                self._run(
                    "UPDATE event SET first_seq = ?, level = ?, body = ? WHERE id = ?",
                    [(first_seq, level, body, one.place)],
                )
        gone = len(waiting) - len(left)
        self._rows -= gone
        self._depth -= gone
        if gone and not self._told:
            self._told = True
            log.warning("outbox: %s for %s; the oldest are given up", why, self._sink)

    def _delete(self, where: str, *values: Any) -> int:
        """Of acknowledged events; how many there were."""
        assert self._writing is not None
        gone = self._writing.execute(f"DELETE FROM event WHERE {where}", values).rowcount
        self._rows -= gone
        return gone

    def _run(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        assert self._writing is not None
        self._writing.executemany(statement, rows)

    def _ask(self, question: str, *values: Any) -> list[Any]:
        assert self._writing is not None
        return self._writing.execute(question, values).fetchall()


def withhold(store: Store, may_leave: Callable[[Event | None], bool]) -> int:
    """Take out of the file, of what earlier starts left, every event that may not leave; how many were still to go.

    None stands for one that nobody can read. What the sink has is only forgotten; what it may not have becomes a gap in
    its place, each its own: the sink may have it after all, and then knows it by its seq. Faces that were left are
    forgotten, too, for their end is an event like theirs.
    """
    count = 0
    with store.transaction() as connection:
        ((marked,),) = connection.execute("SELECT coalesce(max(event_id), 0) FROM mark")
        for (event_id,) in connection.execute("SELECT id FROM event").fetchall():
            ((*row,),) = connection.execute(f"SELECT {ROW} FROM event WHERE id = ?", (event_id,))
            if may_leave(_readable(row[-1], row[2])):
                continue
            if event_id <= marked:
                connection.execute("DELETE FROM event WHERE id = ?", (event_id,))
                continue
            count += 1
            first_seq = row[5]
            *_, level, _, body = _row(gap(_accepted(row), first_seq, "withheld"))
            connection.execute("UPDATE event SET level = ?, body = ? WHERE id = ?", (level, body, event_id))
        connection.execute("DELETE FROM track")
    store.purge()
    return count


def _row(accepted: Accepted) -> tuple[Any, ...]:
    """The columns of an event, without its id."""
    event, about = accepted.event, held(accepted, 0)
    moment_s = accepted.accepted_at.timestamp()
    return (
        accepted.start_ms,
        event.camera_id,
        event.session,
        event.seq,
        about.first_seq,
        about.level,
        moment_s,
        event.to_json(),
    )


def _accepted(row: Sequence[Any]) -> Accepted:
    _, start_ms, camera_id, session, seq, first_seq, accepted_s, body = row
    return Accepted(_event(camera_id, session, seq, first_seq, body), datetime.fromtimestamp(accepted_s, UTC), start_ms)


def _event(camera_id: str, session: str, seq: int, first_seq: int, body: str) -> AnyEvent:
    """What stands in a row; one that nobody can read any more is named by a gap."""
    return _readable(body, camera_id) or Gap(
        camera_id=camera_id,
        session=session,
        seq=seq,
        media_time_s=0.0,
        captured_at=None,
        clock_source="arrival",
        reason="unreadable",
        ranges=(SeqRange(first_seq=first_seq, last_seq=seq),),
    )


def _readable(body: str, camera_id: str) -> AnyEvent | None:
    try:
        return parse(body)
    except ValueError as error:
        log.error("outbox: an event of %s cannot be read (%s)", camera_id, error)
        return None
