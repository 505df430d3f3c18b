"""Which sink an address means. Nothing is reached or written: that is for `open`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.config import RedisConfig
from stream.errors import ConfigError
from stream.sinks import make_sink
from stream.sinks.jsonl import JsonlSink
from stream.sinks.redis import RedisSink

REDIS = RedisConfig(url="redis://elsewhere", maxlen=500)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("redis://me:secret@host:1/2", "redis://***@host:1/2"),
        ("rediss://host", "rediss://host"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis+sentinel://me:secret@one:1,two:2/mine/3", "redis+sentinel://***@one:1,two:2/mine/3"),
        ("rediss+sentinel://one/mine?sentinel_password=secret", "rediss+sentinel://one/mine?sentinel_password=***"),
    ],
)
def test_a_redis(address: str, name: str) -> None:
    sink = make_sink(address, REDIS, "worker")
    assert isinstance(sink, RedisSink)
    assert sink.name == name
    sink.close()


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
def test_a_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "12:30.jsonl"
    sink = make_sink(form.format(path), REDIS, "worker")
    assert isinstance(sink, JsonlSink)
    assert sink.name == str(path)
    assert not path.exists()


def test_a_relative_path_with_a_colon() -> None:
    assert make_sink("12:30.jsonl", REDIS, "worker").name == "12:30.jsonl"


@pytest.mark.parametrize(
    "address",
    [
        "kafka://me:secret@host",
        "unix://?db=many",
        "redis://host?protocol=3",
        "redis://host?nonsense=1",
        "rediss://host?ssl_cert_reqs=secret",
    ],
)
def test_an_address_of_no_sink_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_sink(address, REDIS, "worker")
    assert "secret" not in str(refused.value)
