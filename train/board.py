"""The course of a run for TensorBoard: `tensorboard --logdir runs`."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any


class Board:
    """Writes event files into a run's folder. A run that goes on adds another file, which TensorBoard joins."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TensorBoard's own imports
            from torch.utils.tensorboard.writer import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, epoch: int, **values: float) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
