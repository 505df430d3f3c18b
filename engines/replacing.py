"""A file that is there whole or not at all, whoever writes it and whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

NAME_DIGITS: Final = 80  # of the name, in that of the file beside it, which must not become too long


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the block ends well, and leaves nothing behind when not.

    Only this user can read it until the block says otherwise. Raises OSError where it cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:NAME_DIGITS]}.")
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:  # also Ctrl-C in the middle of it
        with contextlib.suppress(OSError):  # what went wrong is what is to be told
            os.unlink(name)
        raise
