"""A build in a process of its own: what it comes to, how it is ended, and what is left when it, or we, are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from engines.build import build, fingerprint_of
from engines.builder import Job, build_apart
from engines.cache import LOCK, Cache, Entry
from engines.errors import EngineError, EngineMismatch
from engines.manifest import KEY_DIGITS
from engines.options import Options
from engines.store import Model
from tests.conftest import PROJECT
from tests.engines.manifests import until
from tests.engines.networks import emotion_model, strips_model

SMALL = Options(max_batch=2)
WORKERS = 8

# Starts a build, and then does nothing but wait to be killed.
PARENT = """
import signal, sys
from pathlib import Path
from engines.builder import build_apart
from engines.cache import Cache
from engines.load import model_in
from engines.options import Options

job = build_apart(model_in(Path(sys.argv[1])), "fake", Options(max_batch=2), Cache(Path(sys.argv[2])))
signal.pause()
"""
# Builds on a disk on which a file finds room for 100 bytes: too little for a manifest, and for a backend's own notes.
FULL = """
import resource, sys
from pathlib import Path
from engines.builder import build_apart
from engines.cache import Cache
from engines.load import model_in
from engines.options import Options

resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for backend in sys.argv[3:]:
    try:
        build_apart(model_in(Path(sys.argv[1])), backend, Options(max_batch=2), Cache(Path(sys.argv[2]))).wait()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return strips_model(tmp_path / "model")


def names(cache: Cache) -> list[str]:
    return [name for name in os.listdir(cache.root) if not name.startswith(LOCK)] if cache.root.exists() else []


def started(parent: psutil.Process, cache: Cache, model: Model, options: Options = SMALL) -> psutil.Process:
    """The process that builds, once it stands before the lock, which the test holds, or has it."""
    lock = str(cache.root / f"{LOCK}{fingerprint_of(model, 'fake', options).key()[:KEY_DIGITS]}")
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = [child for child in parent.children() if lock in (file.path for file in child.open_files())]
        return bool(found)

    until(there)
    return found[0]


def has_ended(child: psutil.Process) -> bool:
    """Also when nobody has asked yet how: it is not ours."""
    try:
        return child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_it_can_still_be_built(cache: Cache, model: Model) -> None:
    assert cache.entries() == []
    entry = build(model, "fake", SMALL, cache)
    assert cache.entries() == [entry]
    assert entry.manifest.trial.parity.state == "passed"


