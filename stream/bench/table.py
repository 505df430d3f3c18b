"""The regression table: one row of figures per run, in a Markdown file, between two comments.

Only runs that count get a row (see instrument.py). Everything else in the file stays as it is.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from engines.replacing import replacing
from stream.bench import instrument
from stream.errors import ConfigError
from stream.urls import mask

BEGIN, END = "<!-- bench table: begin -->", "<!-- bench table: end -->"
FIGURES: dict[str, instrument.Where] = {
    "decode ms": ("cost", "decode_ms"),
    "5 Hz": instrument.RATIO_5HZ,
    "every frame": instrument.RATIO_EVERY_FRAME,
    "cameras": instrument.CAMERAS,
    "p95 ms": instrument.P95_MS,
    "16 cameras / 1": instrument.CAMERA_RATIO,
    "MB per camera": instrument.CAMERA_MB,
    "start s": instrument.START_S,
    "vs naive": instrument.NAIVE,
    "vs recipe": instrument.RECIPE,
}
HEADINGS = ("date", "commit", "machine", "engines", *FIGURES)


def check(path: Path) -> None:
    """Raise ConfigError if a row could not be added to this file: it is better known before the minutes of a run."""
    _split(path)


def append(path: Path, figures: dict[str, Any]) -> None:
    """Add a row, and before the first one the headings; the file is replaced at once and whole. Raises ConfigError."""
    before, rows, after = _split(path)
    if not rows:
        rows = [_line(HEADINGS), "|" + "---|" * len(HEADINGS)]
    text = "\n".join((BEGIN, *rows, _line(cells(figures)), END))
    try:
        _replace(path, before + text + after)
    except OSError as error:
        raise ConfigError(
            f"{mask(str(path))}: the row cannot be written ({error.strerror}); --append another file"
        ) from None


def cells(figures: dict[str, Any]) -> tuple[str, ...]:
    """One run's row, in the order of HEADINGS; blank where something was not run."""
    told = figures["machine"]
    known = (told["date"], told["commit"] or "", instrument.machine_name(told), instrument.engine_names(told))
    values = (instrument.figure(figures["parts"], path) for path in FIGURES.values())
    return (*known, *("" if value is None else f"{value:.4g}" for value in values))


def _line(values: tuple[str, ...]) -> str:
    return "| " + " | ".join(value.replace("|", "/") for value in values) + " |"


def _split(path: Path) -> tuple[str, list[str], str]:
    """What stands before the table, its lines, and what stands after it."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(
            f"{mask(str(path))}: it cannot be read ({error.strerror}); --append a Markdown file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{mask(str(path))}: it is no text; --append a Markdown file") from None
    before, begin, rest = text.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ConfigError(
            f"{mask(str(path))}: a row goes between {BEGIN} and {END}, and it has not exactly one of each"
        )
    return before, table.strip().splitlines(), after


def _replace(path: Path, text: str) -> None:
    """`path`, or the file that a link of this name leads to, with its permissions."""
    path = path.resolve()
    with replacing(path) as file:
        file.write(text.encode())
        os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
