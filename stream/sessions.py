"""The session of a camera: one per camera and worker start.

For a recording it is a digest of everything that decides its events, so that replays are equal; for a live camera it
is drawn at random, because no two starts see the same thing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

DIGITS = 16  # 64 bits: a clash among a million recordings has a chance of 1 in 30 million


def live_session() -> str:
    """A new random session."""
    return secrets.token_hex(DIGITS // 2)


def recording_session(path: Path | None, decisive: Iterable[str]) -> str:
    """The digest of a recording's content and of every `decisive` text; `path` None for one that is no file.

    The whole file is read: at about 1 GB/s that is little beside decoding it. A file that cannot be read counts as
    empty; opening it will say what is wrong.
    """
    digest = hashlib.sha256()
    try:
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except (OSError, ValueError):  # ValueError: a null byte in the name
        digest.update(b"unreadable")
    for text in decisive:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:DIGITS]
