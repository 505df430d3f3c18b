"""No credential is seen anywhere, however an address that holds it fails: the real command line, and all it leaves."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest
import redis

from stream.errors import SourceError
from tests.cli.conftest import World, configured, process
from tests.contracts.source import connected
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer
from tests.sources.http_server import serving

LOGIN = "w4tcher:s3cr3t%40x"  # as it is written in an address: the password is s3cr3t@x
QUERY = "token=t0k3n%2Bzz"
# Letters and digits look the same in every percent encoding; a header holds both together in base64.
SECRETS = (
    *("w4tcher", "s3cr3t", "t0k3n"),
    *(base64.b64encode(login).decode().rstrip("=") for login in (LOGIN.encode(), b"w4tcher:s3cr3t@x")),
)

pytestmark = pytest.mark.redis


def assert_no_secret(place: str, text: str | bytes) -> None:
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    for secret in SECRETS:
        at = text.find(secret)
        assert at < 0, f"{place} tells {secret}: ...{text[max(0, at - 60) : at + 60]}..."


@contextlib.contextmanager
def babbling() -> Iterator[int]:
    """The port of a server that answers every connection with noise and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            with contextlib.suppress(OSError):  # shut down below
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(4096)
                        connection.sendall(bytes(range(256)) * 4)

        thread = threading.Thread(target=babble, name="babbling")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def failing_sources(world: World) -> Iterator[dict[str, str]]:
    """Camera name -> an address full of secrets that fails in its own way."""
    cameras = {kind: Behaviour(path=world.moody, kind=kind) for kind in ("401", "404", "refuse", "silent", "corrupt")}
    with (
        socket.socket() as nobody,
        babbling() as babble,
        RtspServer(cameras) as rtsp,
        serving(world.folder) as http,
    ):
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: a connection is refused
        closed = nobody.getsockname()[1]
        yield {
            **{f"rtsp-{kind}": f"{rtsp.url(kind).replace('://', f'://{LOGIN}@')}?{QUERY}" for kind in cameras},
            "rtsp-closed": f"rtsp://{LOGIN}@127.0.0.1:{closed}/live?{QUERY}",
            "rtsp-noise": f"rtsp://{LOGIN}@127.0.0.1:{babble}/live?{QUERY}",
            "rtsp-nowhere": f"rtsp://{LOGIN}@camera.invalid/live?{QUERY}",
            "rtsps-closed": f"rtsps://{LOGIN}@127.0.0.1:{closed}/live?{QUERY}",
            "http-401": http.url(f"error/401?{QUERY}", f"{LOGIN}@"),
            "http-404": http.url(f"error/404?{QUERY}", f"{LOGIN}@"),
            "http-500": http.url(f"error/500?{QUERY}", f"{LOGIN}@"),
            "http-silent": http.url(f"silent?{QUERY}", f"{LOGIN}@"),
            "http-no-video": http.url(f"{world.config.name}?{QUERY}", f"{LOGIN}@"),
            "http-noise": f"http://{LOGIN}@127.0.0.1:{babble}/live?{QUERY}",
            "one-slash": f"rtsp:/{LOGIN}@127.0.0.1:{closed}/live?{QUERY}",
            "no-scheme": f"{LOGIN}@127.0.0.1:{closed}/live",
            "bad-port": f"rtsp://{LOGIN}@127.0.0.1:port/live?{QUERY}",
        }


