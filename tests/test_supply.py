"""Where a run's engines come from: at once what is there, a better one when it is built, and never in the middle of a
recording.

The fake backend stands for one that has to be built first; it computes what `strips_model` does.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from engines import choice as choices
from engines import load as loading
from engines.backends import fake
from engines.build import build, fingerprint_of
from engines.cache import LOCK, Cache, Entry
from engines.choice import Choice, choice_path, surroundings
from engines.errors import EngineError, EngineMismatch
from engines.manifest import KEY_DIGITS
from engines.options import Options
from engines.store import Model
from stream import supply as supplies
from stream.assembly import Models
from stream.clocks import Clocks
from stream.config import CameraConfig, Config, EngineConfig, OutboxConfig, SourceConfig
from stream.errors import OutboxError
from stream.events import CameraStatus
from stream.outbox import MemoryOutbox, Outbox
from stream.pipeline import Parts
from stream.probe import Probe
from stream.publisher import Publisher
from stream.runtime import Outcome, Worker
from stream.sinks.base import Accepted
from stream.sinks.memory import MemorySink
from stream.supply import Better, Supply
from tests.engines.manifests import until
from tests.engines.networks import emotion_model, face_model, strips_model

PLAIN = Options()
ORT = "onnxruntime-"


@pytest.fixture(autouse=True)
def must_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake backend is one that compiles ahead."""
    monkeypatch.setattr(supplies, "DIRECT", {"onnxruntime"})


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are two backends to choose from."""
    monkeypatch.setattr(choices, "NEVER", set())
    for name in loading.BACKENDS.keys() - {"onnxruntime", "fake"}:
        monkeypatch.delitem(loading.BACKENDS, name)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return strips_model(tmp_path / "strips")


class Stand:
    """A supply of one emotion engine, and what it said."""

    def __init__(self, model: Model, cache: Cache, *, live: bool, **config: object) -> None:
        self.said: list[str] = []
        settings = Config(engine=EngineConfig.model_validate({"backend": "fake", **config}))
        self.supply = Supply(settings, {"emotion": model}, cache, live, self.said.append)

    def first(self) -> str:
        """The fingerprint of the engine to begin with."""
        engine = self.supply.first()["emotion"]
        engine.close()
        return engine.fingerprint

    def improved(self) -> list[str]:
        """The fingerprints of what is better once everything is built."""
        self.supply.improve()
        for thread in builders():
            thread.join(60)
        engines = [self.supply.load(better) for better in self.supply.ready()]
        for engine in engines:
            engine.close()
        return [engine.fingerprint for engine in engines]


def builders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "engines"]


def waits_at(cache: Cache, model: Model) -> Callable[[], bool]:
    """Whether a process stands before the lock of the fake's engine, which the test holds."""
    lock = str(cache.root / f"{LOCK}{fingerprint_of(model, 'fake', PLAIN).key()[:KEY_DIGITS]}")
    return lambda: any(
        lock in (file.path for file in child.open_files()) for child in psutil.Process().children(recursive=True)
    )


def test_a_live_run_begins_at_once_and_a_better_engine_follows(cache: Cache, model: Model) -> None:
    stand = Stand(model, cache, live=True)
    assert stand.first().startswith(ORT)
    assert stand.said == ["no engine of tiny-strips for fake is built; onnxruntime runs until it is built"]
    assert stand.supply.ready() == []
    (better,) = stand.improved()
    assert better.startswith("fake/tiny-strips")
    assert stand.supply.ready() == []  # told once
    stand.supply.close()
    later = Stand(model, cache, live=True)  # and the next run begins with it
    assert later.first() == better
    assert (later.improved(), later.said) == ([], [])


@pytest.mark.parametrize(("live", "config"), [(False, {}), (True, {"wait": True})])
def test_who_asks_for_an_engine_by_name_may_wait_for_it(
    cache: Cache, model: Model, live: bool, config: dict[str, object]
) -> None:
    """In a run over files, whose events are not to depend on how long a build takes, and where it was asked for."""
    stand = Stand(model, cache, live=live, **config)
    assert stand.first().startswith("fake/")
    assert stand.said == ["no engine of tiny-strips for fake is built; it is built now"]
    assert (stand.improved(), builders()) == ([], [])


@pytest.mark.parametrize("live", [True, False])
def test_what_needs_no_build_is_there_at_once(cache: Cache, model: Model, live: bool) -> None:
    stand = Stand(model, cache, live=live, backend="onnxruntime")
    assert stand.first().startswith(ORT)
    assert (stand.improved(), stand.said, cache.entries()) == ([], [], [])


def test_an_engine_in_the_cache_that_is_damaged_is_not_used(cache: Cache, model: Model) -> None:
    entry = build(model, "fake", PLAIN, cache)
    (entry.folder / "engine.fake").write_bytes(b"cut")
    stand = Stand(model, cache, live=True)
    assert stand.first().startswith(ORT)
    assert "engine.fake: expected 64 bytes, it has 3" in stand.said[0]


