"""Addresses that may carry credentials: how they are filled in, and how they are shown.

Nothing that prints, logs or raises ever holds a URL that did not come through `mask` or `scrub`. Both rather hide too
much: people write passwords with @ / ? # in them as they are, so all before the last @ counts as the password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from stream.errors import ConfigError

HIDDEN = "***"
CUT = "..."  # stands in foreign messages for the middle of a long value, and may have swallowed the @ or the ?

_RUN = re.compile(r"[^\s\"<>]+")  # in a text a URL ends where a space or a quote is
_SEPARATOR = re.compile(r":/{1,2}")  # one slash where a URL was taken for a path, which collapses the two
_SYNTHETIC = re.compile(r"([a-z0-9_-]+=)?\W*synthetic:")  # has an @ before its rate
_OPENING = "'(["  # what may stand before an address in a text
_QUERY = re.compile(r"[?#;].*", re.DOTALL)
_QUERY_PART = re.compile(r"(?P<open>[?&;#])(?=[^?&;#])(?P<key>[^=?&;#]*=)?[^?&;#]*")
_SECRET_PART = re.compile(r"[?&;#](?P<key>[^=?&;#]*)=[^?&;#]")
_SECRET_KEY = re.compile(r"token|pass|pwd|secret|auth|user|login|credential|signature|key$", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:/?#@]*)(:\d*)?([/?#]|$)")
_WITHOUT_PASSWORD = re.compile(r"([^:]*:)?")
_VARIABLE = re.compile(r"\$\{(?:file:(?P<path>[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*))\}")
MOST_BYTES = 4096  # of a file with a secret; whatever is longer was not meant


def scrub(text: str) -> str:
    """`text` with the user part and every query value of each URL in it replaced by ***, and fit for any terminal."""
    text = text.encode(errors="replace").decode()  # a file's name may hold bytes that are no UTF-8
    return _RUN.sub(lambda run: mask(run[0]), text) if ":" in text else text


def mask(address: str) -> str:
    """An address as it may be shown. A file's path or a device number comes back as it is."""
    if _lacks_scheme(address):
        opening = address[: len(address) - len(address.lstrip(_OPENING))]
        return f"{opening}{HIDDEN}@{_without_values(address.rpartition('@')[2])}"
    return _hidden(address)


def has_password(address: str) -> bool:
    """True for a URL with credentials written into it, before the host or as a value of its query.

    An @ behind a plain host and port is none, nor is what only `${NAME}` or `${file:PATH}` stands for.
    """
    address = _VARIABLE.sub("", address)
    if _lacks_scheme(address):
        return True
    _, _, rest = _split(address)
    login, at, _ = rest.rpartition("@")
    if at and _HOST_AND_PORT.match(rest) is None and not _WITHOUT_PASSWORD.fullmatch(login):
        return True
    return any(_SECRET_KEY.search(part["key"]) for part in _SECRET_PART.finditer(rest))


def expand(address: str, environment: Mapping[str, str]) -> str:
    """`address` with each `${NAME}` filled in from `environment`, and each `${file:PATH}` from what that file holds.

    Values go in as they are: whoever keeps a password alone must keep it percent-encoded. Line ends at the end of a
    file are no part of it. Raises ConfigError, naming only the variable or the path.
    """

    def value(match: re.Match[str]) -> str:
        if match["path"]:
            return _secret_in(Path(match["path"]))
        try:
            return environment[match["name"]]
        except KeyError:
            raise ConfigError(
                f"the environment variable {match['name']} is not set; export it before starting"
            ) from None

    filled = _VARIABLE.sub(value, address)
    login = _split(filled)[2].rpartition("@")[0]
    if login and _RUN.fullmatch(login) is None:  # in a text nobody could tell where such an address ends
        raise ConfigError(
            f"{mask(filled)}: a space, a quote, < or > in a user name or password must be percent-encoded"
        )
    return filled


def _secret_in(path: Path) -> str:
    """The one line of a file, as Docker, Kubernetes and systemd hand secrets over. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        secret = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{path}: the secret cannot be read ({error.strerror})") from None
    except ValueError:  # no UTF-8, or a name that no file can have
        raise ConfigError(f"{path}: the secret is not text") from None
    if len(content) > MOST_BYTES or not secret or not secret.isprintable():
        raise ConfigError(f"{path}: expected a secret in one line of at most {MOST_BYTES} bytes")
    return secret


def _lacks_scheme(address: str) -> bool:
    """True for user:password@host, typed without the rtsp:// before it."""
    login, _, _ = address.rpartition("@")
    found = ":" in login.partition("/")[0] and login.strip(":") != ""
    return found and _SEPARATOR.search(address) is None and _SYNTHETIC.match(address) is None


def _split(url: str) -> tuple[str, str, str]:
    """(scheme, separator, rest) as `str.partition` gives them; the separator is empty where there is none."""
    found = _SEPARATOR.search(url)
    return (url[: found.start()], found[0], url[found.end() :]) if found else (url, "", "")


def _hidden(url: str) -> str:
    scheme, separator, rest = _split(url)
    if not separator:
        return url
    _, at, place = rest.rpartition("@")
    place, cut, _ = place.partition(CUT)
    if cut and not at:  # what was before the @ may be what is left
        place = ""
    return f"{scheme}{separator}{HIDDEN if at else ''}{at}{_without_values(place)}{HIDDEN if cut else ''}"


def _without_values(place: str) -> str:
    """Keys of the query stay, values go; a part without a key is a value."""
    return _QUERY.sub(lambda query: _QUERY_PART.sub(rf"\g<open>\g<key>{HIDDEN}", query[0]), place)
