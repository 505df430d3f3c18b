"""Cameras to try things with, as a container runs them: with nothing at standard input."""

from __future__ import annotations

import signal
import subprocess
import sys

import av
import pytest

from stream.bench.sample_cameras import ADDRESS, main
from stream.demo import FRAME_PX, SCENES

OPTIONS = {"rtsp_transport": "tcp", "fpsprobesize": "0"}
COMMAND = (sys.executable, "-m", "stream.bench.sample_cameras")


def test_each_scene_is_a_camera_until_it_is_told_to_end() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=pipe, text=True) as server:
        try:
            assert server.stdout is not None
            urls = [server.stdout.readline().strip() for _ in SCENES]
            assert [url.rpartition("/")[2] for url in urls] == [scene.name for scene in SCENES]
            pictures = set()
            for url in urls[:2]:
                with av.open(url, options=OPTIONS, timeout=10) as container:
                    picture = next(container.decode(video=0))
                    assert (picture.width, picture.height) == FRAME_PX
                    pictures.add(picture.to_ndarray().tobytes())
            assert len(pictures) == 2
            with pytest.raises(av.error.HTTPNotFoundError):
                av.open(urls[0] + "er", options=OPTIONS, timeout=10)
            server.send_signal(signal.SIGTERM)
            assert server.wait(10) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "8554", ":8554", "127.0.0.1:"])
def test_an_address_that_is_none_is_one_sentence(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([address]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "", f"{address}: cannot listen there; give HOST:PORT, with a port that is free\n"
    )  # fmt: skip


def test_by_default_nobody_else_reaches_them() -> None:
    assert ADDRESS.startswith("127.0.0.1:")
