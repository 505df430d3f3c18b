"""ModelSpec: everything needed to use a model, in a JSON file beside it.

It is the only place where knowledge about a model lives: no size, mean, label order or decoding is ever read out of a
file name or guessed from a number of outputs. `train/export.py` writes it, `engines/load.py` reads it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engines.errors import ModelInvalid

SCHEMA = "emostream.model/1"
SPEC_FILE = "spec.json"
MODEL_FILE = "model.onnx"
PARITY_FILE = "parity.npz"
EMOTIONS = (
    "angry",
    "disgust",
    "fear",
    "happy",
    "sad",
    "surprise",
    "neutral",
)  # the order everywhere; contempt comes last
LANDMARKS = 5  # left eye, right eye, nose, left mouth corner, right mouth corner, as seen in the picture

Point = tuple[float, float]
Label = Annotated[str, Field(min_length=1, max_length=64)]  # every event repeats them


class Source(BaseModel):
    """Where a model comes from: enough to make it, or to fetch it, again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None  # the official place of the weights, when the project may not ship them
    file_names: tuple[str, ...] = ()  # names under which people keep such weights, besides model.onnx
    license: str | None = None
    checkpoint_sha256: str | None = None
    recipe: str | None = None
    commit: str | None = None


class ModelSpec(BaseModel):
    """How to feed a network and how to read its answers.

    A dimension of 0 in `input_shape` is free: any multiple of `stride`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["emostream.model/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")  # it also names folders
    task: Literal["face", "emotion"]
    precision: Literal["fp32", "fp16", "int8"]
    input_shape: tuple[int, int, int]  # C, H, W
    stride: int = Field(ge=1)  # 1 when nothing is free
    color: Literal["luma", "bgr", "rgb"]
    mean: tuple[float, ...]  # per channel, of values scaled to [0, 1]
    std: tuple[float, ...]
    outputs: tuple[str, ...] = Field(min_length=1)  # names, in the order of the graph
    labels: tuple[Label, ...] = Field(default=(), max_length=100)  # the columns of an emotion network's logits
    temperature: float = Field(default=1.0, gt=0)  # divides the logits; makes the probabilities honest
    template: tuple[Point, ...] = ()  # five landmarks in input pixels; pixel centres are whole numbers
    decoding: Literal["yunet"] | None = None  # how a detector's outputs become faces
    score_threshold: float | None = Field(default=None, gt=0, lt=1)
    nms_threshold: float | None = Field(default=None, gt=0, lt=1)  # IoU
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of model.onnx
    source: Source = Source()
    metrics: dict[str, Any] = {}

    @model_validator(mode="after")
    def _belongs_together(self) -> ModelSpec:
        channels = 1 if self.color == "luma" else 3
        if self.input_shape[0] != channels:
            raise ValueError(f"color {self.color} wants {channels} channel(s), input_shape says {self.input_shape[0]}")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"mean and std need {channels} value(s) each, one per channel")
        if min(self.std) <= 0 or min(self.input_shape) < 0:
            raise ValueError("std must be positive and input_shape not negative")
        if self.task == "emotion" and (len(self.labels) < 2 or len(self.template) != LANDMARKS):
            raise ValueError(f"an emotion network needs at least two labels and {LANDMARKS} template landmarks")
        if self.task == "face" and None in (self.decoding, self.score_threshold, self.nms_threshold):
            raise ValueError("a face detector needs decoding, score_threshold and nms_threshold")
        return self

    def digest(self) -> str:
        """Eight hexadecimal digits over all that decides an answer: not where the model comes from, nor its worth."""
        text = self.model_dump_json(exclude={"source", "metrics"})
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @classmethod
    def read(cls, folder: Path) -> ModelSpec:
        """The spec of a model folder. Raises ModelInvalid when it is missing or does not hold together."""
        path = folder / SPEC_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelInvalid(f"{path}: no readable model spec ({error.strerror}); export the model again") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "spec"
            raise ModelInvalid(f"{path}: {where}: {first['msg']}; mend the spec or export the model again") from None

    def write(self, folder: Path) -> None:
        """Write `spec.json` into an existing folder, with a last newline so that it diffs well."""
        (folder / SPEC_FILE).write_text(self.model_dump_json(indent=2, by_alias=True, exclude_defaults=False) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
