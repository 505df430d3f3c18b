"""Events into Redis: one stream per camera, and the only place that knows the names of keys.

| key | type | holds |
|---|---|---|
| `emostream:events:{camera_id}` | stream | the camera's events, ids `<run>-<seq>`; pub/sub channel of the same name |
| `emostream:cameras` | set | every camera that ever had an event |
| `emostream:camera:{camera_id}` | hash | latest `status`, its `event`, `updated_at`, `worker`; without a TTL |
| `emostream:worker:<id>` | string | heartbeat (JSON) with a TTL |
| `emostream:lease:{camera_id}` | string | the worker that runs this camera, with a TTL |
| `emostream:group:{camera_id}:<group>` | string | the consumer of a group that reads this camera, with a TTL |
| `emostream:members:<group>` | sorted set | the living consumers of a group, by the time at which they count as gone |

Braces are part of the names: in a cluster, what belongs to one camera then lies in one slot.

How nothing is stored twice or out of order: ids are explicit, so Redis refuses a repetition as "equal or smaller", and
a batch is one transaction, so a Redis that changes its mind in the middle of it (out of memory, demoted to replica)
cannot take a newer event and leave an older one. Connections are made in `open` alone: a silently renewed connection
could face a Redis that lost its tail, and whatever is newer than that tail must not go in before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import redis
from redis.typing import EncodableT, FieldT

from stream.clocks import utc_now
from stream.config import RedisConfig
from stream.errors import ConfigError, SinkError, SinkRefused
from stream.events import CameraStatus
from stream.sinks.base import Accepted
from stream.sinks.entries import NOTHING, EntryId, epoch_ms, fields, is_same, utc
from stream.sinks.link import connect, sentence
from stream.sinks.runs import NoNotes, RunKey, RunNotes, Runs
from stream.urls import mask

log = logging.getLogger(__name__)

CAMERAS: Final = "emostream:cameras"
CHANNELS: Final = "emostream:events:{*}"  # pattern of every camera's channel, for PSUBSCRIBE
PROBE: Final = "emostream:events:{.probe}"  # no camera id begins with a dot, so this stream never exists
ATTEMPTS = 4  # looks at streams that somebody else keeps writing to, before a send gives up


def stream_key(camera_id: str) -> str:
    return f"emostream:events:{{{camera_id}}}"


def camera_key(camera_id: str) -> str:
    return f"emostream:camera:{{{camera_id}}}"


def worker_key(worker: str) -> str:
    return f"emostream:worker:{worker}"


def lease_key(camera_id: str) -> str:
    return f"emostream:lease:{{{camera_id}}}"


def group_key(camera_id: str, group: str) -> str:
    return f"emostream:group:{{{camera_id}}}:{group}"


def members_key(group: str) -> str:
    return f"emostream:members:{group}"


def ping(config: RedisConfig) -> str:
    """Reach the configured Redis once; which version answered where. Raises SinkError, SinkRefused or ConfigError."""
    sink = RedisSink(config, worker="ping")
    try:
        sink.open()
        return f"Redis {sink.version()} at {sink.name}"
    finally:
        sink.close()


@dataclass(slots=True)
class _Tail:
    """What a stream held when it was looked at last, and what we have added since."""

    last: EntryId
    first: EntryId
    length: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """An event on its way into its stream."""

    accepted: Accepted
    text: str  # its JSON
    id: EntryId
    late: bool


class RedisSink:
    """Made, opened, used and closed by the publish thread.

    `wall` is the time in UTC. `run` is the start of the worker that accepted an event, or one more than the greatest
    run that is in the camera's stream when the first event of that start comes; `notes` remember it.
    """

    def __init__(
        self,
        config: RedisConfig,
        worker: str,
        wall: Callable[[], datetime] = utc_now,
        notes: RunNotes | None = None,
    ) -> None:
        if config.url is None:
            raise ConfigError("redis.url: a Redis sink needs an address, for example redis://localhost:6379")
        self.name = mask(config.url)
        self._maxlen = config.maxlen
        self._worker = worker
        self._wall = wall
        self._notes = notes or NoNotes()
        self._opening = False
        self._redis = connect(config.url, config.timeout_s, redis_connect_func=self._connected)
        self._runs: dict[RunKey, Runs] = {}
        self._tails: dict[str, _Tail] = {}  # by camera; forgotten whenever somebody else may have written
        self._statuses: dict[str, Accepted] = {}  # by camera, the latest that was sent
        self._quiet = False  # true once this connection's trouble with the best-effort part was told

    def open(self) -> None:
        self._redis.connection_pool.disconnect()
        self._tails.clear()
        self._quiet = False
        self._opening = True
        try:
            # Writes nothing, yet tells a wrong password, a missing permission, a replica and a full memory apart.
            self._redis.xadd(PROBE, {"probe": ""}, nomkstream=True)
            self._say_again()
        except redis.RedisError as error:
            text = str(error)
            if "Invalid stream ID" in text or ("unknown command" in text and "XADD" in text):  # NOMKSTREAM is no id
                raise SinkRefused(f"{self.name}: this Redis is too old; 6.2 or newer is needed") from None
            raise sentence(error, self.name) from None
        finally:
            self._opening = False

    def send(self, batch: Sequence[Accepted]) -> None:
        try:
            added: list[_Entry] = []
            rest: Sequence[Accepted] = batch
            for _ in range(ATTEMPTS):
                rest = self._store(rest, added)
                if not rest:
                    break
            self._announce(batch, added)
        except redis.RedisError as error:
            raise sentence(error, self.name) from None
        if rest:
            cameras = ", ".join(sorted({accepted.event.camera_id for accepted in rest}))
            raise SinkError(
                f"{self.name}: somebody else keeps writing events of {cameras}; is a second worker running them?"
            )

    def close(self) -> None:
        self._redis.close()

    def version(self) -> str:
        """The server's own version, or `?` where it may not be asked."""
        try:
            return str(self._redis.info("server").get("redis_version", "?"))
        except redis.RedisError:
            return "?"

    def _connected(self, connection: Any) -> None:
        if not self._opening:
            raise redis.ConnectionError("the connection was lost")
        connection.on_connect()

    def _store(self, batch: Sequence[Accepted], added: list[_Entry]) -> list[Accepted]:
        """Add what is not there yet, in one transaction; those that lost a race with another writer come back."""
        self._look_at({accepted.event.camera_id for accepted in batch})
        entries = self._plan(batch)
        if not entries:
            return []
        pipe = self._redis.pipeline(transaction=True)
        for entry in entries:
            key = stream_key(entry.accepted.event.camera_id)
            values = fields(entry.accepted, entry.text, entry.late)
            pipe.xadd(key, values, id=str(entry.id), maxlen=self._maxlen, approximate=True)
        lost: list[Accepted] = []
        for entry, answer in zip(entries, pipe.execute(raise_on_error=False), strict=True):
            if not isinstance(answer, redis.RedisError):
                self._confirm(entry)
                added.append(entry)
            elif "equal or smaller" in str(answer):
                self._tails.pop(entry.accepted.event.camera_id, None)
                lost.append(entry.accepted)
            else:
                raise answer
        return lost

    def _confirm(self, entry: _Entry) -> None:
        event = entry.accepted.event
        self._runs[_key(entry.accepted)].confirmed_seq = event.seq
        if event.camera_id in self._tails:
            self._tails[event.camera_id].last = entry.id

    def _look_at(self, camera_ids: Iterable[str]) -> None:
        """Learn the ends of streams that are not known now, and make their cameras known to consumers."""
        unknown = sorted(set(camera_ids) - self._tails.keys())
        if not unknown:
            return
        pipe = self._redis.pipeline(transaction=False)
        pipe.sadd(CAMERAS, *unknown)
        for camera_id in unknown:
            pipe.xinfo_stream(stream_key(camera_id))
        joined, *answers = pipe.execute(raise_on_error=False)
        if isinstance(joined, redis.RedisError):
            raise joined
        for camera_id, answer in zip(unknown, answers, strict=True):
            self._tails[camera_id] = _tail(answer)

    def _plan(self, batch: Sequence[Accepted]) -> list[_Entry]:
        """Entries for those of the batch that are not stored yet, each with an id after all before it."""
        stored = self._stored(batch)
        ends = {camera_id: tail.last for camera_id, tail in self._tails.items()}
        entries: list[_Entry] = []
        for position, accepted in enumerate(batch):
            if position in stored:
                continue
            event = accepted.event
            runs = self._runs_of(accepted, ends[event.camera_id])
            entry_id, late = runs.place(accepted)
            if entry_id <= ends[event.camera_id]:  # another worker had the camera meanwhile
                now = self._wall()
                runs.begin(event.seq, max(epoch_ms(now), ends[event.camera_id].run + 1), now)
                entry_id, late = runs.place(accepted)
            ends[event.camera_id] = entry_id
            entries.append(_Entry(accepted, event.to_json(), entry_id, late))
        return entries

    def _runs_of(self, accepted: Accepted, end: EntryId) -> Runs:
        """The runs of this camera and session; they begin at first contact, after everything that is there."""
        key = _key(accepted)
        if key not in self._runs:
            self._runs[key] = Runs(key, self._notes, end.run)
        return self._runs[key]

    def _known_runs(self, accepted: Accepted) -> Runs | None:
        """None for a session of which nothing was sent yet: its run begins after all that is planned before it."""
        key = _key(accepted)
        if key not in self._runs and self._notes.begun(key)[0]:
            self._runs[key] = Runs(key, self._notes, 0)
        return self._runs.get(key)

    def _stored(self, batch: Sequence[Accepted]) -> set[int]:
        """Positions in the batch of those events that the streams hold, or held before they were trimmed or deleted.

        A run is filled in order: where a later event of it is there, an earlier one was.
        """
        asked: list[tuple[int, EntryId]] = []
        pipe = self._redis.pipeline(transaction=False)
        for position, accepted in enumerate(batch):
            event = accepted.event
            runs = self._known_runs(accepted)
            if runs is not None and (entry_id := runs.place(accepted)[0]) <= self._tails[event.camera_id].last:
                asked.append((position, entry_id))
                pipe.xrange(stream_key(event.camera_id), str(entry_id), str(entry_id))
        if not asked:
            return set()
        stored: set[int] = set()
        later: set[tuple[RunKey, int]] = set()  # runs of which something later is there
        for (position, entry_id), found in zip(reversed(asked), reversed(pipe.execute()), strict=True):
            accepted = batch[position]
            run = (_key(accepted), entry_id.run)
            there = is_same(accepted, found[0][1]) if found else self._was_trimmed(accepted, entry_id) or run in later
            if there:
                stored.add(position)
                later.add(run)
        return stored

    def _was_trimmed(self, accepted: Accepted, entry_id: EntryId) -> bool:
        """Whether a missing event was once stored, and is older than all that a full stream still holds.

        It was when it was confirmed, and when a later one of its run is there: a run is filled in order.
        """
        tail = self._tails[accepted.event.camera_id]
        confirmed_seq = self._runs[_key(accepted)].confirmed_seq
        known = accepted.event.seq <= confirmed_seq or entry_id.run == tail.first.run
        return known and entry_id < tail.first and tail.length >= self._maxlen

    def _announce(self, batch: Sequence[Accepted], added: Sequence[_Entry]) -> None:
        """Tell listeners, and the cameras' latest status: best effort, for the streams have it all."""
        late = {id(entry.accepted) for entry in added if entry.late}  # another worker tells the status now
        told = [accepted for accepted in batch if isinstance(accepted.event, CameraStatus) and id(accepted) not in late]
        pipe = self._redis.pipeline(transaction=False)
        for entry in added:
            pipe.publish(stream_key(entry.accepted.event.camera_id), entry.text)
        for camera_id in self._remember(told):
            pipe.hset(camera_key(camera_id), mapping=self._status(camera_id))
        self._best_effort(pipe)

    def _remember(self, told: Iterable[Accepted]) -> list[str]:
        """Keep the newest status of each camera; the cameras whose status this changed."""
        changed: dict[str, None] = {}
        for accepted in told:
            camera_id = accepted.event.camera_id
            known = self._statuses.get(camera_id)
            if known is None or not _is_older(accepted, known):
                self._statuses[camera_id] = accepted
                changed[camera_id] = None
        return list(changed)

    def _status(self, camera_id: str) -> dict[FieldT, EncodableT]:
        accepted = self._statuses[camera_id]
        assert isinstance(accepted.event, CameraStatus)
        return {
            "status": accepted.event.status,
            "event": accepted.event.to_json(),
            "updated_at": utc(accepted.accepted_at),
            "worker": self._worker,
        }

    def _say_again(self) -> None:
        """Say what a Redis that lost its data cannot know any more: each camera's name and latest status."""
        pipe = self._redis.pipeline(transaction=False)
        for camera_id in self._statuses:
            pipe.sadd(CAMERAS, camera_id)
            pipe.hset(camera_key(camera_id), mapping=self._status(camera_id))
        self._best_effort(pipe)

    def _best_effort(self, pipe: redis.client.Pipeline) -> None:
        """Run it; a refusal is told once per connection, and a lost connection shows itself at the next send."""
        try:
            refusals = [answer for answer in pipe.execute(raise_on_error=False) if isinstance(answer, redis.RedisError)]
        except redis.RedisError as error:
            refusals = [error]
        if refusals and not self._quiet:
            self._quiet = True
            log.warning(
                "live listeners or the cameras' latest status miss something: %s", sentence(refusals[0], self.name)
            )


def _is_older(one: Accepted, other: Accepted) -> bool:
    """Of two events of one camera. Each session counts its own seq, and a camera that is added again begins another."""
    if _key(one) == _key(other):
        return one.event.seq < other.event.seq
    return (one.start_ms, one.accepted_at) < (other.start_ms, other.accepted_at)


def _key(accepted: Accepted) -> RunKey:
    return accepted.start_ms, accepted.event.camera_id, accepted.event.session


def _tail(answer: Any) -> _Tail:
    """From what XINFO STREAM answered, or the error that it answered with."""
    if isinstance(answer, redis.ResponseError) and "no such key" in str(answer):
        return _Tail(NOTHING, NOTHING, 0)
    if isinstance(answer, redis.RedisError):
        raise answer
    first = answer["first-entry"]
    return _Tail(
        EntryId.parse(answer["last-generated-id"]), EntryId.parse(first[0]) if first else NOTHING, answer["length"]
    )
