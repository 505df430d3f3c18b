"""The live page of a real worker in a real browser: what a person sees and does there."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stream.config import PrivacyConfig
from stream.events import EmotionAggregate
from tests.cli.conftest import World, configured, process
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer
from tests.web.browser import DESKTOP, PHONE, Browser
from tests.web.crowd import accepted, stamp
from tests.web.crowd_server import CrowdServer

pytestmark = pytest.mark.redis

COME_MS = 15_000
SAID = "document.activeElement.name || document.activeElement.textContent"


@pytest.fixture
def rtsp(world: World) -> Iterator[RtspServer]:
    playing = Behaviour(path=world.moody, speed=1.0, loop=True)
    with RtspServer({"lobby": playing, "door": playing}) as server:
        yield server


def address_of(child: subprocess.Popen[str]) -> str:
    """Where the page is, as the worker says at its start."""
    assert child.stderr is not None
    for line in child.stderr:
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise AssertionError("the worker ended before it said where its page is")


def test_the_page_of_a_worker(
    browser: Browser, world: World, rtsp: RtspServer, own_server: RedisServer, tmp_path: Path
) -> None:
    config = configured(world, tmp_path / "page.yaml", web={"preview": "blurred"}, privacy={"purpose": "tests"})
    options = ("--config", config, "--redis", own_server.url, "--http", "127.0.0.1:0")
    with process("run", f"lobby={rtsp.url('lobby')}", *options) as child, browser.page(address_of(child)) as shown:
        page = shown.page
        lobby = page.get_by_role("article", name="Camera lobby")
        expect(lobby.get_by_text("live", exact=True)).to_be_visible(timeout=COME_MS)
        expect(page.get_by_text("Purpose: tests.")).to_be_visible()

        # a timeline grows
        timeline = lobby.locator("canvas").first
        expect(timeline).to_have_attribute("data-points", re.compile("[3-9]"), timeout=COME_MS)
        expect(timeline).to_have_attribute("aria-label", re.compile("last minute: .*(sad|happy|uncertain)"))
        expect(lobby.locator(".fps")).to_have_text(re.compile(r"[1-5]\.\d /s"), timeout=COME_MS)
        expect(lobby.locator(".latency")).to_have_text(re.compile(r"\d+ ms"))
        expect(page.locator("#wall")).to_contain_text(re.compile("lobby(sad|happy|uncertain)"))

        # a picture is asked for, and closed again
        assert not [url for url, _ in shown.received if "preview" in url]
        look = lobby.get_by_role("button", name="Picture of lobby")
        look.click()
        shown.until("document.querySelector('.picture img')?.naturalWidth > 0")
        look.click()
        expect(lobby.locator("img")).to_have_count(0)

        # a camera is added and removed by clicks
        page.get_by_label("Name").fill("door")
        page.get_by_label("Source").fill(rtsp.url("door"))
        page.get_by_role("button", name="Add camera").click()
        expect(page.locator("#said")).to_have_text("door was added.")
        door = page.get_by_role("article", name="Camera door")
        expect(door.get_by_text("live", exact=True)).to_be_visible(timeout=COME_MS)
        door.get_by_role("button", name="Remove door").click()
        door.get_by_role("button", name="Really remove door").click()
        expect(door).to_have_count(0, timeout=COME_MS)
        expect(lobby).to_be_visible()

        # one that cannot be added says why
        page.get_by_label("Name").fill("hall")
        page.get_by_label("Source").fill("nowhere.mp4")
        page.get_by_role("button", name="Add camera").click()
        expect(page.locator("#said.refused")).to_contain_text("no such file")

        # Redis goes and comes back
        own_server.stop()
        alert = page.locator("#active [data-level=bad]")
        expect(alert.first).to_contain_text("redis", ignore_case=True, timeout=COME_MS)
        own_server.start()
        expect(page.locator("#active [data-level=over]").first).to_be_visible(timeout=COME_MS)
        expect(alert).to_have_count(0, timeout=COME_MS)  # of the sink, and perhaps of the leases

        assert shown.faults() == []
        assert [error for error in shown.errors if "422" not in error] == []  # the browser tells of the refusal, too

        # the worker ends at once, although somebody looks
        look.click()
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=20)
        expect(page.locator("#line")).to_have_text("reconnecting")
    assert child.returncode == 0
    assert "Traceback" not in said
    assert "ERROR" not in said


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_everybody_can_read_it(browser: Browser, crowded: str, size: tuple[int, int], scheme: str) -> None:
    """On a desktop and on a phone: nothing serious for axe-core, nothing wider than the screen."""
    with browser.page(crowded, size, color_scheme=scheme) as shown:
        expect(shown.page.get_by_role("article").first).to_be_visible()
        shown.until("document.querySelector('canvas')?.dataset.points > 1")
        assert shown.faults() == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert shown.errors == []


def test_everything_can_be_reached_by_keyboard(browser: Browser, crowded: str) -> None:
    with browser.page(crowded) as shown:
        page = shown.page
        expect(page.get_by_role("article")).to_have_count(2)
        names = []
        for _ in range(7):
            page.keyboard.press("Tab")
            focused = page.evaluate(f"(document.activeElement.getAttribute('aria-label') || {SAID}).trim()")
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", focused
            names.append(focused)
    wanted = ["Skip to the cameras", "camera-01", "camera-02", "Remove camera-01", "Remove camera-02", "name", "source"]
    assert [name for name in names if name in wanted] == wanted


def test_a_late_answer_does_not_cover_a_newer_one(browser: Browser, crowd_server: CrowdServer) -> None:
    """A person may go on before a removal is answered: the tile goes by the line of events, which may be faster."""
    removed = crowd_server.control.late["camera-01"] = threading.Event()
    with browser.page(crowd_server.url) as shown:
        page = shown.page
        page.get_by_role("button", name="Remove camera-01").click()
        with page.expect_response("**/api/cameras/camera-01") as answer:
            page.get_by_role("button", name="Really remove camera-01").click()

            name, source, said = page.get_by_label("Name"), page.get_by_label("Source"), page.locator("#said")
            name.fill("camera-02")
            source.fill("again.mp4")
            page.get_by_role("button", name="Add camera").click()
            expect(said).to_contain_text("a camera camera-02 is there already")
            source.focus()
            removed.set()
        assert answer.value.status == 204
        page.evaluate("fetch('/healthz').then(answer => answer.text())")  # by then the page has read the earlier answer
        expect(said).to_contain_text("a camera camera-02 is there already")
        expect(said).to_have_class("refused")
        expect(source).to_be_focused()

        name.fill("camera-03")
        page.get_by_role("button", name="Add camera").click()
        expect(said).to_have_text("camera-03 was added.")
        expect(said).not_to_have_class("refused")
        expect(name).to_have_value("")


def test_a_late_answer_does_not_empty_what_was_typed_meanwhile(browser: Browser, crowd_server: CrowdServer) -> None:
    added = crowd_server.control.late["camera-03"] = threading.Event()
    with browser.page(crowd_server.url) as shown:
        page = shown.page
        name, source = page.get_by_label("Name"), page.get_by_label("Source")
        name.fill("camera-03")
        source.fill("third.mp4")
        page.get_by_role("button", name="Add camera").click()
        expect(page.locator("#said")).to_have_text("Adding…")
        name.fill("camera-04")
        added.set()
        expect(page.locator("#said")).to_have_text("camera-03 was added.")
        expect(name).to_have_value("camera-04")
        expect(source).to_have_value("third.mp4")


def test_a_page_that_lost_its_line_goes_on(browser: Browser, crowd_server: CrowdServer) -> None:
    """The worker's page goes away and comes back: the timelines go on, with no point twice."""
    with browser.page(crowd_server.url) as shown:
        page = shown.page
        expect(page.locator("#line")).to_have_text("live")
        shown.until("document.querySelector('canvas')?.dataset.points == 10")
        crowd_server.stop()
        expect(page.locator("#line")).to_have_text("reconnecting")
        crowd_server.tell(2)
        crowd_server.start()
        expect(page.locator("#line")).to_have_text("live", timeout=COME_MS)
        shown.until("document.querySelector('canvas')?.dataset.points == 12")


