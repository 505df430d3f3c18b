"""A file from the network whose SHA-256 is known beforehand. It appears at its path only whole and right."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from engines.errors import ModelInvalid, ModelMissing
from engines.replacing import replacing

TIMEOUT_S = 5.0  # to connect, and for each piece
TOTAL_S = 300.0  # so that a server which drips cannot hold a start for ever
MAX_BYTES = 200_000_000  # far above any model here; a wrong address must not fill the disk
CHUNK_BYTES = 1 << 16


def fetch(
    url: str,
    path: Path,
    sha256: str,
    *,
    timeout_s: float = TIMEOUT_S,
    total_s: float = TOTAL_S,
    max_bytes: int = MAX_BYTES,
    progress: bool | None = None,
) -> None:
    """Put what `url` gives at `path`, at once and whole, if its SHA-256 is the one expected.

    `progress` shows a bar on stderr; None shows it where stderr is a terminal.
    Raises ModelMissing when it cannot be had or kept, ModelInvalid when something else came; `path` is then untouched.
    """
    if not url.startswith(("https://", "http://")):
        raise ModelInvalid(f"{url}: only http and https addresses are fetched; mend source.url in the spec")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            came = _receive(url, file, timeout_s, total_s, max_bytes, progress)
            if came != sha256:
                raise ModelInvalid(
                    f"{url} gave a file with SHA-256 {came[:12]}..., expected {sha256[:12]}...; it was thrown away"
                )
    except urllib.error.HTTPError as error:
        error.close()  # it is also the open response
        raise ModelMissing(f"{url} answered {error.code} {error.reason}") from None
    except TimeoutError:
        raise ModelMissing(f"{url} did not answer within {timeout_s:g} s") from None
    except urllib.error.URLError as error:
        raise ModelMissing(f"{url} cannot be reached ({error.reason})") from None
    except (HTTPException, ConnectionError) as error:
        raise ModelMissing(f"{url} broke off ({error or type(error).__name__})") from None
    except OSError as error:
        raise ModelMissing(f"{path.parent} cannot be written ({error.strerror})") from None


def _receive(url: str, file: IO[bytes], timeout_s: float, total_s: float, max_bytes: int, progress: bool | None) -> str:
    """Copy the body into `file`; its SHA-256."""
    digest = hashlib.sha256()
    received = 0
    deadline_s = time.monotonic() + total_s
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        with _shown(response, total, url, progress) as body:
            while piece := body.read(CHUNK_BYTES):
                received += len(piece)
                if received > max_bytes:
                    raise ModelInvalid(f"{url} gives more than {max_bytes} bytes; is it the right address?")
                if time.monotonic() > deadline_s:
                    raise ModelMissing(f"{url} was still sending after {total_s:g} s ({received} bytes)")
                digest.update(piece)
                file.write(piece)
    if total is not None and received < total:
        raise ModelMissing(f"{url} broke off after {received} of {total} bytes")
    return digest.hexdigest()


def _shown(
    response: HTTPResponse, total: int | None, url: str, progress: bool | None
) -> contextlib.AbstractContextManager[IO[bytes]]:
    """The response, with a bar on stderr for a person who waits."""
    from rich.console import Console
    from rich.progress import wrap_file

    wanted = sys.stderr.isatty() if progress is None else progress
    name = url.rsplit("/", 1)[-1]
    return wrap_file(
        response, total or 0, description=f"fetching {name}", console=Console(stderr=True), disable=not wanted
    )
