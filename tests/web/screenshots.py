"""The pictures of the live page for the README: `python -m tests.web.screenshots` runs the demo's clips and looks.

They are taken of the real page over the real models, on a desktop and on a phone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from stream.demo import make_clips
from tests.cli.conftest import process
from tests.web.browser import DESKTOP, PHONE, Browser, opened
from tests.web.test_browser import address_of

FOLDER = Path(__file__).parents[2] / "deploy" / "screenshots"
LOOKS = {"desktop": (DESKTOP, "light"), "phone": (PHONE, "dark")}
SEEN_POINTS = 17  # of a timeline, one a second: of 20 seconds of a clip
READY = f"[...document.querySelectorAll('canvas')].some(each => each.dataset.points >= {SEEN_POINTS})"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, opened() as browser:
        if browser is None:
            sys.exit("screenshots: no Chromium is here; `apt-get install chromium` brings it")
        folder = Path(name)
        cameras = [{"name": clip.stem.replace("_", "-"), "source": str(clip)} for clip in make_clips(folder)]
        config = folder / "page.yaml"
        settings = {"privacy": {"purpose": "a demonstration on one public-domain portrait"}, "cameras": cameras}
        config.write_text(yaml.safe_dump({**settings, "source": {"realtime": True}}))
        with process("run", "--config", config, "--http", "127.0.0.1:0", "--hold", "0") as worker:
            _look(browser, worker)


def _look(browser: Browser, worker: subprocess.Popen[str]) -> None:
    url = address_of(worker)
    for name, (size, scheme) in LOOKS.items():
        with browser.page(url, size, color_scheme=scheme) as shown:
            shown.until(READY)
            shown.page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
