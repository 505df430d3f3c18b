"""What is known of a compiled engine: the fingerprint that it was made under, its files, and what it was seen to do.

An engine is used only while its fingerprint is the one that this machine, model and library would give it now. A
fingerprint tells everything that decides its bytes or its answers; what is calibrated in an int8 model stands in its
graph, and so in `model_sha256`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engines.backends.base import Identity, Layer
from engines.errors import EngineMismatch
from engines.options import Options
from engines.spec import ModelSpec

SCHEMA: Literal["emostream.engine/1"] = "emostream.engine/1"
MANIFEST_FILE = "manifest.json"
KEY_DIGITS = 16  # of the key, in names of folders
SHA256 = r"^[0-9a-f]{64}$"
# a manifest names files of its own folder and nothing else: what it names is read
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Fingerprint(_Record):
    """Equal fingerprints, equal engines."""

    model_sha256: str = Field(pattern=SHA256)
    spec: str  # ModelSpec.digest
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    backend: str
    library: str
    threads: int
    max_batch: int
    side_px: int | None  # None: the model has fixed sides
    targets: tuple[str, ...]
    device: str
    compute_capability: str
    driver: str

    @classmethod
    def of(cls, spec: ModelSpec, backend: str, identity: Identity, options: Options) -> Fingerprint:
        """Raises EngineMismatch where bfloat16 is asked of a graph that has another precision than fp32."""
        if options.bf16 and spec.precision != "fp32":
            raise EngineMismatch(f"{spec.name} is in {spec.precision}; bfloat16 is a way to compute fp32 models only")
        return cls(
            model_sha256=spec.sha256,
            spec=spec.digest(),
            precision="bf16" if options.bf16 else spec.precision,
            backend=backend,
            threads=options.threads,
            max_batch=options.max_batch,
            side_px=options.side_px if 0 in spec.input_shape else None,
            targets=tuple(sorted(set(options.targets))),
            **asdict(identity),
        )

    def key(self) -> str:
        """SHA-256 over all fields."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, now: Fingerprint) -> str | None:
        """What has changed since this one, as half a sentence that names the field; None when nothing has."""
        for name in type(self).model_fields:
            before, present = getattr(self, name), getattr(now, name)
            if before != present:
                return f"{name} was {_shown(before)}, is {_shown(present)}"
        return None


class File(_Record):
    """A file beside the manifest."""

    sha256: str = Field(pattern=SHA256)
    size: int = Field(ge=0)  # bytes


class Parity(_Record):
    """How far an engine's answers were from the checkpoint's on the model's parity inputs; see engines.compare."""

    state: Literal["passed", "not run"]
    why: str = ""  # it was not run
    figures: dict[str, float] = {}
    batches: tuple[int, ...] = ()


class Trial(_Record):
    """What an engine was seen to do on the machine that built it."""

    parity: Parity
    status: str  # where it ran, or what its backend says of itself
    best_batch: int | None = Field(default=None, ge=1)
    ms_per_sample: dict[int, float] = {}  # by size of the batch

    @model_validator(mode="after")
    def _best_was_measured(self) -> Trial:
        if self.best_batch is not None and self.best_batch not in self.ms_per_sample:
            raise ValueError("best_batch must be one of those that were measured")
        return self


class Manifest(_Record):
    """`manifest.json`: written last, so that a folder without one is no engine."""

    schema_: Literal["emostream.engine/1"] = Field(default=SCHEMA, alias="schema")
    name: str  # of the model
    model_folder: str  # where it was, to see later whether it is still the same
    fingerprint: Fingerprint
    files: dict[FileName, File]
    trial: Trial
    layers: tuple[Layer, ...] = ()
    build_s: float = Field(ge=0)
    built_at: datetime

    def folder_name(self) -> str:
        return folder_name(self.name, self.fingerprint)

    def as_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def folder_name(model: str, fingerprint: Fingerprint) -> str:
    """Readable, and its own for each fingerprint."""
    return f"{model}-{fingerprint.backend}-{fingerprint.precision}-{fingerprint.key()[:KEY_DIGITS]}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 and " " not in text else text or "none"
