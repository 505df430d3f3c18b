"""Redis with TLS: a certificate that is good, and those that are not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from stream.client import asubscribe, listen, subscribe
from stream.config import RedisConfig
from stream.errors import SinkError, SinkRefused
from stream.sinks.redis import ping
from tests.client.told import seqs
from tests.redis_server import RedisServer, binary, free_port
from tests.sinks.made import samples
from tests.sinks.story import publish

pytestmark = pytest.mark.redis


@dataclass(frozen=True)
class Guarded:
    """A server with TLS, and authorities that a client may name."""

    server: RedisServer
    tls_port: int
    ours: Path  # has signed the server's certificate
    other: Path

    def url(self, authority: Path, host: str = "localhost") -> str:
        return f"rediss://{host}:{self.tls_port}?ssl_ca_certs={authority}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tls")
    ours, other = folder / "ours.pem", folder / "other.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ours))
    trustme.CA().cert_pem.write_to_path(str(other))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    (folder / "data").mkdir()
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(ours)]
    options += ["--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem")]
    try:
        server = RedisServer(binary(), folder / "data", *options)
    except RuntimeError as error:
        if "Bad directive" in str(error):
            pytest.skip("this redis-server was built without TLS")
        raise
    yield Guarded(server, port, ours, other)
    server.stop()


def test_a_good_certificate(guarded: Guarded) -> None:
    url = guarded.url(guarded.ours)
    assert ping(RedisConfig(url=url)).endswith(f"at rediss://localhost:{guarded.tls_port}?ssl_ca_certs=***")
    assert publish(url, samples(3)).troubles == []
    assert seqs(list(subscribe(url, from_="start", idle_s=0.2))) == [0, 1, 2]


def test_the_certificate_of_another_authority(guarded: Guarded) -> None:
    url = guarded.url(guarded.other)
    asks = (
        lambda: ping(RedisConfig(url=url)),
        lambda: next(subscribe(url)),
        lambda: next(listen(url)),
        lambda: aask(url),
    )
    for ask in asks:
        with pytest.raises(SinkRefused, match=r"not to be trusted \(self-signed") as told:
            ask()
        assert "ssl_ca_certs=FILE" in str(told.value)


def aask(url: str) -> object:
    async def one() -> object:
        events = asubscribe(url)
        try:
            return await anext(events)
        finally:
            await events.aclose()

    return asyncio.run(one())


def test_the_certificate_of_another_host(guarded: Guarded) -> None:
    with pytest.raises(SinkRefused, match=r"not to be trusted \(.*127\.0\.0\.1"):
        ping(RedisConfig(url=guarded.url(guarded.ours, host="127.0.0.1")))


def test_tls_with_a_redis_that_speaks_none(guarded: Guarded) -> None:
    """It waits for the end of what it takes for a command."""
    with pytest.raises(SinkError, match="did not answer in time"):
        ping(RedisConfig(url=f"rediss://127.0.0.1:{guarded.server.port}", timeout_s=0.3))


def test_no_tls_with_a_redis_that_wants_it(guarded: Guarded) -> None:
    with pytest.raises(SinkError, match="cannot be reached"):
        ping(RedisConfig(url=f"redis://127.0.0.1:{guarded.tls_port}"))
