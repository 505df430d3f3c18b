"""What the commands of `emostream train` share: options, and errors as one sentence with an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from engines.errors import EngineError
from engines.store import VARIABLE, Model, find_model
from train.errors import CheckpointInvalid, ExportRefused, TrainError

USAGE, REFUSED = 2, 4  # exit codes, as everywhere in emostream
NEEDS_EXTRA = {"torch", "torchvision", "safetensors", "onnx", "matplotlib", "tensorboard"}
# those that this process may use, where the system says so: a container or taskset gives it fewer
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


def recipe_path(recipe: Path, recipes: Path) -> Path:
    """`emotion` means the file of that name in the folder `recipes`, unless there is such a file here."""
    shipped = recipes / f"{recipe.name}.yaml"
    return shipped if not recipe.is_file() and recipe.name == str(recipe) and shipped.is_file() else recipe


def find_detector(name: str) -> Model:
    """A face detector by name or folder; weights in the development data folder are taken before any download."""
    from train.data import shared_folder

    models = [os.environ.get(VARIABLE, ""), str(shared_folder() / "models")]
    return find_model(name, environment={VARIABLE: os.pathsep.join(models)})


def wait_asleep() -> None:
    """To be called before torch is imported, which is when OpenMP reads it.

    Threads that spin while they wait for each other take the time of whatever else the machine does: on two cores
    shared with other work, waiting asleep was 1.7 times as fast.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@contextmanager
def one_sentence_errors(goes_on_after: str | None = None) -> Iterator[None]:
    """Turn what may go wrong into one sentence on stderr and an exit code.

    `goes_on_after`: what the same command, given again, need not do again, such as "epoch".
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").split(".")[0] not in NEEDS_EXTRA:
            raise
        _stop(f"training needs {error.name}, which is not installed: pip install 'emostream[train]'", USAGE)
    except (CheckpointInvalid, ExportRefused, EngineError) as error:
        _stop(str(error), REFUSED)
    except TrainError as error:
        _stop(str(error), USAGE)
    except OSError as error:
        _stop(f"{error.filename or 'a file'} cannot be read or written ({error.strerror or error})", USAGE)
    except KeyboardInterrupt:
        then = f"; the same command goes on after the last finished {goes_on_after}" if goes_on_after else ""
        _stop(f"interrupted{then}", 130)


def _stop(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr)
    raise typer.Exit(code)
