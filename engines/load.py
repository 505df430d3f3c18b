"""A found model and the name of a backend -> an engine, ready to compute. A backend is imported on its first use."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from pathlib import Path
from typing import cast

from engines.backends.base import Backend
from engines.base import Engine
from engines.cache import Entry
from engines.errors import BackendMissing, EngineMismatch, ModelInvalid
from engines.options import Options
from engines.spec import MODEL_FILE, ModelSpec
from engines.store import Model

# name -> (module that is a `backends.base.Backend`, what installs its package)
BACKENDS: dict[str, tuple[str, str]] = {
    "onnxruntime": ("engines.backends.onnxruntime", "pip install emostream"),
    "onnxruntime-cuda": (
        "engines.backends.onnxruntime_cuda",
        "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]' cuda-bindings",
    ),
    "openvino": ("engines.backends.openvino", "pip install 'emostream[openvino]'"),
    # PyPI lacks the libraries of tensorrt
    "tensorrt": (
        "engines.backends.tensorrt_full",
        "pip install --extra-index-url https://pypi.nvidia.com tensorrt cuda-bindings",
    ),
    "tensorrt-rtx": ("engines.backends.tensorrt_rtx", "pip install 'emostream[tensorrt-rtx]'"),
    "fake": ("engines.backends.fake", "pip install emostream"),
}


# name -> the distributions that must be there, as pip knows them; the others come with emostream
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime-cuda": ("onnxruntime-gpu", "cuda-bindings"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "cuda-bindings"),
    "tensorrt-rtx": ("tensorrt-rtx", "cuda-bindings"),
}

# The key of an `external_data` entry, in a TensorProto of ONNX: libraries look for that file in the working folder.
EXTERNAL = b"\x0a\x08location\x12"


def backend(name: str) -> Backend:
    """The module of a backend. Raises EngineMismatch for an unknown name, BackendMissing when its package is absent."""
    try:
        module, install = BACKENDS[name]
    except KeyError:
        raise EngineMismatch(f"unknown backend {name!r}; known: {', '.join(BACKENDS)}") from None
    try:
        return cast(Backend, importlib.import_module(module))
    except ImportError as error:
        raise BackendMissing(f"backend {name} cannot be imported ({error}): {install}") from error


def installed(name: str) -> str | None:
    """The versions of what a backend needs, None where it is not there. Nothing is imported."""
    try:
        return " ".join(importlib.metadata.version(needed) for needed in DISTRIBUTIONS.get(name, ("onnxruntime",)))
    except importlib.metadata.PackageNotFoundError:
        return None if name in DISTRIBUTIONS else ""  # the GPU wheel of ONNX Runtime has another name


def load_engine(
    model: Model | Path, backend_name: str = "onnxruntime", options: Options | None = None, entry: Entry | None = None
) -> Engine:
    """An engine of a found model or of a complete model folder; of what was built, where `entry` is given.

    What is loaded are the very bytes whose SHA-256 the spec names. Raises ModelInvalid when they differ or the network
    is not what the spec says, and what `backend` raises.
    """
    found = model if isinstance(model, Model) else model_in(model)
    module = backend(backend_name)
    engine = module.load(found.spec, verified(found), options or Options(), entry.read() if entry else None)
    if entry and (best := entry.manifest.trial.best_batch):
        engine.best_batch = min(best, engine.max_batch)
    return engine


def model_in(folder: Path) -> Model:
    """The model of a complete folder."""
    return Model(ModelSpec.read(folder), folder / MODEL_FILE)


def verified(model: Model) -> bytes:
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
    if EXTERNAL in weights:
        raise ModelInvalid(
            f"{model.onnx_path}: keeps weights in other files, whose content no hash vouches for; save it as one file"
        )
    return weights
