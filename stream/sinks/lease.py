"""Leases on cameras, so that two workers never run the same one, and this worker's heartbeat.

A lease is a key with a TTL that holds its owner's name. Taking and renewing are one script, because both must look and
write in one step; so a lease that Redis forgot (restart, eviction) is taken anew unless somebody else was faster.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from typing import Any, Final

import redis

from stream.config import RedisConfig
from stream.errors import ConfigError, SinkError
from stream.sinks.link import connect, sentence
from stream.sinks.redis import lease_key, worker_key
from stream.urls import mask

# KEYS[1] the lease, ARGV[1] who wants it, ARGV[2] for how many ms. SET NX PX, or renewal: 0 it is another's, 1 it was
# free and is theirs now, 2 it was theirs all the time.
TAKE: Final = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return owner and 2 or 1
"""

# KEYS[1] the lease, ARGV[1] whose it should be: nobody may delete the lease of another.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Leases:
    """The cameras that this worker holds. Any thread may use it.

    `worker` must be this process's alone: it is what tells our lease from another's. Everything raises SinkError
    (SinkRefused) when Redis cannot be asked; leases then run out by themselves after `redis.lease_s`.
    """

    def __init__(self, config: RedisConfig, worker: str) -> None:
        if config.url is None:
            raise ConfigError("redis.url: leases need the address of a Redis, for example redis://localhost:6379")
        self.name = mask(config.url)
        self._worker = worker
        self._lease_ms = int(config.lease_s * 1000)
        self._redis = connect(config.url, config.timeout_s)
        self._asking = threading.Lock()  # what Redis is asked to do and _held change together
        self._lock = threading.Lock()  # guards _held
        self._held: set[str] = set()

    @property
    def held(self) -> frozenset[str]:
        """The cameras that are ours, as far as the last answer went."""
        with self._lock:
            return frozenset(self._held)

    def lease(self, camera_id: str) -> bool:
        """Take the camera; False when another worker holds it."""
        with self._asking:
            if not self._run(TAKE, lease_key(camera_id), self._lease_ms):
                return False
            with self._lock:
                self._held.add(camera_id)
            return True

    def renew(self) -> frozenset[str]:
        """Renew every lease and say that this worker lives; to be called several times within `redis.lease_s`.

        Returns the cameras that are another worker's now: they are not held any more.
        """
        lost = frozenset(camera_id for camera_id in self.held if not self._renew(camera_id))
        self._beat()
        return lost

    def release(self, camera_id: str) -> None:
        """Give the camera up at once; nothing happens if it is not ours."""
        with self._asking:
            self._drop(camera_id)
            self._run(RELEASE, lease_key(camera_id))

    def close(self) -> None:
        """Give up everything that is held, as far as Redis answers, and the connection. May be called twice."""
        with contextlib.suppress(redis.RedisError, SinkError):
            for camera_id in self.held:
                self.release(camera_id)
            self._redis.delete(worker_key(self._worker))
        self._redis.close()

    def _renew(self, camera_id: str) -> bool:
        """False when it is another worker's now. One that was released meanwhile is not taken back."""
        with self._asking:
            if camera_id in self.held and not self._run(TAKE, lease_key(camera_id), self._lease_ms):
                self._drop(camera_id)
                return False
            return True

    def _drop(self, camera_id: str) -> None:
        with self._lock:
            self._held.discard(camera_id)

    def _beat(self) -> None:
        words = {"host": socket.gethostname(), "pid": os.getpid(), "cameras": sorted(self.held)}
        try:
            self._redis.set(worker_key(self._worker), json.dumps(words), px=self._lease_ms)
        except redis.RedisError as error:
            raise self._trouble(error) from None

    def _run(self, script: str, key: str, *arguments: Any) -> bool:
        try:
            return bool(self._redis.eval(script, 1, key, self._worker, *arguments))
        except redis.RedisError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: redis.RedisError) -> SinkError:
        """The next question goes out on a new connection: behind Sentinels, to whoever is primary then."""
        self._redis.connection_pool.disconnect(inuse_connections=False)
        return sentence(error, self.name)
