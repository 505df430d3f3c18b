"""Why an engine in the cache would not be used any more, if it would not."""

from __future__ import annotations

from pathlib import Path

from engines.base import Engine
from engines.build import fingerprint_of
from engines.cache import Broken, Entry
from engines.errors import BackendMissing, EngineError, EngineMismatch, ModelMissing
from engines.load import load_engine
from engines.manifest import Fingerprint, Manifest
from engines.options import Options
from engines.spec import SPEC_FILE
from engines.store import Model, find_model


def why_stale(entry: Entry | Broken) -> str | None:
    """None for one that would be used as it is; else half a sentence, with the field that differs."""
    try:
        return _difference(entry)
    except BackendMissing as error:
        return str(error)


def why_prune(entry: Entry | Broken) -> str | None:
    """The same, but None where only its backend is not installed: another environment with this cache may have it."""
    try:
        return _difference(entry)
    except BackendMissing:
        return None


def _difference(entry: Entry | Broken) -> str | None:
    if isinstance(entry, Broken):
        return entry.why
    fingerprint = entry.manifest.fingerprint
    try:
        now = fingerprint_of(model_now(entry.manifest), fingerprint.backend, options_of(fingerprint))
    except BackendMissing:
        raise BackendMissing(f"{fingerprint.backend} is not installed any more") from None
    except EngineError as error:
        return str(error)
    return fingerprint.difference(now)


def model_now(manifest: Manifest) -> Model:
    """The model that an engine was built from, as a run would find it now. Raises ModelMissing, ModelInvalid.

    Where only weights lie in its folder, the spec is the one that is known under its name.
    """
    folder = Path(manifest.model_folder)
    if (folder / SPEC_FILE).exists():
        return find_model(folder, download=False)
    try:
        return find_model(manifest.name, download=False)
    except ModelMissing:
        raise ModelMissing(f"its model has gone from {folder}") from None


def opened(entry: Entry) -> tuple[Engine, Model]:
    """The engine, as a run would use it, and its model. Raises EngineMismatch when it is stale, naming the field."""
    if why := why_stale(entry):
        raise EngineMismatch(f"{entry.folder.name} is stale: {why}; build it again")
    fingerprint, model = entry.manifest.fingerprint, model_now(entry.manifest)
    return load_engine(model, fingerprint.backend, options_of(fingerprint), entry), model


def options_of(fingerprint: Fingerprint) -> Options:
    """Those that an engine was built with."""
    return Options(
        threads=fingerprint.threads,
        max_batch=fingerprint.max_batch,
        side_px=fingerprint.side_px or Options().side_px,
        bf16=fingerprint.precision == "bf16",
        targets=fingerprint.targets,
    )