def test_it_comes_to_what_a_build_comes_to(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths mean the same folders, though the process works in another one."""
    monkeypatch.chdir(tmp_path)
    here, cache = Model(model.spec, Path("model") / model.onnx_path.name), Cache(Path("mine"))
    done: list[float] = []
    entry = build_apart(here, "fake", SMALL, cache).wait(done.append)
    assert entry == cache.find(model.spec.name, fingerprint_of(model, "fake", SMALL))
    assert entry.folder.parent == tmp_path / "mine"
    assert entry.manifest.model_folder == str(tmp_path / "model")
    assert entry.read() == {"engine.fake": model.spec.sha256.encode()}
    assert done == sorted(done)
    assert len(done) > 2
    assert done[-1] == 1.0


def test_eight_at_once_build_one_engine_once(cache: Cache, model: Model) -> None:
    jobs = [build_apart(model, "fake", SMALL, cache) for _ in range(WORKERS)]
    told: list[list[float]] = [[] for _ in jobs]
    entries = [job.wait(done.append) for job, done in zip(jobs, told, strict=True)]
    assert len({entry.manifest.built_at for entry in entries}) == 1
    assert sorted(len(done) > 1 for done in told) == [False] * (WORKERS - 1) + [True]  # the others only found it
    assert names(cache) == [entries[0].folder.name]


def test_what_refused_it_there_refuses_it_here(tmp_path: Path, cache: Cache) -> None:
    other = emotion_model(tmp_path / "other")  # whose network is not the fake's arithmetic
    with pytest.raises(EngineMismatch, match="does not answer as the checkpoint did"):
        build_apart(other, "fake", SMALL, cache).wait()
    assert names(cache) == []


def test_a_process_that_is_killed_is_told_and_leaves_no_engine(cache: Cache, model: Model) -> None:
    with cache.locked(fingerprint_of(model, "fake", SMALL)):
        job = build_apart(model, "fake", SMALL, cache)
        started(psutil.Process(), cache, model).kill()
        with pytest.raises(
            EngineError, match=r"^the fake engine of tiny-strips was not built: its process was killed by SIGKILL$"
        ):
            job.wait()
    assert_it_can_still_be_built(cache, model)


def test_a_process_that_is_killed_while_it_builds_gives_the_lock_back(cache: Cache, model: Model) -> None:
    """It holds the lock and has compiled: the first thing that it tells is the last that is heard of it."""
    large = Options(max_batch=1024)  # which takes a while to be compared and timed
    job = build_apart(model, "fake", large, cache)

    heard: list[float] = []

    def kill(done: float) -> None:
        heard.append(done)
        if len(heard) == 1:  # what it had told before it died is heard all the same
            started(psutil.Process(), cache, model, large).kill()

    with pytest.raises(EngineError, match="killed by SIGKILL"):
        job.wait(kill)
    assert heard[-1] < 1.0
    assert_it_can_still_be_built(cache, model)


def test_a_process_that_fails_unforeseen_is_told_with_its_last_words() -> None:
    job: Job[None] = Job("an engine", {"kind": "build"}, lambda answer: None, 0)
    with pytest.raises(
        EngineError, match=r"^an engine was not built: its process ended with exit code 1 \(KeyError: 'spec'\)$"
    ):
        job.wait()


def test_a_build_ends_with_whoever_wanted_it(tmp_path: Path, cache: Cache, model: Model) -> None:
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "model"), str(cache.root)]
    with (
        cache.locked(fingerprint_of(model, "fake", SMALL)),
        subprocess.Popen(arguments, cwd=PROJECT, stdin=subprocess.DEVNULL) as parent,
    ):
        child = started(psutil.Process(parent.pid), cache, model)
        parent.send_signal(signal.SIGKILL)
        until(lambda: has_ended(child))
    assert_it_can_still_be_built(cache, model)


def test_it_can_be_stopped_at_once_and_twice(cache: Cache, model: Model) -> None:
    with cache.locked(fingerprint_of(model, "fake", SMALL)):
        job = build_apart(model, "fake", SMALL, cache)
        job.stop()
        job.stop()
        with pytest.raises(EngineError, match=r"^the fake engine of tiny-strips was not built: its process "):
            job.wait()
    assert_it_can_still_be_built(cache, model)


def test_it_can_be_stopped_while_another_thread_waits_for_it(cache: Cache, model: Model) -> None:
    heard: list[Entry | EngineError] = []

    def wait() -> None:
        try:
            heard.append(job.wait())
        except EngineError as error:
            heard.append(error)

    with cache.locked(fingerprint_of(model, "fake", SMALL)):
        job = build_apart(model, "fake", SMALL, cache, nice=3)
        thread = threading.Thread(target=wait, name="waiting")
        thread.start()
        assert started(psutil.Process(), cache, model).nice() == os.nice(0) + 3  # others come first
        job.stop()
        thread.join(60)
    assert [type(what) for what in heard] == [EngineError]
    assert names(cache) == []


def test_one_that_does_not_listen_any_more_is_killed(cache: Cache, model: Model) -> None:
    """As a compiler may be that never lets Python have its turn."""
    with cache.locked(fingerprint_of(model, "fake", SMALL)):
        job = build_apart(model, "fake", SMALL, cache)
        child = started(psutil.Process(), cache, model)
        child.suspend()
        job.stop(patience_s=0.1)
        assert not child.is_running()


def test_a_disk_that_fills_while_it_builds_is_told_and_leaves_nothing(
    tmp_path: Path, cache: Cache, model: Model
) -> None:
    arguments = [sys.executable, "-c", FULL, str(tmp_path / "model"), str(cache.root), "fake", "onnxruntime"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        arguments, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    fake, onnxruntime = done.stdout.splitlines()
    assert fake == f"EngineError: {cache.root}: the engine cannot be kept (File too large); nothing was written"
    assert onnxruntime.startswith("EngineError: tiny-strips: ONNX Runtime cannot note its layers in a temporary file (")
    assert names(cache) == []
    assert {path.name for path in tmp_path.iterdir()} == {"model", "engines"}
