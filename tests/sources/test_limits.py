"""What a stream claims of itself costs no memory: too large a picture is refused before it is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.http_server import serving
from tests.sources.oversized import MAKERS
from tests.sources.reader import Answer, Reader

LIMIT_S = 10.0
ORDINARY_MB = 120.0  # a reader with all its libraries
MOST_MB = 150.0  # above it: a picture of 16,000 x 16,000 has 384 MB, and decoders want several


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as reader:
        yield reader


@pytest.mark.parametrize("px", [16_000, 30_000])  # FFmpeg itself allows the first
@pytest.mark.parametrize("name", MAKERS)
def test_too_large_a_picture(name: str, px: int, reader: Reader, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / name, px)
    answer = reader.ask(str(path), LIMIT_S)
    assert isinstance(answer, Answer), answer
    assert answer.frames == 0
    assert answer.error is not None
    assert answer.error.startswith(f"SourceInvalid: {path}: ")
    assert "larger than max_frame_px, 8192" in answer.error
    assert answer.peak_mb < ORDINARY_MB + MOST_MB


def test_too_large_a_picture_over_http(reader: Reader, tmp_path: Path) -> None:
    """A live source decodes on several threads, and each might allocate."""
    MAKERS["h264.ts"](tmp_path / "h264.ts", 16_000)
    with serving(tmp_path) as server:
        answer = reader.ask(server.url("h264.ts"), LIMIT_S)
    assert isinstance(answer, Answer), answer
    assert "larger than max_frame_px, 8192" in (answer.error or "")
    assert answer.peak_mb < ORDINARY_MB + MOST_MB