def titles(pid: int) -> str:
    """What `ps` shows of a process, its threads and all that it started."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    folders = [Path(f"/proc/{each.pid}") for each in family]
    files = [path for folder in folders for path in (folder / "cmdline", *folder.glob("task/*/comm"))]
    return "\n".join(path.read_text(errors="replace").replace("\0", " ") for path in files)


def stored(url: str) -> str:
    """Everything a Redis holds, and what it knows of its clients."""
    kinds = {
        "string": lambda key: client.get(key),
        "hash": lambda key: client.hgetall(key),
        "stream": lambda key: client.xrange(key),
        "set": lambda key: client.smembers(key),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    with redis.Redis.from_url(url, protocol=2, decode_responses=True) as client:
        held = {key: kinds[client.type(key)](key) for key in client.scan_iter()}
        assert any(key.startswith("emostream:events:") for key in held)
        return f"{held} {client.client_list()}"


def left_on_disk(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file below a folder."""
    return ((str(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder below which processes of this test keep state, caches and runtime files."""
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home" / variable.lower()))
    return tmp_path / "home"


def said_until_all_are_lost(child: subprocess.Popen[str], cameras: set[str]) -> str:
    """What the worker prints until each of these cameras has been told as lost."""
    assert child.stderr is not None
    lost: set[str] = set()
    said = []
    for line in child.stderr:
        said.append(line)
        lost |= {name for name in cameras if line.startswith(f"{name} ") and (" offline" in line or " failed" in line)}
        if lost == cameras:
            return "".join(said)
    raise AssertionError(f"never told as lost: {cameras - lost}; said: {''.join(said)}")


def test_cameras_that_fail(world: World, home: Path, tmp_path: Path) -> None:
    """All at once, on the command line, with the most that a worker ever says."""
    out = tmp_path / "events.jsonl"
    quick = {"open_timeout_s": 0.5, "read_timeout_s": 0.5}
    config = configured(world, tmp_path / "quick.yaml", source=quick, run={"private_redis": str(home / "redis")})
    with failing_sources(world) as sources:
        arguments = [f"{name}={address}" for name, address in sources.items()]
        with process("run", *arguments, "--config", config, "--out", out, "--json", "--debug") as child:
            said = said_until_all_are_lost(child, set(sources))
            assert_no_secret("the process title", titles(child.pid))
            url = said.partition("private Redis at ")[2].partition(";")[0]
            assert_no_secret("Redis", stored(url))
            child.terminate()
            answer, rest = child.communicate(timeout=20)
    assert child.returncode == 1  # the file without a scheme cannot be read, and ended `failed`
    assert said.count("a password on the command line") == len(sources)
    assert re.search(r"(?m)^\[tcp @ .* failed: Connection refused", said)  # FFmpeg's own log
    assert_no_secret("stderr", said + rest)
    assert_no_secret("stdout", answer)
    assert_no_secret("the JSON Lines file", out.read_bytes())
    files = dict(left_on_disk(home))
    assert any(b"camera.status" in content for content in files.values())  # it is the state that was searched
    for name, content in files.items():
        assert_no_secret(f"{name} of the state", content)


def test_exceptions(world: World) -> None:
    """What a program of its own sees, that uses a source without the worker: the words, and the whole traceback."""
    with failing_sources(world) as sources:
        for name in sources.keys() - {"rtsp-corrupt"}:
            quick = {"open_timeout_s": 0.3, "read_timeout_s": 0.3}
            with connected(sources[name], **quick) as source, pytest.raises(SourceError) as caught:
                source.open()
            shown = f"{caught.value!s} {caught.value!r} {caught.getrepr(style='native', chain=True)}"
            assert_no_secret(f"the exception of {name}", shown)


def bad_redis(world: World, password_server: RedisServer, closed: int, babble: int) -> dict[str, tuple[object, ...]]:
    """What is wrong -> arguments that hold a Redis address full of secrets; each is refused before a camera starts."""
    right = password_server.url.replace("redis://", f"redis://{LOGIN}@")
    quick = ("--config", configured(world, world.folder / "quick_redis.yaml", redis={"timeout_s": 0.5}))
    addresses = {
        "wrong password": right,
        "wrong password as a query": f"{password_server.url}?username=w4tcher&password=s3cr3t%2Bzz",
        "no TLS there": right.replace("redis://", "rediss://"),
        "refused": f"redis://{LOGIN}@127.0.0.1:{closed}/0",
        "noise": f"redis://{LOGIN}@127.0.0.1:{babble}/0",
        "bad host": f"redis://{LOGIN}@redis.invalid:6379/0?{QUERY}",
        "bad port": f"redis://{LOGIN}@127.0.0.1:port/0",
        "bad query": f"redis://{LOGIN}@127.0.0.1:{closed}/0?socket_timeout=t0k3n",
        "no socket": f"unix://{LOGIN}@/nowhere/redis.sock",
        "no scheme": f"{LOGIN}@127.0.0.1:6379",
        "another scheme": f"http://{LOGIN}@127.0.0.1:6379?{QUERY}",
    }
    return {
        **{words: ("run", world.short, "--redis", address, *quick) for words, address in addresses.items()},
        "watch": ("watch", "--redis", right, "--idle", "0.1", "--json"),
        "doctor": ("doctor", "--redis", right, *quick, "--json"),
    }


def bad_usage(folder: Path) -> dict[str, tuple[object, ...]]:
    """What is wrong -> arguments full of secrets that are refused as they stand."""
    address = f"rtsp://{LOGIN}@127.0.0.1/live?{QUERY}"
    texts = {
        "no YAML": f"cameras: [{{name: a, source: '{address}'",
        "bad key": f"cameras: [{{name: a, source: '{address}', url: '{address}'}}]",
        "bad type": f"cameras: '{address}'",
        "name twice in a file": f"cameras: [{{name: a, source: '{address}'}}, {{name: a, source: '{address}'}}]",
        "bad scheme in a file": f"cameras: [{{name: a, source: '{address.replace('rtsp', 'gopher')}'}}]",
        "no Redis": f"redis: '{address}'",
    }
    for words, text in texts.items():
        (folder / f"{words}.yaml").write_text(text)
    return {
        **{words: ("run", "--config", folder / f"{words}.yaml") for words in texts},
        "unknown scheme": ("run", f"a={address.replace('rtsp', 'gopher')}"),
        "name twice": ("run", f"a={address}", f"a={address}"),
        "bad name": ("run", f"Front Door={LOGIN}@127.0.0.1/live?{QUERY}"),
        "an open page": ("run", f"a={address}", "--http", f"{LOGIN}@0.0.0.0:0"),
        "no page": ("run", f"a={address}", "--http", f"http://{LOGIN}@127.0.0.1:0/?{QUERY}"),
        "nobody to add it to": ("cameras", "add", address, "--url", f"http://{LOGIN}@127.0.0.1:1/?{QUERY}"),
        "a token for nobody": ("cameras", "list", "--url", "http://127.0.0.1:1", "--token", "t0k3n"),
        "no such worker": ("cameras", "remove", address, "--url", address),
        "no command": (address,),
        "no command, no scheme": (f"{LOGIN}@127.0.0.1/live",),
        "no option": ("run", f"--{address}"),
        "no number": ("run", "a.mp4", "--hold", address),
        "no time": ("run", "a.mp4", "--start-at", address),
        "a configuration elsewhere": ("run", "--config", address),
        "a configuration elsewhere, no scheme": ("run", "--config", f"{LOGIN}@127.0.0.1/live"),
        "not a file to measure on": ("bench", address),
        "no part to measure": ("bench", "--part", address),
        "no recording": ("report", address),
        "no table of figures": ("bench", "--append", address),
        "no model": ("engines", "inspect", address),
        "no output": ("run", "synthetic:64x64@5?seconds=1", "--out", address, "--redis", "redis://127.0.0.1:1"),
    }


COMMAND_LINES = """
import json, sys
from stream import cli
for words, arguments in json.load(sys.stdin).items():
    sys.argv = ["emostream", *arguments, "--debug"]
    try:
        cli.main()
    except SystemExit as ended:
        print(f"refused: {words}: {ended.code}", file=sys.stderr, flush=True)
"""


def assert_each_is_refused_in_silence(cases: Mapping[str, Sequence[object]], codes: str) -> None:
    """Run one after the other, with --debug, in a process of their own; each ends with one of these exit codes."""
    told = json.dumps({words: list(map(str, case)) for words, case in cases.items()})
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND_LINES], input=told, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert re.findall(rf"(?m)^refused: (.*): [{codes}]$", ended.stderr) == list(cases)
    assert_no_secret("stdout", ended.stdout)
    assert_no_secret("stderr", ended.stderr)


def test_a_redis_that_fails(world: World, home: Path, own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "another")
    with socket.socket() as nobody, babbling() as babble:
        nobody.bind(("127.0.0.1", 0))
        cases = bad_redis(world, own_server, nobody.getsockname()[1], babble)
        assert_each_is_refused_in_silence(cases, "12")
    for name, content in left_on_disk(home):
        assert_no_secret(name, content)


def test_usage_that_is_refused(home: Path, tmp_path: Path) -> None:
    assert_each_is_refused_in_silence(bad_usage(tmp_path), "24")


def test_a_redis_that_is_lost(
    world: World, home: Path, own_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right password, out of the environment, and then the server goes."""
    with own_server.client() as client:
        client.config_set("requirepass", "s3cr3t@x")
    url = own_server.url.replace("redis://", "redis://default:s3cr3t%40x@")
    monkeypatch.setenv("TEST_REDIS_URL", url)
    config = configured(world, tmp_path / "lost.yaml", redis={"url": "${TEST_REDIS_URL}"}, run={"drain_s": 0.5})
    with process("run", world.moody, "--config", config, "--realtime", "--debug") as child:
        assert child.stdout is not None
        said = "".join(iter_until(child.stdout, "arrived"))
        assert_no_secret("Redis", stored(url))
        assert_no_secret("the process title", titles(child.pid))
        own_server.kill()
        assert child.stderr is not None
        said += "".join(iter_until(child.stderr, "cannot be reached"))
        child.terminate()
        out, err = child.communicate(timeout=20)
    assert child.returncode == 1  # what Redis did not get is told, and fails the run
    assert_no_secret("the output", said + out + err)
    for name, content in left_on_disk(home):
        assert_no_secret(name, content)


def iter_until(lines: Iterable[str], words: str) -> Iterator[str]:
    """The lines up to the one that holds these words."""
    for line in lines:
        yield line
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said")


def test_a_thread_that_ends_in_an_unforeseen_way(home: Path) -> None:
    """Python would print its traceback past every filter of ours."""
    program = """
import sys, threading
from stream import cli
def fail():
    raise ValueError(f"cannot open {sys.argv.pop()}")
sys.argv = ["emostream", "--help", *sys.argv[1:]]
try:
    cli.main()
except SystemExit:
    thread = threading.Thread(target=fail, name="camera-lobby")
    thread.start()
    thread.join()
"""
    address = f"rtsp://{LOGIN}@127.0.0.1/live?{QUERY}"
    ended = subprocess.run(
        [sys.executable, "-c", program, address], capture_output=True, text=True, timeout=60, check=False
    )
    assert "the thread camera-lobby ended in an unforeseen way" in ended.stderr
    assert "rtsp://***@127.0.0.1/live?token=***" in ended.stderr
    assert_no_secret("stderr", ended.stderr)
