"""The source contract, for every kind that can be had without hardware."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import clips
from tests.contracts.source import Connect, SourceContract, connected
from tests.rtsp_server import Behaviour, RtspServer
from tests.sources.http_server import serving


class TestFile(SourceContract):
    @pytest.fixture
    def connect(self, face_clip: Path) -> Connect:
        return partial(connected, str(face_clip))


class TestFileWithReordering(SourceContract):
    @pytest.fixture
    def connect(self, b_frames_clip: Path) -> Connect:
        return partial(connected, str(b_frames_clip))


class TestRtsp(SourceContract):
    @pytest.fixture
    def connect(self, face_clip: Path) -> Iterator[Connect]:
        with RtspServer({"camera": Behaviour(face_clip, recording=True)}) as server:
            yield partial(connected, server.url("camera"))


class TestHttp(SourceContract):
    @pytest.fixture
    def connect(self, matroska_clip: Path) -> Iterator[Connect]:
        with serving(matroska_clip.parent) as server:
            yield partial(connected, server.url(matroska_clip.name))


class TestHls(SourceContract):
    @pytest.fixture
    def connect(self, playlist: Path) -> Iterator[Connect]:
        with serving(playlist.parent) as server:
            yield partial(connected, server.url(playlist.name))


class TestSynthetic(SourceContract):
    @pytest.fixture
    def connect(self) -> Connect:
        return partial(connected, "synthetic:320x240@25?seconds=2")


def test_the_clips_hold_what_the_contract_says() -> None:
    assert (SourceContract.count, SourceContract.interval_s) == (50, 1 / 25)
    assert len(clips.pictures(2.0, 25.0, (32, 24), [])) == SourceContract.count
