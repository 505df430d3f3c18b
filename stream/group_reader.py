"""Reading as one consumer of a group: who reads which camera, what is taken over, when an event counts as done.

One consumer leases a camera at a time, because only one reader can keep a camera's order. Whoever gets the lease first
reads what the group was handed but never acknowledged, whoever it was handed to, and then what is new. Each event is
acknowledged when the program comes back for the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream.continuity import Continuity, Entry, decode
from stream.sinks.entries import NOTHING, EntryId
from stream.sinks.lease import RELEASE, TAKE
from stream.sinks.redis import group_key, members_key, stream_key
from stream.subscription import COUNT, TEND_S, Asking, Call, Reader, Refusal, Steps, Wait, Wish, pairs

RENEWALS: Final = 4  # of a lease while it lasts

# KEYS[1] the group's members, ARGV[1] a consumer, ARGV[2] for how many ms it counts as living; answers how many live.
# Redis' own clock decides, so consumers need not agree on the time.
JOIN: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Membership:
    """One consumer in one group."""

    group: str
    consumer: str  # as XINFO CONSUMERS shows it; several processes may share it
    token: str  # this process's alone: what its leases hold
    lease_s: float = 10.0


@dataclass(slots=True)
class _Lease:
    """A camera that is ours for now."""

    until_s: float  # on the monotonic clock; renewed well before
    catching_up: bool = True  # first comes what the group was handed before and nobody acknowledged
    after: str = str(NOTHING)  # of that, what we have read


class GroupReader(Reader):
    """Reads as one consumer of a group; Redis keeps the group's place."""

    def __init__(self, wish: Wish, monotonic: Callable[[], float], member: Membership) -> None:
        super().__init__(wish, monotonic, min(TEND_S, member.lease_s / RENEWALS))
        self._member = member
        self._lease_ms = int(member.lease_s * 1000)
        self._leases: dict[str, _Lease] = {}
        self._done: dict[str, EntryId] = {}  # the last entry of each camera that the program came back from

    def lost(self) -> None:
        super().lost()
        self._leases.clear()

    def farewell(self) -> list[Call]:
        calls = [Call(("EVAL", RELEASE, 1, self._key(camera_id), self._member.token)) for camera_id in self._leases]
        return [*calls, Call(("ZREM", self._members_key(), self._member.token))]

    def _begin(self, camera_id: str) -> Steps:
        yield from self._found_group(camera_id, self._start_id())

    def _tend(self) -> Steps:
        yield from super()._tend()
        living = yield Call(("EVAL", JOIN, 1, self._members_key(), self._member.token, self._lease_ms))
        share = math.ceil(len(self._cameras) / max(1, living))
        for camera_id, lease in list(self._leases.items()):
            if len(self._leases) > share:
                yield from self._release(camera_id)
            elif lease.until_s - self._monotonic() < self._member.lease_s * (1 - 1 / RENEWALS):
                yield from self._take(camera_id)
        for camera_id in self._cameras:
            if len(self._leases) < share and camera_id not in self._leases:
                yield from self._take(camera_id)

    def _turn(self) -> Steps:
        behind = next((camera_id for camera_id, lease in self._leases.items() if lease.catching_up), None)
        if behind is not None:
            yield from self._catch_up(behind)
        elif self._leases:
            yield from self._read_on()
        else:
            yield Wait(self._pause_s())

    def _take(self, camera_id: str) -> Steps:
        """Take the camera or renew our hold on it, unless another consumer has it."""
        until_s = self._monotonic() + self._member.lease_s  # counted from before Redis counts
        taken = yield Call(("EVAL", TAKE, 1, self._key(camera_id), self._member.token, self._lease_ms))
        lease = self._leases.get(camera_id)
        if lease is not None and taken == 2:
            lease.until_s = until_s
            return
        self._leases.pop(camera_id, None)  # it had run out: another may have read on meanwhile
        if taken:
            yield from self._take_over(camera_id)
            self._leases[camera_id] = _Lease(until_s)

    def _release(self, camera_id: str) -> Steps:
        del self._leases[camera_id]
        yield Call(("EVAL", RELEASE, 1, self._key(camera_id), self._member.token))

    def _take_over(self, camera_id: str) -> Steps:
        """Make what others of the group left unacknowledged ours, and learn where the group is."""
        key, group = stream_key(camera_id), self._member.group
        yield from self._found_group(camera_id, str(self._done.get(camera_id, NOTHING)))  # Redis may have lost it
        count, lowest, *_ = yield Call(("XPENDING", key, group))
        if count:
            first = EntryId.parse(lowest)
            position = EntryId(first.run, first.seq - 1)
            yield from self._claim(key)
        else:
            position = yield from _delivered_id(key, group)
        if camera_id not in self._known or self._known[camera_id].position < position:
            self._known[camera_id] = Continuity(position)

    def _found_group(self, camera_id: str, start: str) -> Steps:
        """Let the group begin there, unless it exists."""
        create = ("XGROUP", "CREATE", stream_key(camera_id), self._member.group, start, "MKSTREAM")
        answer = yield Call(create, may_refuse=True)
        if isinstance(answer, Refusal) and "BUSYGROUP" not in str(answer.error):
            raise answer.error

    def _claim(self, key: str) -> Steps:
        cursor = str(NOTHING)
        while True:
            claim = ("XAUTOCLAIM", key, self._member.group, self._member.consumer, 0, cursor, "COUNT", 1000, "JUSTID")
            answer = yield Call(claim)
            cursor = answer[0].decode()
            if cursor == str(NOTHING):
                return

    def _catch_up(self, camera_id: str) -> Steps:
        lease = self._leases[camera_id]
        answer = yield from self._read(False, {stream_key(camera_id): lease.after})
        entries = answer[0][1] if answer else []
        if not entries:
            lease.catching_up = False
            self._idle.restart()  # nothing was waited for yet
            return
        yield from self._work_off(camera_id, lease, entries)
        lease.after = entries[-1][0].decode()

    def _read_on(self) -> Steps:
        held = {stream_key(camera_id): (camera_id, lease) for camera_id, lease in self._leases.items()}
        for key, entries in (yield from self._read(True, dict.fromkeys(held, ">"))) or ():
            camera_id, lease = held[key.decode()]
            yield from self._work_off(camera_id, lease, entries)

    def _read(self, block: bool, after: dict[str, str]) -> Asking:
        """XREADGROUP; a group that Redis forgot is made anew at the next look, where we were."""
        member = self._member
        wait: tuple[str | int, ...] = ("BLOCK", self._block_ms()) if block else ()
        read = ("XREADGROUP", "GROUP", member.group, member.consumer, "COUNT", COUNT, *wait)
        answer = yield Call((*read, "STREAMS", *after, *after.values()), may_refuse=True)
        if not isinstance(answer, Refusal):
            return answer
        if "NOGROUP" not in str(answer.error):
            raise answer.error
        self.lost()
        return None

    def _work_off(self, camera_id: str, lease: _Lease, entries: Sequence[Any]) -> Steps:
        """Hand out and acknowledge one by one, while the lease under which they were read lasts."""
        for entry_id, fields in entries:
            if self._monotonic() >= self._tend_at:
                yield from self._tend()
            if lease.until_s <= self._monotonic():
                yield from self._take(camera_id)
            if self._wish.stopped() or self._leases.get(camera_id) is not lease:
                return
            entry = decode(entry_id, fields)
            if self._known[camera_id].missing(entry):
                yield from self._strays(camera_id, entry)
            yield from self._finish(camera_id, entry)

    def _strays(self, camera_id: str, entry: Entry) -> Steps:
        """Entries before this one that the group was handed through a consumer that had lost its lease by then.

        They are not trimmed, only pending somewhere else; a stalled process or network can do that.
        """
        run, seq = self._known[camera_id].position
        between = ("XRANGE", stream_key(camera_id), f"{run}-{seq + 1}", f"({entry.id}")
        for entry_id, fields in (yield Call(between)):
            yield from self._finish(camera_id, decode(entry_id, fields))

    def _finish(self, camera_id: str, entry: Entry) -> Steps:
        """Hand it out, unless that was done and only its acknowledgement was lost; then acknowledge it."""
        if entry.id > self._done.get(camera_id, NOTHING):
            yield from self._hand_out(camera_id, entry)
            self._done[camera_id] = entry.id
        yield Call(("XACK", stream_key(camera_id), self._member.group, str(entry.id)))
        self._idle.restart()  # a Redis that is slow to acknowledge is not idleness

    def _key(self, camera_id: str) -> str:
        return group_key(camera_id, self._member.group)

    def _members_key(self) -> str:
        """Consumers that chose the same cameras share them evenly."""
        chosen = self._wish.cameras
        return members_key(self._member.group) + ("" if chosen is None else ":" + ",".join(sorted(chosen)))


def _delivered_id(key: str, group: str) -> Asking:
    """The last id that anybody of the group was handed."""
    for flat in (yield Call(("XINFO", "GROUPS", key))):
        told = pairs(flat)
        if told[b"name"].decode() == group:
            return EntryId.parse(told[b"last-delivered-id"])
    return NOTHING
