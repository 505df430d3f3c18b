"""Model folders as they are written: all of one, or of several, or nothing."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.spec import MODEL_FILE, PARITY_FILE, SPEC_FILE
from train.errors import ExportRefused

CARD_FILE = "card.md"
MODEL_FILES = frozenset([MODEL_FILE, SPEC_FILE, CARD_FILE, PARITY_FILE])


@contextmanager
def model_folders(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """As `model_folder`, for several that appear together, at the very end: the first of them last."""
    with ExitStack() as stack:
        yield [stack.enter_context(model_folder(folder)) for folder in folders]


@contextmanager
def model_folder(folder: Path) -> Iterator[Path]:
    """A folder to write a model into, which takes the place of `folder` when all went well, and else is gone.

    Raises ExportRefused before any work where `folder` holds something else than a model: it would be lost.
    """
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - MODEL_FILES)):
        raise ExportRefused(f"{folder} holds {others[0]}, which is no part of a model; name an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as room:
        made, old = Path(room) / "made", Path(room) / "old"
        made.mkdir()
        yield made
        if folder.exists():
            folder.rename(old)
        made.rename(folder)


def npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
