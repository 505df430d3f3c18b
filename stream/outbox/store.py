"""The file of an outbox that outlives its process: SQLite, in the hands of one process at a time.

| table | a row is |
|---|---|
| `event` | an accepted event, in the order of acceptance; deleted `retain_s` after its acknowledgement |
| `mark` | up to which `event` the sink had acknowledged everything, and when |
| `place` | where a camera's session of one worker start stands: its next seq, its last moment |
| `track` | a face that was told to have arrived, and not yet to have left |
| `run` | under which run a session's events are stored in Redis; see sinks.runs |

`start_ms` in them is the worker start (epoch ms) that accepted the events: a recording's session comes again with every
start, and is then another one. Every commit is synchronous: what it returned from survives the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from stream.errors import ConfigError, OutboxError
from stream.sinks.runs import Begun, RunKey

log = logging.getLogger(__name__)

APPLICATION_ID: Final = 0x656D6F73  # "emos" in the header, so that no other program's database is taken for ours
VERSION: Final = 1
HEADER: Final = b"SQLite format 3\0"
SCHEMA: Final = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, start_ms INTEGER NOT NULL, camera_id TEXT NOT NULL, session TEXT NOT NULL,
    seq INTEGER NOT NULL, first_seq INTEGER NOT NULL, level INTEGER NOT NULL, accepted_s REAL NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE mark (event_id INTEGER PRIMARY KEY, at_s REAL NOT NULL) STRICT;
CREATE TABLE place (
    start_ms INTEGER NOT NULL, camera_id TEXT NOT NULL, session TEXT NOT NULL, next_seq INTEGER NOT NULL,
    last TEXT NOT NULL, PRIMARY KEY (start_ms, camera_id, session)
) STRICT, WITHOUT ROWID;
CREATE TABLE track (
    start_ms INTEGER NOT NULL, camera_id TEXT NOT NULL, session TEXT NOT NULL, track_id INTEGER NOT NULL,
    life TEXT NOT NULL, PRIMARY KEY (start_ms, camera_id, session, track_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE run (
    start_ms INTEGER NOT NULL, camera_id TEXT NOT NULL, session TEXT NOT NULL, first_seq INTEGER NOT NULL,
    run INTEGER NOT NULL, begun_s REAL, PRIMARY KEY (start_ms, camera_id, session, first_seq)
) STRICT, WITHOUT ROWID;
"""
EVENT: Final = "start_ms, camera_id, session, seq, first_seq, level, accepted_s, body"  # without its id
PAGE_CACHE_KIB: Final = 2048
LOG_BYTES: Final = 4 << 20  # so large SQLite lets its log become, about, before it begins anew


