"""Addresses that may carry credentials: how they are filled in, and how they are shown.

Nothing that prints, logs or raises ever holds a URL that did not come through `mask` or `scrub`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stream.errors import ConfigError

_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/?#\s'\"]*@", re.IGNORECASE)
_QUERY = re.compile(r"(?P<open>[?&#][^=&#\s'\"]*=)[^&#\s'\"]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def scrub(text: str) -> str:
    """`text` with the user part and every query value of each URL in it replaced by ***."""
    return _QUERY.sub(r"\g<open>***", _USERINFO.sub(r"\g<scheme>***@", text)) if "://" in text else text


def mask(address: str) -> str:
    """An address as it may be shown. A file's path or a device number comes back as it is."""
    return scrub(address)


def has_password(address: str) -> bool:
    """True for a URL with credentials written into it."""
    return _USERINFO.search(address) is not None


def expand(address: str, environment: Mapping[str, str]) -> str:
    """`address` with each `${NAME}` filled in from `environment`. Raises ConfigError, naming only the variable."""

    def value(match: re.Match[str]) -> str:
        try:
            return environment[match[1]]
        except KeyError:
            raise ConfigError(f"the environment variable {match[1]} is not set; export it before starting") from None

    return _VARIABLE.sub(value, address)
