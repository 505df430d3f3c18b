"""Clips that only tests of sources need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import clips


@pytest.fixture(scope="session")
def b_frames_clip(clip_folder: Path) -> Path:
    """The face clip, coded with frames that are shown in another order than they are sent."""
    return clips.make_clip(clip_folder / "b_frames.mp4", b_frames=2)


@pytest.fixture(scope="session")
def matroska_clip(clip_folder: Path) -> Path:
    """The face clip in Matroska: times rounded to milliseconds, readable without seeking."""
    return clips.make_clip(clip_folder / "face.mkv")


@pytest.fixture(scope="session")
def playlist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An HLS recording: the face clip in two MPEG-TS segments of a second each."""
    folder = tmp_path_factory.mktemp("hls")
    return clips.make_clip(
        folder / "face.m3u8",
        options={"hls_time": "1", "hls_list_size": "0", "hls_playlist_type": "vod", "hls_segment_type": "mpegts"},
    )


@pytest.fixture
def live_playlist(playlist: Path, tmp_path: Path) -> Path:
    """The same segments as a camera lists them: more may come."""
    for part in playlist.parent.glob("*.ts"):
        (tmp_path / part.name).write_bytes(part.read_bytes())
    ended = ("#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE")
    lines = [line for line in playlist.read_text().splitlines() if not line.startswith(ended)]
    (tmp_path / playlist.name).write_text("\n".join(lines) + "\n")
    return tmp_path / playlist.name
