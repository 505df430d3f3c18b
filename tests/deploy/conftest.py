"""The metrics of a real run."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client.samples import Sample

from tests.cli.conftest import World, process, read_until, world
from tests.redis_server import free_port, running
from tests.rtsp_server import Behaviour, RtspServer
from tests.waiting import wait_until
from tests.web.metrics_text import samples

__all__ = ["world"]

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
ENOUGH = ("emostream_capture_to_publish_seconds_count", "emostream_tracks", "emostream_batch_size_sum")


@pytest.fixture(scope="session")
def exposed(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Every sample that a worker with a camera tells once it has seen a face."""
    playing, url = Behaviour(path=world.moody, speed=1.0, loop=True), f"http://127.0.0.1:{free_port()}/metrics"
    found: list[Sample] = []

    def come() -> bool:
        try:
            with urlopen(Request(url), timeout=5) as answer:
                found[:] = samples(answer.read().decode())
        except OSError:
            return False
        return all(any(each.name == name and each.value for each in found) for name in ENOUGH)

    with running() as redis, RtspServer({"cam": playing}) as rtsp:
        address = url.removeprefix("http://").removesuffix("/metrics")
        with process(
            "run", f"cam={rtsp.url('cam')}", "--config", world.config, "--redis", redis.url, "--http", address
        ) as child:
            read_until(child, "cam arrived")
            wait_until(come)
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=20)
    return found
