"""Which backend computes a model fastest on this machine: what was found, and where it is remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.build import fingerprint_of
from engines.cache import Cache
from engines.errors import BackendMissing, EngineError
from engines.load import BACKENDS, backend
from engines.manifest import KEY_DIGITS, Fingerprint
from engines.options import Options
from engines.store import Model

DEFAULT = "onnxruntime"  # what runs while nothing is chosen yet: it needs no build
NEVER = {"fake"}


class Choice(BaseModel):
    """Which backend, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    reason: str
    ms_per_sample: dict[str, float]  # of each candidate, see engines.choose
    left_out: dict[str, str]  # backend -> why


def candidates(model: Model, options: Options) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    """The backends that may be asked, with the engine that each would make; and why the others may not."""
    asked: dict[str, Fingerprint] = {}
    left_out: dict[str, str] = {}
    for name in sorted(BACKENDS.keys() - NEVER):
        try:
            if why := backend(name).can_run(options):
                left_out[name] = why
            else:
                asked[name] = fingerprint_of(model, name, options)
        except BackendMissing:
            left_out[name] = "not installed"
        except EngineError as error:
            left_out[name] = str(error)
    return asked, left_out


def remembered(model: Model, options: Options, cache: Cache) -> Choice | None:
    """The choice that was made among exactly these candidates. Where there is only one, nothing was to be measured."""
    asked, left_out = candidates(model, options)
    if list(asked) == [DEFAULT]:
        return Choice(backend=DEFAULT, reason="the only one here", ms_per_sample={}, left_out=left_out)
    try:
        return Choice.model_validate_json(choice_path(model, asked, cache).read_bytes())
    except (OSError, ValidationError):
        return None


def choice_path(model: Model, asked: Mapping[str, Fingerprint], cache: Cache) -> Path:
    """Another file for other candidates: another library, driver, device or model asks again."""
    keys = ",".join(f"{name}={fingerprint.key()}" for name, fingerprint in sorted(asked.items()))
    digest = hashlib.sha256(keys.encode()).hexdigest()[:KEY_DIGITS]
    return cache.root / f"choice-{model.spec.name}-{digest}.json"
