"""The command line's world, and a real browser."""

from tests.cli.conftest import emostream, own_server, server, shared_server, world
from tests.web.conftest import browser

__all__ = ["browser", "emostream", "own_server", "server", "shared_server", "world"]