def test_where_only_counts_are_told_only_counts_are_shown(browser: Browser) -> None:
    server = CrowdServer(2, 0, privacy=PrivacyConfig(mode="aggregate_only"))
    enough = {"interval_s": 10.0, "suppressed": False, "faces": 7, "counts": {"happy": 5, "sad": 2, "fear": 0}}
    few = {"interval_s": 10.0, "suppressed": True, "faces": None, "counts": None}
    try:
        for camera_id, told in (("camera-01", enough), ("camera-02", few)):
            server.view.observe(accepted(EmotionAggregate.model_validate({**stamp(camera_id, 10.0), **told})))
        with browser.page(server.url) as shown:
            first = shown.page.get_by_role("article", name="Camera camera-01")
            expect(first.locator(".faces li")).to_have_text(["happy5", "sad2"])
            expect(first).to_contain_text("7 faces in 10 s")
            second = shown.page.get_by_role("article", name="Camera camera-02")
            expect(second).to_contain_text("fewer faces than the smallest group")
            expect(second.locator(".faces li")).to_have_count(0)
            expect(shown.page.locator("#moods li")).to_have_text(["happy5 · 71 %", "sad2 · 29 %"])
            expect(shown.page.locator("canvas")).to_have_count(0)
            assert shown.faults() == []
            assert shown.errors == []
    finally:
        server.stop()
