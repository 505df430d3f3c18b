"""A found model and the name of a backend -> an engine, ready to compute. A backend is imported on its first use."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import ModuleType

from engines.base import Engine
from engines.errors import BackendMissing, EngineMismatch, ModelInvalid
from engines.spec import MODEL_FILE, ModelSpec
from engines.store import Model

# name -> (module with `load(spec, weights, threads) -> Engine`, the extra that installs its package, if one is needed)
BACKENDS: dict[str, tuple[str, str | None]] = {
    "onnxruntime": ("engines.backends.onnxruntime", None),
    "fake": ("engines.backends.fake", None),
}


def backend(name: str) -> ModuleType:
    """The module of a backend. Raises EngineMismatch for an unknown name, BackendMissing when its package is absent."""
    try:
        module, extra = BACKENDS[name]
    except KeyError:
        raise EngineMismatch(f"unknown backend {name!r}; known: {', '.join(BACKENDS)}") from None
    try:
        return importlib.import_module(module)
    except ImportError as error:
        wanted = f"emostream[{extra}]" if extra else "emostream"
        raise BackendMissing(f"backend {name} cannot be imported ({error}): pip install '{wanted}'") from error


def load_engine(model: Model | Path, backend_name: str = "onnxruntime", threads: int = 1) -> Engine:
    """An engine of a found model or of a complete model folder, computing on `threads` threads.

    What is loaded are the very bytes whose SHA-256 the spec names. Raises ModelInvalid when they differ or the network
    is not what the spec says, and what `backend` raises.
    """
    found = model if isinstance(model, Model) else Model(ModelSpec.read(model), model / MODEL_FILE)
    module = backend(backend_name)
    engine: Engine = module.load(found.spec, _verified(found), threads)
    return engine


def _verified(model: Model) -> bytes:
    """The weights, read once, so that the bytes that were checked are the bytes that are used."""
    try:
        weights = model.onnx_path.read_bytes()
    except OSError as error:
        raise ModelInvalid(f"{model.onnx_path}: the weights cannot be read ({error.strerror})") from None
    came = hashlib.sha256(weights).hexdigest()
    if came != model.spec.sha256:
        raise ModelInvalid(
            f"{model.onnx_path}: the spec was written for weights with SHA-256 {model.spec.sha256[:12]}..., this file "
            f"has {came[:12]}...; put the right file there or export the model again"
        )
    return weights
