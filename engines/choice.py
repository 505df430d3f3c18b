"""Which backend computes a model fastest on this machine: what was found, and where it is remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """The choice that was made among exactly these candidates. Where there is only one, nothing was to be measured."""
    asked, left_out = candidates(model, options)
    if list(asked) == [DEFAULT]:
        return Choice(backend=DEFAULT, reason="the only one here", ms_per_sample={}, left_out=left_out)
    try:
        return Choice.model_validate_json(choice_path(model, asked, cache).read_bytes())
    except (OSError, ValidationError):
        return None


def choice_path(model: Model, asked: Mapping[str, Candidate], cache: Cache) -> Path:
    """Another file for other candidates: another library, driver, device or model asks again."""
    keys = ",".join(f"{name}={candidate.fingerprint.key()}" for name, candidate in sorted(asked.items()))
    digest = hashlib.sha256(keys.encode()).hexdigest()[:KEY_DIGITS]
    return cache.root / f"choice-{model.spec.name}-{digest}.json"
