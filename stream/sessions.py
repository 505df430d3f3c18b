"""The session of a camera: one per camera and worker start.

For a recording it is a digest of everything that decides its events, so that replays are equal; for a live camera it
is drawn at random, because no two starts see the same thing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from stream.clocks import never

CHUNK_BYTES = 4 * 1024 * 1024  # some milliseconds of hashing: so soon a stop is seen
DIGITS = 16  # 64 bits: a clash among a million recordings has a chance of 1 in 30 million


def live_session() -> str:
    """A new random session."""
    return secrets.token_hex(DIGITS // 2)


def recording_session(path: Path | None, decisive: Iterable[str], stopped: Callable[[], bool] = never) -> str:
    """The digest of a recording's content and of every `decisive` text; `path` None for one that is no file.

    The whole file is read: at about 1 GB/s that is little beside decoding it. A file that cannot be read counts as
    empty; opening it will say what is wrong. Once `stopped()` is True, asked every few megabytes, reading ends and the
    session is a random one: nothing of this recording will be told, and no replay may be taken for its equal.
    """
    digest = hashlib.sha256()
    try:
        if path is not None:
            content = _content_digest(path, stopped)
            if content is None:
                return live_session()
            digest.update(content)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        digest.update(b"unreadable")
    for text in decisive:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:DIGITS]


def _content_digest(path: Path, stopped: Callable[[], bool]) -> bytes | None:
    """SHA-256 of a whole file; None when stopped before its end. Raises OSError, ValueError."""
    if not path.is_file():  # a pipe would block, and a device may have no end
        raise OSError("not a regular file")
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            if stopped():
                return None
            digest.update(chunk)
    return digest.digest()