def test_a_build_that_fails_leaves_the_first_engine_running_and_says_why(tmp_path: Path, cache: Cache) -> None:
    stand = Stand(emotion_model(tmp_path / "other"), cache, live=True)
    assert stand.first().startswith(ORT)
    assert stand.improved() == []
    assert stand.said[1].startswith("tiny-emotion stays on onnxruntime: tiny-emotion: fake/")
    assert "does not answer as the checkpoint did" in stand.said[1]
    assert len(stand.said) == 2


def test_a_build_that_fails_ends_a_run_that_waits_for_it(tmp_path: Path, cache: Cache) -> None:
    stand = Stand(emotion_model(tmp_path / "other"), cache, live=False)
    with pytest.raises(EngineMismatch, match="does not answer as the checkpoint did"):
        stand.first()


def test_a_backend_that_is_not_installed_is_told_and_not_needed(
    cache: Cache, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.BACKENDS, "fake", ("engines.backends.no_such_module", "fake"))
    stand = Stand(model, cache, live=True)
    assert stand.first().startswith(ORT)
    assert "no_such_module'): fake; onnxruntime runs" in stand.said[0]


def test_a_better_engine_that_was_damaged_meanwhile_is_refused(cache: Cache, model: Model) -> None:
    entry = build(model, "fake", PLAIN, cache)
    (entry.folder / "engine.fake").write_bytes(b"")
    with pytest.raises(EngineMismatch, match=r"engine\.fake"):
        Stand(model, cache, live=True).supply.load(Better("emotion", "fake", PLAIN, entry))


def test_the_end_of_a_run_ends_the_build_in_silence(cache: Cache, model: Model) -> None:
    stand = Stand(model, cache, live=True)
    stand.first()
    said = list(stand.said)
    with cache.locked(fingerprint_of(model, "fake", PLAIN)):
        stand.supply.improve()
        until(waits_at(cache, model))
        stand.supply.close()
        stand.supply.close()
        for thread in builders():
            thread.join(60)
    assert not waits_at(cache, model)()
    assert (stand.said, stand.supply.ready()) == (said, [])


def test_a_run_that_is_over_begins_no_build(cache: Cache, model: Model) -> None:
    stand = Stand(model, cache, live=True)
    stand.first()
    stand.supply.close()
    assert stand.improved() == []
    assert cache.entries() == []


@pytest.mark.parametrize("live", [True, False])
def test_auto_takes_what_was_chosen(cache: Cache, model: Model, live: bool, two: None) -> None:
    choice = Choice(backend="fake", reason="it was faster", ms_per_sample={}, left_out={})
    cache.keep(choice_path(model, Options(bf16=None), cache, surroundings()), choice.model_dump_json())
    build(model, "fake", PLAIN, cache)
    assert Stand(model, cache, live=live, backend="auto").first().startswith("fake/")


def test_auto_begins_with_bfloat16_where_that_was_chosen_and_never_where_it_is_not_wanted(
    cache: Cache, model: Model, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "can_run", lambda options: None)
    choice = Choice(backend="fake", bf16=True, reason="it was faster", ms_per_sample={}, left_out={})
    cache.keep(choice_path(model, Options(bf16=None), cache, surroundings()), choice.model_dump_json())
    build(model, "fake", Options(bf16=True), cache)
    in_bf16 = fingerprint_of(model, "fake", Options(bf16=True))
    stand = Stand(model, cache, live=False, backend="auto")
    assert stand.first().startswith("fake/")
    assert [entry.manifest.fingerprint for entry in cache.entries() if isinstance(entry, Entry)] == [in_bf16]
    assert Stand(model, cache, live=False, backend="auto", precision="model").first().startswith(ORT)
    assert (
        Stand(model, cache, live=False, precision="bf16").first().startswith("fake/")
    )  # it is there: nothing is built
    with pytest.raises(EngineMismatch, match="no bfloat16"):
        Stand(model, cache, live=False, backend="onnxruntime", precision="bf16").first()


def test_auto_in_a_run_over_files_builds_and_measures_nothing(cache: Cache, model: Model, two: None) -> None:
    stand = Stand(model, cache, live=False, backend="auto")
    assert stand.first().startswith(ORT)
    assert (stand.improved(), stand.said, cache.entries()) == ([], [], [])


