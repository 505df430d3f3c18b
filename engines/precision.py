"""One network in several precisions: which models those are, and which of them a processor should compute.

Precision lives in the model, so `train export` lays `NAME_int8` and `NAME_fp16` beside `NAME`, each with an accuracy of
its own. In 8 bits the shipped emotion network takes 1.2 ms for four faces where float32 takes 2.8 (`emostream engines
bench emotion`, one thread with AVX-512 VNNI; the table is in engines/README.md). Without such instructions it gains
less, and what that would be worth was not asked.
"""

from __future__ import annotations

import logging

from engines import machine
from engines.errors import ModelInvalid, ModelMissing
from engines.spec import SPEC_FILE, ModelSpec
from engines.store import Model, find_model

log = logging.getLogger(__name__)

# what a processor is called that multiplies and adds bytes in one instruction: x86's VNNI and AMX, Arm's dot products
BYTES_AT_ONCE = {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"}
ON_CPUS = {"auto", "onnxruntime", "openvino"}  # backends
MOST_WORSE = 0.005  # of PublicTest's accuracy, 0..1, that int8 may lose


def sibling(model: Model, precision: str) -> Model:
    """The same network in another precision, which is a model of its own beside it.

    Raises ModelMissing when there is none, ModelInvalid when what lies there is something else.
    """
    base = model.spec.name.removesuffix(f"_{model.spec.precision}")
    name = base if precision == "fp32" else f"{base}_{precision}"
    folder = model.onnx_path.parent.with_name(name)
    if not folder.is_dir():  # a folder may be called otherwise than its model
        own = model.onnx_path.parent.name.removesuffix(f"_{model.spec.precision}")
        folder = folder.with_name(own if precision == "fp32" else f"{own}_{precision}")
    if not (folder / SPEC_FILE).is_file():
        raise ModelMissing(
            f"{model.spec.name} is a model in {model.spec.precision}, and there is no {folder.name} beside it; "
            "precision lives in the model: `emostream train export CHECKPOINT FOLDER` makes fp32, fp16 and int8"
        )
    found = find_model(folder, download=False)
    if found.spec.precision != precision:
        raise ModelInvalid(f"{folder}: expected a model in {precision}, its spec says {found.spec.precision}")
    return found


def preferred(model: Model, backend: str, cpu: str | None = None, gpus: str | None = None) -> Model:
    """The int8 model beside an fp32 one where this machine computes it faster and it is as good; else the model itself.

    `backend` is a name or `auto`; `cpu` and `gpus` are as `engines.machine` tells them, which is asked for None.
    """
    flags = (machine.cpu() if cpu is None else cpu).split()
    on_a_cpu = backend in ON_CPUS and not (machine.gpus() if gpus is None else gpus)
    if model.spec.precision != "fp32" or not on_a_cpu or BYTES_AT_ONCE.isdisjoint(flags):
        return model
    try:
        other = sibling(model, "int8")
    except ModelMissing:
        return model
    except ModelInvalid as error:  # what was asked for is whole
        log.warning("%s; %s runs in its place", error, model.spec.name)
        return model
    if not _as_good(model.spec, other.spec):
        return model
    log.info("%s is taken for %s: this processor computes it faster", other.spec.name, model.spec.name)
    return other


def _as_good(spec: ModelSpec, other: ModelSpec) -> bool:
    """Of the same checkpoint, and measured: nothing is taken on trust that nobody asked for."""
    if spec.source.checkpoint_sha256 is None or spec.source.checkpoint_sha256 != other.source.checkpoint_sha256:
        return False
    before, after = (each.metrics.get("public", {}).get("accuracy") for each in (spec, other))
    return before is not None and after is not None and after >= before - MOST_WORSE
