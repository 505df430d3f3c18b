"""Which backend computes a model fastest on this machine: what was found, and where it is remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from engines import machine
from engines.build import fingerprint_of
from engines.cache import Cache
from engines.errors import BackendMissing, EngineError
from engines.load import BACKENDS, backend, installed
from engines.manifest import KEY_DIGITS, Fingerprint
from engines.options import Options
from engines.store import Model

DEFAULT: Final = "onnxruntime"  # what runs while nothing is chosen yet: it needs no build
NEVER = {"fake"}


class Choice(BaseModel):
    """Which backend, computing in what, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    bf16: bool = False
    reason: str
    ms_per_sample: dict[str, float]  # of each candidate, see engines.choose
    left_out: dict[str, str]  # backend, or candidate that was built -> why

    def __str__(self) -> str:
        return _name(self.backend, self.bf16)

    def options(self, asked: Options) -> Options:
        """How the chosen engine is made, where `asked` left that to be found out."""
        return replace(asked, bf16=self.bf16)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend in one of the ways that it can compute, and the engine that would come of it."""

    backend: str
    options: Options
    fingerprint: Fingerprint


def candidates(model: Model, options: Options) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Who may be asked, by names such as `openvino-bf16`; and why the backends that can do nothing of it may not."""
    asked: dict[str, Candidate] = {}
    left_out: dict[str, str] = {}
    for backend_name in sorted(BACKENDS.keys() - NEVER):
        able, why = _ways(model, backend_name, options)
        asked |= able
        if not able:
            left_out[backend_name] = why
    return asked, left_out


def _ways(model: Model, backend_name: str, options: Options) -> tuple[dict[str, Candidate], str]:
    """Those in which one backend can compute, and why not in the first that it cannot."""
    able: dict[str, Candidate] = {}
    reasons: list[str] = []
    for way in options.ways():
        try:
            if why := backend(backend_name).can_run(way):
                reasons.append(why)
            else:
                able[_name(backend_name, bool(way.bf16))] = Candidate(
                    backend_name, way, fingerprint_of(model, backend_name, way)
                )
        except BackendMissing:
            reasons.append("not installed")
        except EngineError as error:
            reasons.append(str(error))
    return able, next(iter(reasons), "")


def _name(backend_name: str, bf16: bool) -> str:
    return f"{backend_name}-bf16" if bf16 else backend_name


def remembered(model: Model, options: Options, cache: Cache) -> Choice | None:
    """The choice that was made in these surroundings. Where there is one backend only, nothing was to be measured."""
    here = surroundings()
    if list(here) == [DEFAULT] and backend(DEFAULT).can_run(options.ways()[0]) is None:
        return only_default({name: "not installed" for name in sorted(BACKENDS.keys() - NEVER - here.keys())})
    try:
        return Choice.model_validate_json(choice_path(model, options, cache, here).read_bytes())
    except (OSError, ValidationError):
        return None


def only_default(left_out: dict[str, str]) -> Choice:
    """Where nobody else can compute."""
    return Choice(backend=DEFAULT, reason="the only one here", ms_per_sample={}, left_out=left_out)


def surroundings() -> dict[str, str]:
    """Backend -> its version: who might compute here. Nobody is imported, which would cost each start of a run tenths
    of a second and a hundred megabytes."""
    return {name: version for name in sorted(BACKENDS.keys() - NEVER) if (version := installed(name)) is not None}


def choice_path(model: Model, options: Options, cache: Cache, here: Mapping[str, str]) -> Path:
    """Another file for another model, other options or other surroundings: they ask again."""
    spec = model.spec
    decisive = [spec.sha256, spec.digest(), asdict(options), dict(here), machine.cpu(), machine.gpus()]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]
    return cache.root / f"choice-{spec.name}-{digest}.json"
