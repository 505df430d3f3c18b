"""The real Redis of this room's tests."""

from tests.redis_server import own_server, server, shared_server

__all__ = ["own_server", "server", "shared_server"]
