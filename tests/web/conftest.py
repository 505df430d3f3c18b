"""The command line's world for what runs whole workers, a scripted crowd for what only looks, and a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.cli.conftest import emostream, own_server, server, shared_server, world
from tests.web.browser import Browser, opened
from tests.web.crowd_server import CrowdServer
from tests.web.served import ListedCameras, client, served

__all__ = ["emostream", "own_server", "server", "shared_server", "world"]


@pytest.fixture
def control() -> ListedCameras:
    """Without cameras and troubles."""
    return ListedCameras()


@pytest.fixture
def asking(control: ListedCameras) -> Iterator[httpx.Client]:
    """Of an application over `control` that demands no token."""
    with served(control) as listener, client(listener) as asking:
        yield asking


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium of this machine; tests that need it skip where there is none.

    For one module: as long as it is there, an event loop runs in this thread, and no test can run another.
    """
    with opened() as browser:
        if browser is None:
            pytest.skip("no Chromium is here")
        yield browser


@pytest.fixture
def crowd_server() -> Iterator[CrowdServer]:
    """Two cameras with three faces each, told up to now."""
    server = CrowdServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def crowded(crowd_server: CrowdServer) -> str:
    """The address of such a page."""
    return crowd_server.url
