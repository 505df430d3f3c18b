from __future__ import annotations

from pathlib import Path

import pytest

from tests.redis_server import own_server, server, shared_server
from tests.sinks.made import Clock

__all__ = ["own_server", "server", "shared_server"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()
