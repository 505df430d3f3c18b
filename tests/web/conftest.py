"""The command line's world for what runs whole workers, and an application over a control that does what a test says."""

from __future__ import annotations

from tests.cli.conftest import emostream, own_server, server, shared_server, world

__all__ = ["emostream", "own_server", "server", "shared_server", "world"]
