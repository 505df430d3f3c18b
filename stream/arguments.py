"""`[NAME=]SOURCE ...` as people type it -> camera entries of the configuration."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from stream.errors import ConfigError
from stream.events import CAMERA_ID_PATTERN
from stream.urls import mask

_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_-]+")
_MOST_CHARACTERS = 63


def cameras(arguments: Sequence[str], others: Collection[str] = ()) -> list[dict[str, str]]:
    """One {name, source} per argument, in order.

    A name that is not given comes from a file's stem, else it is cam1, cam2, ...: never from a URL, which may hold
    secrets. Two files of one stem become `stem` and `stem-2`, and a name of `others` is made up for nobody. Raises
    ConfigError for a name that no camera may have.
    """
    parts = [split(argument) for argument in arguments]
    taken = {name for name, _ in parts if name is not None} | set(others)
    entries = []
    for number, (given, source) in enumerate(parts, start=1):
        name = given or _free(_stem(source) or f"cam{number}", taken)
        taken.add(name)
        entries.append({"name": name, "source": source})
    return entries


def split(argument: str) -> tuple[str | None, str]:
    """Name, if one is given, and source. Raises ConfigError for a name that no camera may have."""
    name, equals, source = argument.partition("=")
    if not equals:
        return None, argument
    if re.match(CAMERA_ID_PATTERN, name):
        return name, source
    if _URL.match(argument) or "/" in name or Path(argument).exists():
        return None, argument
    raise ConfigError(
        f"{name!r} is no camera name: lower-case letters, digits, _ and -, at most {_MOST_CHARACTERS}, "
        f"beginning with a letter or digit (in {mask(argument)})"
    )


def _stem(source: str) -> str:
    """A camera name made of a file's name; empty for a URL, a device number or a name without usable characters."""
    if _URL.match(source) or source.isdigit():
        return ""
    return _NOT_IN_A_NAME.sub("-", Path(source).stem.lower()).strip("-_")[:_MOST_CHARACTERS]


def _free(name: str, taken: set[str]) -> str:
    """`name`, or the first of name-2, name-3, ... that nobody has."""
    number, free = 1, name
    while free in taken:
        number += 1
        suffix = f"-{number}"
        free = name[: _MOST_CHARACTERS - len(suffix)] + suffix
    return free
