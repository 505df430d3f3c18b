"""emostream's run time. What programs use is here; importing it loads neither Redis nor a decoder nor a network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.client import alisten, asubscribe, listen, subscribe

__all__ = ["alisten", "asubscribe", "listen", "subscribe"]


def __getattr__(name: str) -> Any:
    """The client's functions, loaded when the first of them is asked for (PEP 562)."""
    if name in __all__:
        return getattr(importlib.import_module("stream.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
