"""The API as its own document describes it, and what it says of what it refuses."""

from __future__ import annotations

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.served import ListedCameras, served

SECRET = "hunter2"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_requests_made_from_the_document_get_what_it_promises() -> None:
    control = ListedCameras()
    with served(control) as listener:
        schema = schemathesis.openapi.from_url(f"{listener.url}openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        assert {(operation.method.upper(), operation.path) for operation in operations} >= {
            ("GET", "/api/cameras"),
            ("POST", "/api/cameras"),
            ("DELETE", "/api/cameras/{camera_id}"),
            ("GET", "/api/tracks"),
            ("GET", "/api/events"),
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/metrics"),
        }
        for operation in operations:

            @settings(
                max_examples=20,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def check(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=CHECKS)

            check()
    assert control.infos  # some of them were cameras


class TestCameras:
    def test_come_and_go(self, asking: httpx.Client) -> None:
        added = asking.post("/api/cameras", json={"source": "/videos/Front Door.mp4"})
        assert (added.status_code, added.json()["name"]) == (201, "front-door")
        assert asking.post("/api/cameras", json={"source": "rtsp://camera/1"}).json()["name"] == "cam1"
        assert asking.post("/api/cameras", json={"source": "rtsp://camera/2"}).json()["name"] == "cam1-2"
        assert [info["name"] for info in asking.get("/api/cameras").json()] == ["front-door", "cam1", "cam1-2"]
        gone = asking.delete("/api/cameras/cam1")
        assert (gone.status_code, gone.content) == (204, b"")
        assert [info["name"] for info in asking.get("/api/cameras").json()] == ["front-door", "cam1-2"]

    def test_refusals_are_sentences(self, asking: httpx.Client) -> None:
        asking.post("/api/cameras", json={"name": "lobby", "source": "a.mp4"})
        again = asking.post("/api/cameras", json={"name": "lobby", "source": "b.mp4"})
        assert (again.status_code, again.json()) == (409, {"detail": "a camera lobby is there already"})
        unknown = asking.delete("/api/cameras/hall")
        assert (unknown.status_code, unknown.json()) == (404, {"detail": "there is no camera 'hall'"})

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b'{"source": "rtsp://viewer:hunter2@camera"',
            json.dumps({"name": "Lobby", "source": f"rtsp://viewer:{SECRET}@camera"}).encode(),
            json.dumps({"source": f"rtsp://viewer:{SECRET}@camera", "password": SECRET}).encode(),
            json.dumps({"source": [f"rtsp://viewer:{SECRET}@camera"]}).encode(),
            json.dumps({"source": f"Front Door=viewer:{SECRET}@camera"}).encode(),
        ],
    )
    def test_what_is_refused_is_not_said_again(self, asking: httpx.Client, body: bytes) -> None:
        answer = asking.post("/api/cameras", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert list(answer.json()) == ["detail"]
        assert SECRET not in answer.text

    def test_no_password_is_told(self, asking: httpx.Client) -> None:
        source = f"rtsp://viewer:{SECRET}@camera/live?token={SECRET}"
        told = asking.post("/api/cameras", json={"source": source}).text + asking.get("/api/cameras").text
        assert "camera/live" in told
        assert SECRET not in told


def test_the_page_of_documents_loads_nothing_and_names_every_operation(asking: httpx.Client) -> None:
    page = asking.get("/api/docs").text
    paths = asking.get("/openapi.json").json()["paths"]
    assert [path for path in paths if path not in page] == []
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page


class TestHealth:
    def test_well(self, asking: httpx.Client) -> None:
        for path in ("/healthz", "/readyz"):
            answer = asking.get(path)
            assert (answer.status_code, answer.json()) == (200, {"ok": True, "troubles": []})

    def test_not_ready_is_not_dead(self, asking: httpx.Client, control: ListedCameras) -> None:
        control.troubles = ["the engines are not loaded yet"]
        answer = asking.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ok": False, "troubles": control.troubles})
        assert asking.get("/healthz").status_code == 200
        control.ended = ["analysis"]
        assert asking.get("/healthz").json()["troubles"] == ["the thread analysis has ended"]
