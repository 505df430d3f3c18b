"""Who is let in, how often and with how much; over real connections."""

from __future__ import annotations

import socket

import httpx
import pytest

from stream.config import WebConfig
from stream.errors import ConfigError
from stream.web.guard import Limits, Rate, is_every, is_loopback
from stream.web.server import listening
from tests.web.served import ListedCameras, client, served

TOKEN = "p@ss; wörd"
CAMERA = {"name": "lobby", "source": "synthetic:64x64@5"}


class TestToken:
    def test_without_it_only_health_is_told(self) -> None:
        with served(ListedCameras(), token=TOKEN) as listener, client(listener) as asking:
            paths = ("/", "/api/cameras", "/api/tracks", "/openapi.json", "/metrics", "/live", "/static/page.js", "/no")
            assert {asking.get(path).status_code for path in paths} == {401}
            assert asking.get("/api/cameras").headers["www-authenticate"].startswith("Bearer")
            assert [asking.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
            wrong = httpx.Headers({"Authorization": b"Bearer p@ss; w\xf6rd!"})
            assert asking.get("/api/cameras", headers=wrong).status_code == 401
            assert asking.get("/?token=wrong").status_code == 401

    def test_with_it_a_program_is_let_in(self) -> None:
        with served(ListedCameras(), token=TOKEN) as listener, client(listener) as asking:
            right = httpx.Headers({"Authorization": b"Bearer " + TOKEN.encode()})
            assert asking.get("/api/cameras", headers=right).status_code == 200

    def test_a_browser_gets_a_cookie_that_is_not_the_token(self) -> None:
        with served(ListedCameras(), token=TOKEN) as listener, client(listener) as asking:
            entered = asking.get("/", params={"token": TOKEN})
            assert (entered.status_code, entered.headers["location"]) == (303, "/")
            told = entered.headers["set-cookie"]
            assert "HttpOnly" in told
            assert "SameSite=Strict" in told
            assert "rd" not in told.partition(";")[0].partition("=")[2]  # hexadecimal digits alone
            assert asking.get("/api/cameras").status_code == 200  # the cookie was kept

    @pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "camera-box:0"])
    def test_nobody_stands_open_beyond_loopback(self, address: str) -> None:
        with pytest.raises(ConfigError, match=r"web\.token: .*set a token"), listening(WebConfig(address=address)):
            raise AssertionError("it listens")


class TestOtherPages:
    def test_a_name_of_somebody_else_is_refused(self, asking: httpx.Client) -> None:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "a b"):
            answer = asking.get("/api/cameras", headers={"Host": host})
            assert (host, answer.status_code) == (host, 400)
            assert "Host" in answer.json()["detail"]

    def test_names_of_this_machine_are_taken(self, asking: httpx.Client) -> None:
        for host in ("localhost", "127.0.0.1:1234", "[::1]:80", "LOCALHOST:8080"):
            assert (host, asking.get("/api/cameras", headers={"Host": host}).status_code) == (host, 200)

    @pytest.mark.parametrize(
        "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
    )
    def test_they_change_nothing(self, asking: httpx.Client, control: ListedCameras, headers: dict[str, str]) -> None:
        assert asking.post("/api/cameras", json=CAMERA, headers=headers).status_code == 403
        control.add("lobby", "synthetic:", {})
        assert asking.delete("/api/cameras/lobby", headers=headers).status_code == 403
        assert list(control.infos) == ["lobby"]

    def test_what_a_form_can_send_is_no_change(self, asking: httpx.Client, control: ListedCameras) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b"):
            sent = asking.post("/api/cameras", content='{"source": "a.mp4"}', headers={"Content-Type": kind})
            assert (kind, sent.status_code) == (kind, 415)
        assert control.infos == {}

    def test_our_own_page_changes_what_it_likes(self, asking: httpx.Client, control: ListedCameras) -> None:
        ours = {"Origin": str(asking.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
        assert asking.post("/api/cameras", json=CAMERA, headers=ours).status_code == 201
        assert list(control.infos) == ["lobby"]

    def test_every_answer_forbids_what_comes_from_outside(self, asking: httpx.Client) -> None:
        for path in ("/", "/api/cameras", "/api/docs", "/no"):
            headers = asking.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'self';")
            assert headers["x-content-type-options"] == "nosniff"


class TestLimits:
    @pytest.mark.parametrize("told", [True, False])
    def test_a_large_body(self, asking: httpx.Client, told: bool) -> None:
        body = b"[" + b" " * (64 * 1024) + b"]"
        content = body if told else iter([body[:40_000], body[40_000:]])
        sent = asking.post("/api/cameras", content=content, headers={"Content-Type": "application/json"})
        assert sent.status_code == 413
        assert "65536 bytes" in sent.json()["detail"]

    def test_whoever_asks_too_often_is_told_when_to_come_back(self) -> None:
        with served(ListedCameras(), limits=Limits(per_s=0.01, burst=3)) as listener, client(listener) as asking:
            answers = [asking.get("/api/cameras") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert 90 <= int(answers[-1].headers["retry-after"]) <= 100

    def test_a_bucket_fills_again(self) -> None:
        now_s = 0.0
        rate = Rate(Limits(per_s=2.0, burst=3.0), lambda: now_s)
        assert [rate.wait_s("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
        assert rate.wait_s("b") == 0.0  # another one's is full
        now_s = 0.5
        assert [rate.wait_s("a"), rate.wait_s("a")] == [0.0, 0.5]
        now_s = 1000.0
        assert [rate.wait_s("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


class TestAddress:
    def test_a_port_in_use_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(ConfigError, match="cannot be served at"), listening(WebConfig(address=address)):
                raise AssertionError("it listens")

    @pytest.mark.parametrize("address", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"])
    def test_what_is_none(self, address: str) -> None:
        with pytest.raises(ConfigError, match="expected HOST:PORT"), listening(WebConfig(address=address)):
            raise AssertionError("it listens")

    def test_of_every_address_loopback_is_printed(self) -> None:
        with listening(WebConfig(address="0.0.0.0:0", token="t")) as listener:
            assert listener.url.startswith("http://127.0.0.1:")

    @pytest.mark.parametrize(
        ("host", "loopback", "every"),
        [
            ("127.0.0.1", True, False),
            ("127.9.9.9", True, False),
            ("::1", True, False),
            ("localhost", True, False),
            ("0.0.0.0", False, True),
            ("::", False, True),
            ("", False, True),
            ("10.0.0.1", False, False),
            ("localhost.example", False, False),
        ],
    )
    def test_what_others_can_reach(self, host: str, loopback: bool, every: bool) -> None:
        assert (is_loopback(host), is_every(host)) == (loopback, every)