class Store:
    """Opened in one thread and then used in another, never in two at once. Raises OutboxError for all that fails."""

    def __init__(self, path: Path, lock: int) -> None:
        """`lock` is an open descriptor, as `hold` gives it, which is closed with the store."""
        self.path = path
        self._lock: int | None = lock
        self._reserve = path.with_name(f"{path.name}.reserve")
        try:
            self._connection = _connected(path)
        except BaseException:
            self._release()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; on disk when it is left."""
        connection = self._connection
        with turned(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have ended the transaction already
                    connection.execute("ROLLBACK")
                raise

    def read(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        with turned(self.path):
            return self._connection.execute(question, values).fetchall()

    def cameras(self) -> set[str]:
        """Those whose events it holds, or held last."""
        return {name for (name,) in self.read("SELECT DISTINCT camera_id FROM place")}

    def waiting(self) -> int:
        """Events that nobody has acknowledged."""
        ((count,),) = self.read("SELECT count(*) FROM event WHERE id > (SELECT coalesce(max(event_id), 0) FROM mark)")
        return int(count)

    def is_owed(self) -> bool:
        """Whether something in it has still to be told."""
        return self.waiting() > 0 or bool(self.read("SELECT 1 FROM track LIMIT 1"))

    def take_over(self, other: Store) -> None:
        """Move all that `other` has still to tell behind what is here.

        Should the power go between the two steps, the next start finds it here already and only empties `other`.
        """
        marked = "(SELECT coalesce(max(event_id), 0) FROM mark)"
        rows = {
            "event": other.read(f"SELECT {EVENT} FROM event WHERE id > {marked} ORDER BY id"),
            **{table: other.read(f"SELECT * FROM {table}") for table in ("place", "track", "run")},
        }
        known = {tuple(row[:3]) for row in self.read("SELECT start_ms, camera_id, session FROM place")}
        with self.transaction() as connection:
            for table, found in rows.items():
                if new := [row for row in found if tuple(row[:3]) not in known]:
                    columns = f" ({EVENT})" if table == "event" else ""
                    marks = ", ".join("?" * len(new[0]))
                    connection.executemany(f"INSERT INTO {table}{columns} VALUES ({marks})", new)
        with other.transaction() as connection:
            for table in ("event", "mark", "place", "track", "run"):
                connection.execute(f"DELETE FROM {table}")

    def begun(self, key: RunKey) -> tuple[list[Begun], int]:
        """See sinks.runs.RunNotes."""
        where = "start_ms = ? AND camera_id = ? AND session = ?"
        rows = self.read(f"SELECT first_seq, run, begun_s FROM run WHERE {where} ORDER BY first_seq", *key)
        ((confirmed,),) = self.read(
            "SELECT coalesce(max(seq), -1) FROM event "
            f"WHERE {where} AND id <= (SELECT coalesce(max(event_id), 0) FROM mark)",
            *key,
        )
        return [Begun(seq, run, _moment(begun_s)) for seq, run, begun_s in rows], int(confirmed)

    def note(self, key: RunKey, begun: Begun) -> None:
        """See sinks.runs.RunNotes."""
        try:
            self._note(key, begun)
        except OutboxFull:
            self.make_space()
            self._note(key, begun)

    def _note(self, key: RunKey, begun: Begun) -> None:
        begun_s = None if begun.at is None else begun.at.timestamp()
        with self.transaction() as connection:
            connection.execute(
                "DELETE FROM run WHERE start_ms = ? AND camera_id = ? AND session = ? AND first_seq >= ?",
                (*key, begun.first_seq),
            )
            connection.execute(
                "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?)", (*key, begun.first_seq, begun.run, begun_s)
            )

    def prepare(self) -> None:
        """Give the file and its log the room that they need on a full disk: giving up has to be written down, too."""
        connection = self._connection
        if shutil.disk_usage(self.path).free < 8 * LOG_BYTES:
            log.warning("the disk of the outbox %s is nearly full", self.path)
            return  # all of it is needed for events
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS ballast (bytes BLOB)")
            connection.execute("INSERT INTO ballast VALUES (zeroblob(?))", (LOG_BYTES,))
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
            connection.execute("DROP TABLE ballast")
        except sqlite3.Error as error:
            log.warning("there is little room for the outbox %s (%s)", self.path, error)
        self.set_aside()

    def set_aside(self) -> bool:
        """Keep what the log holds back from the file, for when it has to go there. Whether the disk has room."""
        if self._reserve.exists():
            return True
        try:
            with self._reserve.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 * LOG_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)
            return False
        return True

    def make_space(self) -> None:
        """On a full disk: let the log begin anew, with the help of what was set aside."""
        self._reserve.unlink(missing_ok=True)
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def purge(self) -> None:
        """Of what was deleted leave nothing in the file and its log."""
        with turned(self.path):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """May be called twice."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def hold(path: Path) -> int | None:
    """An exclusive lock on the outbox at `path`, until it is closed or this process ends; None: another has it.

    Raises ConfigError when nothing can be kept there.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"outbox.path: events cannot be kept in {path} ({error.strerror}); name another file"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError as error:  # some network disks know no locks
        os.close(lock)
        raise ConfigError(f"outbox.path: {path} cannot be locked ({error.strerror}); name a file elsewhere") from None
    return lock


@contextmanager
def turned(path: Path) -> Iterator[None]:
    """Turn what SQLite says into our words."""
    try:
        yield
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        why = "the disk is full" if full else str(error)
        kind = OutboxFull if full else OutboxError
        raise kind(f"{path}: the outbox cannot be used ({why}); free some space, or name another outbox.path") from None


class OutboxFull(OutboxError):
    """There is no space for more; with less in it there may be."""


def _connected(path: Path) -> sqlite3.Connection:
    """Ours, with its tables. One that is broken is put aside: a worker that cannot start helps nobody."""
    _check_is_ours(path)
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise ConfigError(f"outbox.path: events cannot be kept in {path} ({error}); name another file") from None
        aside = path.with_name(f"{path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        log.error("the outbox %s is broken (%s): kept as %s, and begun anew", path, error, aside.name)
        path.rename(aside)
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}-wal").rename(aside.with_name(f"{aside.name}-wal"))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        return _open(path)


def _check_is_ours(path: Path) -> None:
    """Raise ConfigError for a file that is something else: nobody's data are put aside by a slip in a path."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(
            f"outbox.path: events cannot be kept in {path} ({error.strerror}); name another file"
        ) from None
    if head and (not head.startswith(HEADER) or head[68:72] not in (APPLICATION_ID.to_bytes(4, "big"), bytes(4))):
        raise something_else(path)


def something_else(path: Path) -> ConfigError:
    return ConfigError(f"outbox.path: {path} holds something else than an outbox; name another file")


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for this user alone
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        # first: otherwise reading needs another file, which a full disk has no room for
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        ((ours,),) = connection.execute("PRAGMA application_id")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
        if tables and ours != APPLICATION_ID:
            raise something_else(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
        ((version,),) = connection.execute("PRAGMA user_version")
        if version == 0:
            connection.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION}; COMMIT;"
            )
        elif version != VERSION:
            raise ConfigError(
                f"outbox.path: {path} was written by another version of emostream (format {version}, this one knows "
                f"{VERSION}); let that version deliver it, or name another file"
            )
        ((found,),) = connection.execute("PRAGMA quick_check(1)")
        if found != "ok":
            error = sqlite3.DatabaseError(found)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
    except BaseException:
        connection.close()
        raise
    return connection


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
