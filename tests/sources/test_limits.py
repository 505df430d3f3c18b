"""What a stream claims of itself costs no memory: too large a picture is refused before it is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clips
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


def test_a_stream_that_appears_on_the_way(reader: Reader, tmp_path: Path) -> None:
    """FLV tells no list of its streams, and FFmpeg looks only at the first seconds: PyAV stumbles at the end."""
    path = clips.make_clip(tmp_path / "late.flv", seconds=8.0, size=(64, 64))
    content = bytearray(path.read_bytes())
    content[4] = 1  # this file has video, and no sound
    sound = b"\x2f\x00" * 20
    tag = b"\x08" + len(sound).to_bytes(3, "big") + (8000).to_bytes(3, "big") + bytes(4) + sound
    path.write_bytes(content + tag + len(tag).to_bytes(4, "big"))
    answer = reader.ask(str(path), LIMIT_S)
    assert isinstance(answer, Answer), answer
    assert (answer.frames, answer.error) == (200, None)
