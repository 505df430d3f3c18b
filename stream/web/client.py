"""The API of a worker that runs here or elsewhere, asked from the command line."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from stream import beacon
from stream.errors import ConfigError
from stream.urls import mask

BEACON = "web"  # as which a worker with a page can be found
ANSWER_S = 20.0  # removing a camera that hangs takes the longest
MOST_BYTES = 1 << 20  # of an answer


class _Stay(urllib.request.HTTPRedirectHandler):
    """A worker sends nobody elsewhere, and the token is for nobody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Api:
    """One worker's. Every method raises ConfigError with what the worker said, or why it did not answer."""

    url: str
    token: str | None = None

    def cameras(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "api/cameras")
        return found

    def add(self, name: str | None, source: str) -> dict[str, Any]:
        added: dict[str, Any] = self._ask("POST", "api/cameras", {"name": name, "source": source})
        return added

    def remove(self, name: str) -> None:
        self._ask("DELETE", f"api/cameras/{quote(name, safe='')}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        shown = mask(self.url)
        try:
            request = urllib.request.Request(f"{self.url.rstrip('/')}/{path}", data, headers, method=method)
            # no proxy: what is asked is this machine, or one in the same network
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
            with opener.open(request, timeout=ANSWER_S) as answer:
                said = answer.read(MOST_BYTES)
            return json.loads(said) if said else None
        except urllib.error.HTTPError as error:
            with error:
                raise ConfigError(_detail(error.read(MOST_BYTES)) or f"{shown} answered {error.code}") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or "no answer"
            raise ConfigError(
                f"no worker answers at {shown} ({why}); start one with `emostream run --http`, or give its --url"
            ) from None
        except ValueError:  # no address, or no JSON
            raise ConfigError(
                f"{shown}: this is not the address of a worker's page; it is printed at the start"
            ) from None


def find() -> str | None:
    """The address of this user's worker with a page: the one that was started last."""
    lit = beacon.see(BEACON)
    return None if lit is None else lit[0]


def _detail(said: bytes) -> str | None:
    try:
        return str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        return None
