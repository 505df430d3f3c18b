"""Where an outbox lies on disk: one file for each worker and sink, and nobody else's while it is in use.

Without `outbox.path` it is in the user's state folder, named by the sink. Several workers of one user that publish to
the same Redis each take a file of their own: a start takes the one that knows most of its cameras, so that it finds
what it left itself. What another left is taken over when its cameras are ours now, or when nobody came back for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from stream.errors import ConfigError
from stream.outbox.store import Store, hold
from stream.urls import HIDDEN

log = logging.getLogger(__name__)

DIGITS: Final = 12
MOST: Final = 64  # files beside each other
ABANDONED_S: Final = 600.0  # a worker that was killed is started again sooner, if ever


def claim(path: Path | None, sink: str, cameras: Collection[str], base: Path | None = None) -> Store:
    """The outbox of a worker with these cameras for a sink, named as it may be shown.

    `base` is the folder where it is looked for without a `path`. Raises ConfigError when it cannot be had.
    """
    if path is not None:
        lock = hold(path)
        if lock is None:
            raise ConfigError(f"outbox.path: another worker uses {path}; give each worker a file of its own")
        return Store(path, lock)
    folder = base or platformdirs.user_state_path("emostream") / "outbox"
    place = sink.partition("?")[0].replace(f"{HIDDEN}@", "")  # a user or a password that is new is no other Redis
    name = hashlib.sha256(place.encode()).hexdigest()[:DIGITS]
    with _choosing(folder / f"{name}.choosing"):
        return _choose([folder / f"{name}-{number}.sqlite" for number in range(1, MOST + 1)], set(cameras))


def _choose(paths: list[Path], cameras: set[str]) -> Store:
    """Of those that are free: the one with the most of these cameras, else the first; a new one if none is free."""
    free: list[Store] = []
    idle_s: dict[Path, float] = {}  # since when nobody has written, before we opened it
    best: Store | None = None
    try:
        for path in paths:
            if path.exists():
                idle_s[path] = time.time() - path.stat().st_mtime
            elif free:
                break
            if (store := _opened(path)) is not None:
                free.append(store)
        if not free:
            raise ConfigError(f"outbox.path: {MOST} workers use {paths[0].parent} already; name a file for this one")
        best = max(free, key=lambda store: len(cameras & store.cameras()))
        for store in free:
            if store is not best:
                _take_over(best, store, cameras, idle_s[store.path] > ABANDONED_S)
        return best
    finally:
        for store in free:
            if store is not best:
                store.close()


def _opened(path: Path) -> Store | None:
    """None for one that is in use, or that cannot be used: others can."""
    try:
        lock = hold(path)
        return None if lock is None else Store(path, lock)
    except ConfigError as error:
        if not path.exists():
            raise  # nothing can be kept there at all
        log.warning("%s; it is passed over", error)
        return None


def _take_over(best: Store, other: Store, cameras: set[str], abandoned: bool) -> None:
    """What nobody else will deliver: of cameras that are ours now, or left for so long that nobody comes back."""
    if not other.is_owed():
        return
    names = ", ".join(sorted(other.cameras()))
    if abandoned or cameras & other.cameras():
        log.warning("the outbox %s of %s is delivered by this worker", other.path, names)
        best.take_over(other)
    else:
        log.warning("the outbox %s waits for its worker to come back, for %s", other.path, names)


@contextmanager
def _choosing(path: Path) -> Iterator[None]:
    """One at a time: whoever looks holds every file for a moment."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"outbox.path: events cannot be kept in {path.parent} ({error.strerror}); name a file that can be written"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
