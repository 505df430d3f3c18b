"""A model -> an engine in the cache: compiled, compared with its checkpoint, timed, and only then kept.

Of several processes that want the same engine one builds it, and the others find it there. A model without parity
inputs is refused before anything is compiled. An engine that this machine cannot run is kept as what it is: built only,
not compared, which `auto` never picks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from engines.backends.base import Progress
from engines.base import Engine
from engines.bench import best_batch_of, milliseconds_per_sample, sizes_up_to
from engines.cache import Cache, Entry, files_of
from engines.compare import Arrays, compare, read_parity
from engines.errors import EngineMismatch, EngineMissing
from engines.load import backend, verified
from engines.manifest import Fingerprint, Manifest, Parity, Trial
from engines.options import Options
from engines.spec import ModelSpec
from engines.store import Model

COMPILED = 0.8  # share of the progress that compiling is


@dataclass(frozen=True, slots=True)
class Clocks:
    """What a build looks at; arguments, so that tests need not wait."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def fingerprint_of(model: Model, backend_name: str, options: Options) -> Fingerprint:
    """Under which an engine of this model is kept, here and now. Raises what `backend` and its `identity` raise."""
    return Fingerprint.of(model.spec, backend_name, backend(backend_name).identity(options), options)


def build(
    model: Model,
    backend_name: str,
    options: Options,
    cache: Cache,
    progress: Progress = lambda done: None,
    clocks: Clocks | None = None,
) -> Entry:
    """The engine, built unless it is there already and whole.

    Raises ModelInvalid, EngineMismatch (also when its answers are not the checkpoint's) or BackendMissing; the cache
    is then as it was.
    """
    clocks = clocks or Clocks()
    weights = verified(model)
    module = backend(backend_name)
    fingerprint = fingerprint_of(model, backend_name, options)
    with cache.locked(fingerprint):
        why = module.can_run(options)
        entry = _whole(cache, model.spec, fingerprint)
        if entry is not None and (why or entry.manifest.trial.parity.state == "passed"):
            progress(1.0)
            return entry
        parity = None if why else read_parity(model.parity_path, model.spec)
        began_s = clocks.monotonic()
        built = module.build(model.spec, weights, options, lambda done: progress(COMPILED * done))
        build_s = clocks.monotonic() - began_s
        if parity is None:
            trial = Trial(parity=Parity(state="not run", why=why or ""), status=module.STATUS)
        else:
            engine = module.load(model.spec, weights, options, built.files)
            trial = _tried(engine, parity, options, fingerprint)
        progress(1.0)
        manifest = Manifest(
            name=model.spec.name,
            model_folder=str(model.onnx_path.parent.absolute()),
            fingerprint=fingerprint,
            files=files_of(built.files),
            layers=built.layers,
            build_s=round(build_s, 3),
            built_at=clocks.now(),
            trial=trial,
        )
        return cache.add(manifest, built.files)


def _whole(cache: Cache, spec: ModelSpec, fingerprint: Fingerprint) -> Entry | None:
    """The engine that is there, unless something has happened to it."""
    try:
        entry = cache.find(spec.name, fingerprint)
        entry.read()
    except (EngineMissing, EngineMismatch):
        return None
    return entry


def _tried(engine: Engine, parity: Arrays, options: Options, fingerprint: Fingerprint) -> Trial:
    """Run it and close it: parity first, because the speed of a wrong answer is of no interest."""
    with closing(engine):
        sizes = sizes_up_to(engine.max_batch)
        passed = compare(engine, parity, fingerprint.precision, sizes)
        costs = milliseconds_per_sample(engine, options.sides(engine.spec), sizes)
        return Trial(
            parity=passed,
            status=f"run on {fingerprint.device}",
            best_batch=best_batch_of(costs),
            ms_per_sample={size: round(cost, 4) for size, cost in costs.items()},
        )
