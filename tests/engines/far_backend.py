"""A backend for a device that this machine has not: it compiles, and nothing that it made runs here."""

from __future__ import annotations

from engines.backends.base import Built, Files, Identity, Progress
from engines.base import Engine
from engines.errors import EngineMismatch
from engines.options import Options
from engines.spec import ModelSpec

STATUS = "built only"


def identity(options: Options) -> Identity:
    return Identity("far 1", ",".join(options.targets), "8.9")


def can_run(options: Options) -> str | None:
    return "there is no such device here"


def build(spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
    return Built({"engine.far": weights[:8]})


def load(spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> Engine:
    raise EngineMismatch(f"{spec.name}: there is no such device here")
