"""Headless Chromium, as Debian packages it: pages that tell what went wrong in them, and how fast they draw."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api

from tests.waiting import wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = (1280, 900), (375, 812)  # pixels
FRAMES = """seconds => new Promise(done => {
    const gaps = []; let last = performance.now(); const end = last + 1000 * seconds;
    const next = now => { gaps.push(now - last); last = now; now < end ? requestAnimationFrame(next) : done(gaps); };
    requestAnimationFrame(next);
})"""
sync_api.expect.set_options(timeout=15_000)  # ms
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


@dataclass
class Page:
    """One page, and what its console said."""

    page: sync_api.Page
    errors: list[str] = field(default_factory=list)
    received: list[tuple[str, int]] = field(default_factory=list)  # URL and bytes on the line, per finished answer

    def faults(self) -> list[str]:
        """Serious and critical ones that axe-core finds."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{fault['id']}: {fault['help']} ({fault['nodes'][0]['html'][:200]})"
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]

    def gaps_ms(self, seconds: float) -> list[float]:
        """Between frames of the browser, for so long, in order."""
        gaps: list[float] = self.page.evaluate(FRAMES, seconds)
        return gaps

    def first_paint_ms(self) -> float:
        """First paint with content, from the beginning of the navigation."""
        self.until(FIRST_PAINT)
        return float(self.page.evaluate(FIRST_PAINT))

    def until(self, expression: str) -> None:
        """Returns once this is true in the page. Playwright's own way to wait needs `eval`, which the page forbids."""
        wait_until(lambda: self.page.evaluate(expression))


class Browser:
    """Makes pages that share nothing."""

    def __init__(self, chromium: sync_api.Browser) -> None:
        self._chromium = chromium

    @contextmanager
    def page(self, url: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[Page]:
        """The page at this address; the next lines may find it still empty."""
        width, height = size
        context = self._chromium.new_context(viewport={"width": width, "height": height}, **options)
        try:
            shown = Page(context.new_page())
            shown.page.on("console", lambda said: shown.errors.append(said.text) if said.type == "error" else None)
            shown.page.on("pageerror", lambda error: shown.errors.append(str(error)))
            shown.page.on("requestfinished", lambda asked: shown.received.append(_size(asked)))
            shown.page.goto(url, wait_until="commit")  # the stream of events never ends, so nothing is ever idle
            yield shown
        finally:
            context.close()


@contextmanager
def opened() -> Iterator[Browser | None]:
    """A browser, or None where this machine has none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        yield None
        return
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path)
        try:
            yield Browser(chromium)
        finally:
            chromium.close()


def _size(asked: sync_api.Request) -> tuple[str, int]:
    sizes = asked.sizes()
    return asked.url, sizes["responseBodySize"] + sizes["responseHeadersSize"]
