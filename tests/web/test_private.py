"""With `aggregate_only` no address that a worker serves says anything of single faces, while faces are before it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import process
from tests.cli.test_private import PICTURES, assert_of_no_face, written
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis


def updates(asking: httpx.Client) -> Iterator[dict[str, Any]]:
    """What the page is told, without the places for faces, which are empty."""
    with asking.stream("GET", "/live") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                update = json.loads(line.removeprefix("data: "))
                for camera in update["cameras"].values():
                    assert camera.pop("tracks") == {}
                    assert camera.pop("ended") == 0
                assert_of_no_face("/live", json.dumps(update))
                yield update


def events(asking: httpx.Client) -> list[dict[str, Any]]:
    answer = asking.get("/api/events", params={"limit": 1000})
    assert_of_no_face("/api/events", answer.text)
    found: list[dict[str, Any]] = answer.json()
    return found


def test_every_address(two_faces_clip: Path, server: RedisServer, tmp_path: Path) -> None:
    config = written(tmp_path, 2, tmp_path / "events.sqlite")
    source = ("run", f"hall={two_faces_clip}", "--realtime", "--config", config, "--redis", server.url)
    with process(*source, "--http", "127.0.0.1:0") as child:
        assert child.stderr is not None
        url = next(found[0] for line in child.stderr if (found := re.findall(r"live page at (\S+)", line)))
        with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as asking:
            counts = None
            for update in updates(asking):
                assert asking.get("/api/tracks").json() == []
                for path in ("/api/cameras", "/healthz", "/readyz", "/metrics"):
                    text = asking.get(path).text.replace(str(two_faces_clip), "")
                    assert_of_no_face(path, re.sub(r"^# .*$", "", text, flags=re.MULTILINE))
                counts = update["cameras"].get("hall", {}).get("counts", counts)
                if [event["type"] for event in events(asking)].count("emotion.aggregate") == 2 and counts:
                    break
            assert counts is not None
            assert (counts["faces"], sum(counts["counts"].values())) == (2, 2)
            assert {event["type"] for event in events(asking)} == {"camera.status", "emotion.aggregate"}
            assert asking.get("/preview/hall.mjpeg").status_code == 404
            for path in ("/", "/static/page.js", "/static/page.css", "/openapi.json", "/api/docs"):
                answer = asking.get(path)
                assert answer.status_code == 200
                assert not any(magic in answer.content for magic in PICTURES)
