"""Where what this user runs can be reached: a small file in the runtime folder, for other commands of the same user."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from pathlib import Path

import platformdirs

log = logging.getLogger(__name__)


def light(name: str, url: str, pid: int) -> None:
    """Write where `name` is, for this user alone; without it, people copy the URL that was printed."""
    try:
        path = _file(name)
        new = path.with_suffix(f".{pid}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"url": url, "pid": pid}, file)
        new.replace(path)
    except OSError as error:
        log.warning("other commands will not find %s by themselves (%s)", name, error.strerror)


def see(name: str) -> tuple[str, int] | None:
    """URL and process of the `name` that was started last; whether it still runs is for the caller to find out."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(_file(name).read_text())
        return str(told["url"]), int(told["pid"])
    return None


def put_out(name: str, pid: int) -> None:
    """Remove what `light` wrote, unless another one has been started since."""
    lit = see(name)
    if lit is not None and lit[1] == pid:
        with contextlib.suppress(OSError):
            _file(name).unlink()


def _file(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", platformdirs.RuntimeDirWarning)  # a folder in /tmp serves as well
        return platformdirs.user_runtime_path("emostream", ensure_exists=True) / f"{name}.json"