def test_auto_where_there_is_nothing_to_choose_begins_no_process(
    cache: Cache, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in loading.BACKENDS.keys() - {"onnxruntime", "fake"}:
        monkeypatch.delitem(loading.BACKENDS, name)
    stand = Stand(model, cache, live=True, backend="auto")
    assert stand.first().startswith(ORT)
    stand.supply.improve()
    assert builders() == []
    assert (stand.said, cache.root.exists()) == ([], False)


def test_where_one_engine_cannot_be_had_none_is_left_open(tmp_path: Path, cache: Cache, model: Model) -> None:
    gone = emotion_model(tmp_path / "gone")
    gone.onnx_path.unlink()
    config = Config(engine=EngineConfig(backend="onnxruntime"))
    with pytest.raises(EngineError, match="weights cannot be read"):
        Supply(config, {"emotion": model, "face": gone}, cache, live=True, say=print).first()


# The whole worker, on a pattern in which nobody is to be seen.


class Run:
    """A worker on a live camera, whose frames are so far apart that it stalls and comes back between them."""

    def __init__(
        self,
        models: Models,
        cache: Cache,
        source: str,
        *,
        outbox: Outbox | None = None,
        probe: Probe | None = None,
        **engine: object,
    ) -> None:
        live = {"realtime": True, "analyse_hz": None, "stall_s": 0.1}
        camera = CameraConfig(name="cam", source=source, settings=SourceConfig.model_validate(live))
        config = Config(cameras=[camera], engine=EngineConfig.model_validate({"backend": "fake", **engine}))
        self.said: list[str] = []
        self.sink = MemorySink()
        self.supply = Supply(config, models.by_task(), cache, live=True, say=self.said.append)
        outbox = outbox or MemoryOutbox(OutboxConfig(), [self.sink.name])
        publisher = Publisher(outbox, [self.sink], drain_s=5.0)
        self.worker = Worker(config, models, self.supply, publisher, Clocks(), self.said.append, probe)

    def until(self, over: Callable[[], bool]) -> Outcome:
        try:
            return self.worker.run(over)
        finally:
            self.supply.close()

    def live(self) -> list[dict[str, str]]:
        """The engines that each `live` named."""
        statuses = [event for event in self.sink.events if isinstance(event, CameraStatus)]
        return [status.engines for status in statuses if status.engines is not None]


def test_a_better_engine_takes_over_between_two_batches(tmp_path: Path, cache: Cache, model: Model) -> None:
    """That of the faces is not right, and stays what it is; that of the emotions is, and is named from then on.

    Whoever looks in is shown the worker once, and the stages each time.
    """
    models, shown = Models(face=face_model(tmp_path / "face"), emotion=model), list[object]()

    def parts(given: Parts) -> Parts:
        shown.append(given.engines["emotion"])
        return given

    probe = Probe(started=shown.append, parts=parts)
    run = Run(models, cache, "synthetic:64x64@2?seconds=100", probe=probe)
    with ExitStack() as lock:
        lock.enter_context(cache.locked(fingerprint_of(model, "fake", PLAIN)))

        def over() -> bool:
            told = run.live()
            if told:
                lock.close()  # the camera is live: now it may be built
            return told[-1:] != told[:1]

        outcome = run.until(over)
    assert (outcome.failed, outcome.abandoned) == ({}, ())
    first, last = run.live()[0], run.live()[-1]
    assert shown == [first["emotion"], run.worker, last["emotion"]]
    assert first["face"].startswith(ORT)
    assert first["emotion"].startswith(ORT)
    assert last["face"] == first["face"]
    assert last["emotion"].startswith("fake/")
    stays, takes_over = run.said[-2:]
    assert stays.startswith("tiny-face stays on onnxruntime: ")
    sentence = f"{last['emotion']} takes over from {first['emotion']}; frames waited "
    assert re.fullmatch(rf"{re.escape(sentence)}\d+\.\d\d s for it", takes_over)


def test_a_run_that_waits_for_an_engine_can_be_ended(tmp_path: Path, cache: Cache, model: Model) -> None:
    """Before it has begun, and at once: whoever wants to leave need not wait for a compiler."""
    models = Models(face=face_model(tmp_path / "face"), emotion=model)
    run = Run(models, cache, "synthetic:64x64@2?seconds=100", wait=True)
    with cache.locked(fingerprint_of(models.face, "fake", PLAIN)):
        outcome = run.until(waits_at(cache, models.face))
        assert not waits_at(cache, models.face)()
    assert (outcome.failed, outcome.abandoned, run.live()) == ({}, (), [])
    assert run.said == ["no engine of tiny-face for fake is built; it is built now"]


class Broken(MemoryOutbox):
    """Its disk has gone, as is seen once a build is waited for."""

    def __init__(self, waits: Callable[[], bool]) -> None:
        super().__init__(OutboxConfig(), ["memory:"])
        self._waits = waits

    def pending(self, sink: str, limit: int) -> list[Accepted]:
        if self._waits():
            raise OutboxError("the disk is gone")
        return []


def test_a_run_that_waits_for_an_engine_ends_when_publishing_fails(tmp_path: Path, cache: Cache, model: Model) -> None:
    models = Models(face=face_model(tmp_path / "face"), emotion=model)
    outbox = Broken(waits_at(cache, models.face))
    run = Run(models, cache, "synthetic:64x64@2?seconds=100", outbox=outbox, wait=True)
    with cache.locked(fingerprint_of(models.face, "fake", PLAIN)), pytest.raises(OutboxError, match="disk is gone"):
        run.until(lambda: False)
