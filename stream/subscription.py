"""How events are read from Redis, as steps: what to ask, what to hand out, when to wait. No socket and no thread.

`steps()` is a generator of `Call`, `Deliver` and `Wait`; whoever drives it (client.py, once synchronous and once
asynchronous) sends each Call's answer back in. Answers are as Redis sends them (RESP2: lists, bytes, integers).
"""

from __future__ import annotations

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stream.continuity import Continuity, Entry, decode
from stream.errors import ConfigError
from stream.events import AnyEvent
from stream.sinks.entries import NOTHING, EntryId
from stream.sinks.redis import CAMERAS, stream_key

log = logging.getLogger(__name__)

BLOCK_S: Final = 0.5  # the longest wait inside Redis: stopping and new cameras are seen this soon
TEND_S: Final = 1.0  # how often to look for new cameras and free leases
COUNT: Final = 64  # entries of each camera in one answer


@dataclass(frozen=True, slots=True)
class Call:
    """Ask Redis this; its answer is sent back in."""

    command: tuple[str | int, ...]
    may_refuse: bool = False  # an error answer comes back as `Refusal` instead of being raised


@dataclass(frozen=True, slots=True)
class Refusal:
    """Redis answered with an error."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this out; go on when the program asks for the next one."""

    event: AnyEvent


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so long."""

    seconds: float


Steps = Generator[Call | Deliver | Wait, Any, None]
Asking = Generator[Call | Deliver | Wait, Any, Any]  # a part of the steps that comes to something


@dataclass(frozen=True, slots=True)
class Wish:
    """What a program asked for."""

    cameras: tuple[str, ...] | None  # None: every camera, also those that come later
    from_: str = "new"  # start, new, or the id of an entry
    idle_s: float | None = None  # end after so long without an event
    stopped: Callable[[], bool] = field(default=lambda: False)

    def __post_init__(self) -> None:
        if self.from_ not in ("start", "new") and not re.fullmatch(r"\d+(-\d+)?", self.from_):
            raise ConfigError(
                f"from {self.from_!r}: expected `start`, `new` or the id of an entry such as 1763712000000-0"
            )


class Idle:
    """How long a program has waited for its next event, and whether it wants to wait on."""

    def __init__(self, wish: Wish, monotonic: Callable[[], float]) -> None:
        self._wish = wish
        self._monotonic = monotonic
        self._since = monotonic()

    @property
    def left_s(self) -> float:
        if self._wish.idle_s is None:
            return math.inf
        return max(0.0, self._wish.idle_s - (self._monotonic() - self._since))

    @property
    def over(self) -> bool:
        return self._wish.stopped() or self.left_s <= 0

    def restart(self) -> None:
        """The program has come back from an event."""
        self._since = self._monotonic()


class Reader(ABC):
    """What reading with and without a group have in common."""

    def __init__(self, wish: Wish, monotonic: Callable[[], float], tend_s: float = TEND_S) -> None:
        self._wish = wish
        self._monotonic = monotonic
        self._tend_s = tend_s
        self._cameras: tuple[str, ...] = ()
        self._first_look = True  # until the cameras that are there at the start are known
        self._known: dict[str, Continuity] = {}  # where we are in each camera's stream
        self._tend_at = 0.0
        self._idle = Idle(wish, monotonic)

    @property
    def over(self) -> bool:
        """Whether the program wants no more, or has waited long enough."""
        return self._idle.over

    def steps(self) -> Steps:
        """From a fresh connection until `over`. After trouble, `lost` and then this again."""
        if self._first_look:
            yield from self._tend()
            self._idle.restart()  # reaching Redis is not idleness
        while not self.over:
            if self._monotonic() >= self._tend_at:
                yield from self._tend()
            yield from self._turn()

    def lost(self) -> None:
        """The connection is gone, and with it everything that was only on its way."""
        self._tend_at = 0.0

    def farewell(self) -> list[Call]:
        """What to tell Redis before leaving, as far as it still listens."""
        return []

    @abstractmethod
    def _turn(self) -> Steps:
        """Read once, and hand out what came."""

    @abstractmethod
    def _begin(self, camera_id: str) -> Steps:
        """A camera came into sight."""

    def _tend(self) -> Steps:
        """Look after what changes: the cameras, and in a group who reads which."""
        self._tend_at = self._monotonic() + self._tend_s
        cameras = self._wish.cameras
        if cameras is None:
            cameras = tuple(sorted(name.decode() for name in (yield Call(("SMEMBERS", CAMERAS)))))
        for camera_id in cameras:
            if camera_id not in self._cameras:
                yield from self._begin(camera_id)
        self._cameras = cameras
        self._first_look = False

    def _pause_s(self) -> float:
        """How long nothing else is due."""
        return max(0.0, min(BLOCK_S, self._idle.left_s, self._tend_at - self._monotonic()))

    def _block_ms(self) -> int:
        """The same for Redis, where 0 would mean for ever."""
        return max(1, int(self._pause_s() * 1000))

    def _start_id(self) -> str:
        """Where to begin with a camera that came into sight now; `$` is its stream's present end."""
        if self._wish.from_ == "new":
            return "$" if self._first_look else str(NOTHING)  # a camera that appears later has only new events
        return str(NOTHING) if self._wish.from_ == "start" else self._wish.from_

    def _hand_out(self, camera_id: str, entry: Entry) -> Steps:
        """An entry's event, after the gap before it if there is one."""
        if entry.trouble is not None:
            log.warning("%s: entry %s is skipped: %s", stream_key(camera_id), entry.id, entry.trouble)
        gap = self._known[camera_id].follow(entry)
        for event in (gap, entry.event):
            if event is not None:
                yield Deliver(event)
                self._idle.restart()


class PlainReader(Reader):
    """Reads for itself alone and keeps its place only as long as it lives."""

    def __init__(self, wish: Wish, monotonic: Callable[[], float]) -> None:
        super().__init__(wish, monotonic)
        self._after: dict[str, EntryId] = {}  # the entry of each camera that was read last, whatever it was

    def _begin(self, camera_id: str) -> Steps:
        start = self._start_id()
        position = (yield from _last_id(camera_id)) if start == "$" else EntryId.parse(start)
        self._known[camera_id] = Continuity(position)
        self._after[camera_id] = position

    def _turn(self) -> Steps:
        if not self._after:
            yield Wait(self._pause_s())
            return
        names = {stream_key(camera_id): camera_id for camera_id in self._after}
        after = [str(entry_id) for entry_id in self._after.values()]
        read = Call(("XREAD", "COUNT", COUNT, "BLOCK", self._block_ms(), "STREAMS", *names, *after))
        for key, entries in (yield read) or ():
            camera_id = names[key.decode()]
            for entry_id, fields in entries:
                entry = decode(entry_id, fields)
                yield from self._hand_out(camera_id, entry)
                self._after[camera_id] = entry.id
                if self.over:
                    return


def _last_id(camera_id: str) -> Asking:
    """The last id that the camera's stream ever had."""
    answer = yield Call(("XINFO", "STREAM", stream_key(camera_id)), may_refuse=True)
    if isinstance(answer, Refusal):
        if "no such key" in str(answer.error):
            return NOTHING
        raise answer.error
    return EntryId.parse(pairs(answer)[b"last-generated-id"])


def pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    """Redis' flat list of names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
