"""The course of a run: a bar for people, and curves for TensorBoard (`tensorboard --logdir runs`)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn


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


@contextmanager
def epoch_bar(console: Console, title: str, steps: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar of an epoch's steps, on a terminal only.

    What it gives is to be called after each step with how many of `unit` (such as images) that took.
    """
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[speed]}"))
    started_s, done = time.monotonic(), 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=steps, speed="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            speed = done / max(time.monotonic() - started_s, 1e-9)
            progress.update(task, advance=1, speed=f"{speed:.0f} {unit}/s")

        yield advance
