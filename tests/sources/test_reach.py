"""Whatever a server answers, no file of this machine is opened for it.

Playlists, lists, keys and redirections name a real file. Each names, as its control, one on the server, which plays.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.errors import SourceError, SourceInvalid
from tests import clips
from tests.contracts.source import connected
from tests.sources.http_server import Server, serving

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n{more}#EXTINF:2,\n{video}\n#EXT-X-ENDLIST\n"
KEY = '#EXT-X-KEY:METHOD=AES-128,URI="{video}"\n'
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\n{video}\n"
CONCATENATION = "ffconcat version 1.0\nfile '{video}'\n"
DESCRIPTION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={video}\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    clips.make_clip(tmp_path / "served" / "video.ts")
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A video that nobody gave to the server, beside its folder."""
    return clips.make_clip(tmp_path / "private.ts")


def frames_of(address: str) -> int:
    """How many come; 0 where it is refused."""
    with connected(address, open_timeout_s=10.0, read_timeout_s=10.0) as source:
        try:
            source.open()
        except SourceError:
            return 0
        return sum(1 for _ in source.frames())


def names_of(path: Path) -> list[str]:
    """Ways to write a file for FFmpeg."""
    return [
        f"file://{path}",
        f"file:{path}",
        str(path),
        f"../{path.name}",
        f"concat:{path}",
        f"crypto+file://{path}",
        f"crypto:{path}",
        f"cache:file:{path}",
        f"async:file:{path}",
        f"subfile,,start,0,end,0,,:{path}",
    ]


def test_a_playlist(served: Server, private: Path, tmp_path: Path) -> None:
    def answer(video: str, template: str = HLS) -> int:
        (tmp_path / "served" / "list.m3u8").write_text(template.format(video=video, more=""))
        return frames_of(served.url("list.m3u8"))

    assert answer("video.ts") == 50
    for name in names_of(private):
        assert answer(name) == 0, name
    (tmp_path / "served" / "inner.m3u8").write_text(HLS.format(video="video.ts", more=""))
    assert answer("inner.m3u8", MASTER) == 50
    private.with_suffix(".m3u8").write_text(HLS.format(video=private, more=""))
    for name in names_of(private.with_suffix(".m3u8")):
        assert answer(name, MASTER) == 0, name


def test_a_key(served: Server, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of an encrypted playlist is fetched as well."""
    monkeypatch.chdir(tmp_path)  # the muxer writes the key into the working directory
    key = b"0123456789abcdef"  # FFmpeg's muxer takes the text itself
    encrypted = {"hls_enc": "1", "hls_enc_key": key.decode(), "hls_enc_key_url": "key", "hls_time": "2"}
    path = clips.make_clip(tmp_path / "served" / "list.m3u8", options=encrypted)
    playlist = path.read_text()
    assert 'URI="key"' in playlist
    for keeper in (path.parent / "key", private):
        keeper.write_bytes(key)
    assert frames_of(served.url("list.m3u8")) == 50
    for name in names_of(private):
        path.write_text(playlist.replace('URI="key"', f'URI="{name}"'))
        assert frames_of(served.url("list.m3u8")) == 0, name


def test_a_list_of_files(served: Server, private: Path, tmp_path: Path) -> None:
    """FFmpeg's own format for them."""

    def answer(video: str) -> int:
        (tmp_path / "served" / "list").write_text(CONCATENATION.format(video=video))
        return frames_of(served.url("list"))

    assert answer("video.ts") == 50
    for name in names_of(private):
        assert answer(name) == 0, name


def test_a_redirection(served: Server, private: Path) -> None:
    assert frames_of(served.url(f"moved?{served.url('video.ts')}")) == 50
    for name in names_of(private):
        assert frames_of(served.url(f"moved?{name}")) == 0, name


def test_a_description_opens_no_port(served: Server, tmp_path: Path) -> None:
    """SDP over HTTP would make FFmpeg listen for packets from anybody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "served" / "list.sdp").write_text(DESCRIPTION.format(video="camera", port=port))
    with (
        connected(served.url("list.sdp"), open_timeout_s=10.0) as source,
        pytest.raises(SourceInvalid, match="no video"),
    ):
        source.open()


def test_a_camera_that_has_moved_into_a_file(private: Path) -> None:
    """RTSP has redirections of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def redirect() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as requests:
                for line in iter(requests.readline, b""):
                    if line == b"\r\n":
                        reply = f"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: file://{private}\r\n\r\n"
                        connection.sendall(reply.encode())

        thread = threading.Thread(target=redirect, name="redirecting")
        thread.start()
        assert frames_of(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live") == 0
        thread.join()
