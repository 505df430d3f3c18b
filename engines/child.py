"""How our own modules are started in processes of their own, and how they are told of a model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.options import Options
from engines.spec import ModelSpec
from engines.store import Model

PACKAGES = Path(__file__).resolve().parent.parent  # to start in: a `train` in the user's folder would be another one


def command(module: str, *arguments: str) -> list[str]:
    """For subprocess, with `cwd=PACKAGES`; paths in `arguments` are therefore absolute."""
    return [sys.executable, "-m", module, *arguments]


def told(model: Model, options: Options) -> dict[str, Any]:
    """Both as JSON, for a request to a child."""
    spec = model.spec.model_dump(mode="json", by_alias=True)
    return {"spec": spec, "onnx_path": str(model.onnx_path.absolute()), "options": asdict(options)}


def heard(request: Mapping[str, Any]) -> tuple[Model, Options]:
    """The same, in the child."""
    model = Model(ModelSpec.model_validate(request["spec"]), Path(request["onnx_path"]))
    return model, Options(**{**request["options"], "targets": tuple(request["options"]["targets"])})
