"""What `engines build` is given -> a model: a name, a model folder, or a checkpoint, which is exported first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from engines.child import PACKAGES, command
from engines.errors import BackendMissing, EngineMissing, ModelInvalid, ModelMissing
from engines.precision import sibling
from engines.spec import SPEC_FILE, ModelSpec, sha256_of
from engines.store import Model, find_model

CHECKPOINT = ".safetensors"
EXPORTED = "model"  # the folder beside a checkpoint
REFUSED = 4  # the exit code of `train export`


def model_of(given: str, precision: str | None, say: Callable[[str], None]) -> Model:
    """The model that `given` means, in the precision that was asked for, or in its own.

    Raises ModelMissing when there is none in that precision, and what reading it raises.
    """
    path = Path(given).expanduser()
    if path.suffix == CHECKPOINT:
        model = find_model(_exported(path, say))
    elif path.is_file() and path.name != given:  # a name is a name, whatever lies around
        raise ModelInvalid(f"{path}: expected a model folder, a model's name or a checkpoint (*{CHECKPOINT})")
    else:
        model = find_model(given)
    if precision in (None, model.spec.precision):
        return model
    return sibling(model, precision or "")


def _exported(checkpoint: Path, say: Callable[[str], None]) -> Path:
    """The model folder of a checkpoint, made by `train export` unless it is there already.

    In a process of its own, because training's packages are heavy and this package does not know them.
    """
    if not checkpoint.is_file():
        raise ModelMissing(f"{checkpoint}: there is no such checkpoint; make one with: emostream train fit")
    folder = checkpoint.parent / EXPORTED
    if (folder / SPEC_FILE).is_file() and ModelSpec.read(folder).source.checkpoint_sha256 == sha256_of(checkpoint):
        return folder
    say(f"exporting {checkpoint} to {folder}, in fp32, fp16 and int8")
    export = command("train", "export", str(checkpoint.absolute()), str(folder.absolute()))
    done = subprocess.run(
        export, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, cwd=PACKAGES
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"])[-1]
        if "pip install" in said:
            raise BackendMissing(said)
        raise (ModelInvalid if done.returncode == REFUSED else EngineMissing)(f"{checkpoint} was not exported: {said}")
    return folder
