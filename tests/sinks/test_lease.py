from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from stream.config import RedisConfig
from stream.errors import ConfigError, SinkError
from stream.sinks.lease import Leases
from stream.sinks.redis import lease_key, worker_key
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def two(server: RedisServer) -> Iterator[tuple[Leases, Leases]]:
    config = RedisConfig(url=server.url, lease_s=10.0)
    ours, theirs = Leases(config, "ours"), Leases(config, "theirs")
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_camera_has_one_worker(two: tuple[Leases, Leases]) -> None:
    ours, theirs = two
    assert ours.lease("cam1")
    assert ours.lease("cam1")
    assert not theirs.lease("cam1")
    assert theirs.lease("cam2")
    assert (ours.held, theirs.held) == ({"cam1"}, {"cam2"})


def test_a_lease_ends_by_itself(two: tuple[Leases, Leases], server: RedisServer) -> None:
    assert two[0].lease("cam1")
    with server.client() as client:
        assert 9_000 < client.pttl(lease_key("cam1")) <= 10_000


def test_renewing_makes_it_last_and_shows_a_heartbeat(two: tuple[Leases, Leases], server: RedisServer) -> None:
    ours, _ = two
    ours.lease("cam1")
    with server.client() as client:
        client.pexpire(lease_key("cam1"), 100)
        assert ours.renew() == frozenset()
        assert client.pttl(lease_key("cam1")) > 9_000
        beat = json.loads(client.get(worker_key("ours")))
        assert beat["cameras"] == ["cam1"]
        assert 9_000 < client.pttl(worker_key("ours")) <= 10_000


def test_renewing_tells_what_another_worker_took(two: tuple[Leases, Leases], server: RedisServer) -> None:
    ours, theirs = two
    ours.lease("cam1")
    ours.lease("cam2")
    with server.client() as client:
        client.delete(lease_key("cam1"), lease_key("cam2"))  # a Redis that forgot
    theirs.lease("cam1")
    assert ours.renew() == {"cam1"}
    assert ours.held == {"cam2"}


def test_nobody_releases_the_lease_of_another(two: tuple[Leases, Leases]) -> None:
    ours, theirs = two
    ours.lease("cam1")
    theirs.release("cam1")
    assert not theirs.lease("cam1")
    ours.release("cam1")
    assert theirs.lease("cam1")


def test_what_was_released_is_not_taken_back_by_a_renewal_on_its_way(
    two: tuple[Leases, Leases], server: RedisServer
) -> None:
    """The worker renews its cameras while another thread removes one of them."""
    ours, _ = two
    for number in range(50):
        ours.lease(f"other{number}")
    with server.client() as client:
        for _ in range(20):
            assert ours.lease("cam1")
            renewing = threading.Thread(target=ours.renew)
            renewing.start()
            ours.release("cam1")
            renewing.join()
            assert client.get(lease_key("cam1")) is None


def test_closing_gives_everything_up(server: RedisServer) -> None:
    leases = Leases(RedisConfig(url=server.url), "ours")
    leases.lease("cam1")
    leases.renew()
    leases.close()
    leases.close()
    with server.client() as client:
        assert client.dbsize() == 0


def test_a_dead_redis_is_told_and_does_not_hinder_closing() -> None:
    leases = Leases(RedisConfig(url="redis://127.0.0.1:1"), "ours")
    for ask in (lambda: leases.lease("cam1"), leases.renew, lambda: leases.release("cam1")):
        with pytest.raises(SinkError, match="cannot be reached"):
            ask()
    leases.close()


def test_leases_need_an_address() -> None:
    with pytest.raises(ConfigError, match="need the address"):
        Leases(RedisConfig(), "ours")
