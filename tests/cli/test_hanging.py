"""Live cameras whose threads hang where nothing can interrupt them: the camera goes on, and so does everything else."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream import reader, sources
from stream.sources.base import StreamInfo
from stream.sources.synthetic import SyntheticSource
from tests.cli.conftest import Run, World, events_of, process, read_until
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer

pytestmark = pytest.mark.redis

# In front of the C library's own: the first question for this host is never answered, later ones at once.
RESOLVER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
typedef int function(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static int asked;
    function *next = (function *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && !strcmp(name, "camera.test")) {
        if (!__sync_fetch_and_add(&asked, 1)) for (;;) pause();
        name = "127.0.0.1";
    }
    return next(name, service, hints, found);
}
"""


@pytest.fixture(scope="session")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes a name server hang for whoever has it in LD_PRELOAD."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is here")
    folder = tmp_path_factory.mktemp("resolver")
    (folder / "resolver.c").write_text(RESOLVER)
    library = folder / "resolver.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "resolver.c", "-ldl"], check=True)
    return library


def test_a_name_server_that_never_answers(
    world: World, server: RedisServer, tmp_path: Path, resolver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg itself does not return, and has not when the run is over: the worker ends all the same."""
    config, out = tmp_path / "live.yaml", tmp_path / "events.jsonl"
    config.write_text(world.config.read_text() + "source: {open_timeout_s: 3.0, stall_s: 30.0}\n")
    monkeypatch.setenv("LD_PRELOAD", str(resolver))
    options = ("--config", config, "--redis", server.url, "--out", out)
    with RtspServer({"cam": Behaviour(path=world.moody, speed=1.0, loop=True)}) as rtsp:
        url = rtsp.url("cam").replace("127.0.0.1", "camera.test")
        with process("run", f"cam={url}", f"steady={rtsp.url('cam')}", *options) as child:
            read_until(child, "steady arrived", "cam offline abandoned", "cam live", "cam arrived")
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert "camera cam: threads of it that hung and were abandoned: 1" in err.splitlines()
    events = events_of(out)
    statuses = {
        camera_id: [e.status for e in events if e.type == "camera.status" and e.camera_id == camera_id]
        for camera_id in ("cam", "steady")
    }
    assert statuses == {
        "cam": ["connecting", "offline", "connecting", "live", "ended"],
        "steady": ["connecting", "live", "ended"],
    }


class HangsAtFirst(SyntheticSource):
    """Does not come back from its first opening until the test lets it go: a name server that never answers."""

    gate: threading.Event | None = None  # of the opening that is to hang

    def open(self) -> StreamInfo:
        gate, HangsAtFirst.gate = HangsAtFirst.gate, None
        if gate is not None:
            gate.wait()
        return super().open()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    gate = threading.Event()
    monkeypatch.setattr(HangsAtFirst, "gate", gate)
    monkeypatch.setitem(sources.SOURCES, "synthetic", (__name__, HangsAtFirst.__name__))
    monkeypatch.setattr(reader, "HANG_MARGIN_S", 0.2)
    yield gate
    gate.set()


def test_a_camera_whose_thread_hangs_goes_on_without_it(
    world: World, server: RedisServer, tmp_path: Path, emostream: Run, gate: threading.Event
) -> None:
    out = tmp_path / "events.jsonl"
    config = tmp_path / "live.yaml"
    config.write_text(world.config.read_text() + "source: {open_timeout_s: 0.1, realtime: true}\n")
    options = ("--config", config, "--redis", server.url, "--out", out, "--json")
    ended = emostream("run", "cam=synthetic:64x64@25?seconds=1", *options)
    told = json.loads(ended.out)
    assert (ended.code, told["hung"], told["failed"], told["abandoned"]) == (0, {"cam": 1}, {}, [])
    assert "camera cam: threads of it that hung and were abandoned: 1" in ended.err.splitlines()
    statuses = [event for event in events_of(out) if event.type == "camera.status"]
    assert [event.status for event in statuses] == ["connecting", "offline", "connecting", "live", "ended"]
    assert (
        statuses[1].reason == "opening it hangs beyond its timeout (a name server, a driver?); its thread was abandoned"
    )
    assert len({event.session for event in statuses}) == 1
