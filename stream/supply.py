"""Where a run's engines come from: at once what is there, and later what is better.

A run begins on ONNX Runtime, which needs no build, unless the engine that is wanted lies in the cache. For live cameras
a better one is built in another process meanwhile and handed over between two batches. A run over files keeps the
engines that it began with, so that its events do not depend on how long a build takes: it waits for an engine that was
named, and takes `auto` as it was last chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from engines.base import Engine
from engines.build import fingerprint_of
from engines.builder import BACKGROUND, Job, build_apart, choose_apart
from engines.cache import Cache, Entry
from engines.choice import DEFAULT, remembered
from engines.errors import EngineError
from engines.load import load_engine
from engines.options import Options
from engines.precision import preferred
from engines.store import Model, find_model
from stream.config import Config, EngineConfig
from stream.errors import Closed

DIRECT = {DEFAULT, "fake"}  # backends that need no build
Say = Callable[[str], None]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Better:
    """An engine that is ready to take over."""

    task: str
    backend: str
    options: Options
    entry: Entry


def options_of(config: Config) -> Options:
    """How the engines of a run are made."""
    engine = config.engine
    bf16 = {"auto": None if engine.backend == "auto" else False, "model": False, "bf16": True}[engine.precision]
    return Options(engine.threads, engine.max_batch, config.detector.input_px, bf16)


def model_as_run(name: str, config: EngineConfig, *, download: bool = True) -> Model:
    """The model that a run takes for the one of this name: see `engine.precision`. Raises EngineError."""
    model = find_model(name, download=download)
    return preferred(model, config.backend) if config.precision == "auto" else model


class Supply:
    """The engines of one run. `first` and `load` belong to the analysis thread; `close` may be called by any, twice."""

    def __init__(self, config: Config, models: Mapping[str, Model], cache: Cache, live: bool, say: Say) -> None:
        """`live`: no camera is a file."""
        self._config, self._models, self._cache = config.engine, models, cache
        self._options = options_of(config)
        named = config.engine.backend != "auto" or config.engine.precision == "bf16"
        self._waits = config.engine.wait or (not live and named)
        self._improves = live and not self._waits
        self._say = say
        self._wanted: list[str] = []  # tasks whose engine is not the one that was asked for yet
        self._lock = threading.Lock()  # guards everything below
        self._ready: list[Better] = []
        self._job: Job[Any] | None = None
        self._closed = False

    def first(self) -> dict[str, Engine]:
        """Task -> the engine to begin with.

        Raises EngineError when one that was asked for cannot be had, Closed when `close` was called meanwhile.
        """
        engines: dict[str, Engine] = {}
        try:
            for task, model in self._models.items():
                backend, options, entry = self._first(task, model)
                engines[task] = load_engine(model, backend, options, entry)
        except BaseException as error:
            for engine in engines.values():
                engine.close()
            if self._closed and isinstance(error, EngineError):  # it is ours: nobody waits for this build any more
                raise Closed from None
            raise
        return engines

    def improve(self) -> None:
        """Begin to build, in the background, what is not there yet. Nothing to do in a run over files."""
        if self._wanted and self._improves:
            threading.Thread(target=self._build_all, name="engines", daemon=True).start()

    def ready(self) -> list[Better]:
        """What has become better since the last call; never waits."""
        with self._lock:
            ready, self._ready = self._ready, []
        return ready

    def load(self, better: Better) -> Engine:
        """The engine that takes over. Raises EngineError; the one in use is then as good as before."""
        return load_engine(self._models[better.task], better.backend, better.options, better.entry)

    def close(self) -> None:
        """Stop what is being built."""
        with self._lock:
            self._closed = True
            job = self._job
        if job is not None:
            job.stop()

    def _first(self, task: str, model: Model) -> tuple[str, Options, Entry | None]:
        backend, options = str(self._config.backend), self._options
        plain = replace(options, bf16=False)  # what DEFAULT computes in, while another is not there yet
        if backend == "auto":
            choice = remembered(model, self._options, self._cache)
            if choice is None and self._waits:
                self._say(f"choosing the fastest engine of {model.spec.name}; this is done once")
                choice = self._wait_for(choose_apart(model, self._options, self._cache))
            if choice is None:
                self._wanted.append(task)
                return DEFAULT, plain, None
            backend, options = choice.backend, choice.options(options)
        if backend in DIRECT:
            return backend, options, None
        try:
            entry = self._cache.find(model.spec.name, fingerprint_of(model, backend, options))
            entry.read()  # whole, and what the manifest says
        except EngineError as error:
            why = error
        else:
            return backend, options, entry
        if self._waits:
            self._say(f"{why}; it is built now")
            return backend, options, self._wait_for(build_apart(model, backend, options, self._cache))
        self._say(f"{why}; {DEFAULT} runs{' until it is built' if self._improves else ''}")
        self._wanted.append(task)
        return DEFAULT, plain, None

    def _build_all(self) -> None:
        """The thread of `improve`."""
        for task in self._wanted:
            if self._closed:
                return
            try:
                better = self._built(task)
            except EngineError as error:
                if not self._closed:
                    self._say(f"{self._models[task].spec.name} stays on {DEFAULT}: {error}")
                continue
            if better is not None:
                with self._lock:
                    self._ready.append(better)

    def _built(self, task: str) -> Better | None:
        model, backend, options = self._models[task], str(self._config.backend), self._options
        if backend == "auto":
            choice = self._wait_for(choose_apart(model, self._options, self._cache, BACKGROUND))
            self._say(f"{model.spec.name}: {choice} is the fastest here ({choice.reason})")
            if choice.backend in DIRECT:
                return None
            backend, options = choice.backend, choice.options(options)
        job = build_apart(model, backend, options, self._cache, BACKGROUND)
        return Better(task, backend, options, self._wait_for(job))

    def _wait_for(self, job: Job[Answer]) -> Answer:
        with self._lock:
            self._job = job
            closed = self._closed
        if closed:
            job.stop()
        return job.wait()
