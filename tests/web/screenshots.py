"""The pictures of the live page for the README: `python -m tests.web.screenshots [CLIP...]` plays clips and looks.

They are taken of the real page, on a desktop and on a phone, over the real models and cameras that speak RTSP. Without
clips it takes those of the demo.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import yaml

from stream.demo import make_clips
from tests.cli.conftest import process
from tests.rtsp_server import Behaviour, RtspServer
from tests.web.browser import DESKTOP, PHONE, Browser, opened
from tests.web.test_browser import address_of

FOLDER = Path(__file__).parents[2] / "deploy" / "screenshots"
LOOKS = {"desktop": (DESKTOP, "light"), "phone": (PHONE, "dark")}
SEEN_POINTS = 45  # of a timeline, about one a second
READY = f"[...document.querySelectorAll('canvas')].some(each => each.dataset.points >= {SEEN_POINTS})"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, opened() as browser:
        if browser is None:
            sys.exit("screenshots: no Chromium is here; `apt-get install chromium` brings it")
        folder = Path(name)
        given = [Path(argument) for argument in sys.argv[1:]]
        clips = {clip.stem: clip for clip in given or make_clips(folder)}
        config = folder / "page.yaml"
        config.write_text(yaml.safe_dump({"privacy": {"purpose": "a demonstration"}}))
        with RtspServer({name: Behaviour(path=clip, speed=1.0, loop=True) for name, clip in clips.items()}) as rtsp:
            cameras = [f"{name}={rtsp.url(name)}" for name in clips]
            with process("run", *cameras, "--config", config, "--http", "127.0.0.1:0") as worker:
                _look(browser, worker)


def _look(browser: Browser, worker: subprocess.Popen[str]) -> None:
    url = address_of(worker)
    with ExitStack() as stack:
        pages = {
            name: stack.enter_context(browser.page(url, size, color_scheme=scheme))
            for name, (size, scheme) in LOOKS.items()
        }
        for name, shown in pages.items():
            shown.until(READY)
            shown.page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
