"""The report in a real browser: nothing is loaded, nothing runs, and axe-core finds no serious fault in it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

import pytest

from stream.events import CameraStatus, EmotionChanged
from stream.report import fold, write
from tests.makers import moment
from tests.report.test_report import EVIL, life, numbered, recorded, told
from tests.web.browser import DESKTOP, PHONE, Browser


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Two cameras; one tells what would be a script if it were let."""
    hostile = [
        CameraStatus(**moment("hall"), status="offline", reason=EVIL),
        told(EmotionChanged, EVIL, 3.0, previous="uncertain", camera_id="hall", session=EVIL),
    ]
    recording = fold(recorded(tmp_path / "e.jsonl", [*life(), *numbered(hostile)]))
    write(recording, tmp_path / "e.jsonl", tmp_path / "e.html")
    return tmp_path / "e.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_readable_and_harmless(
    browser: Browser, report: Path, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    with browser.page(report.as_uri(), size, color_scheme=scheme) as shown:
        shown.page.wait_for_load_state("load")
        assert shown.page.locator("h2").all_inner_texts() == ["lobby", "hall", "hall, part 2"]
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert [url for url, _ in shown.received if not url.startswith("file:")] == []
        assert shown.errors == []
        assert shown.faults() == []


def test_a_table_is_downloaded(browser: Browser, report: Path, tmp_path: Path) -> None:
    with browser.page(report.as_uri()) as shown:
        with shown.page.expect_download() as coming:
            shown.page.get_by_role("link", name="samples as CSV").click()
        coming.value.save_as(tmp_path / "samples.csv.gz")
        assert coming.value.suggested_filename == "e-samples.csv.gz"
    assert gzip.decompress((tmp_path / "samples.csv.gz").read_bytes()).startswith(b"camera,part,face,time_s")
