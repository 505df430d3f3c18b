"""`[NAME=]SOURCE` as people type it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream.arguments import cameras
from stream.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lobby=rtsp://10.0.0.5/live"], [("lobby", "rtsp://10.0.0.5/live")]),
        (["clips/My Door.MP4"], [("my-door", "clips/My Door.MP4")]),
        (["rtsp://u:secret@host/a", "0", "http://host/lobby.m3u8"], [("cam1", None), ("cam2", "0"), ("cam3", None)]),
        (["a/x.mp4", "b/x.mp4", "x-2=c.mp4"], [("x", "a/x.mp4"), ("x-3", "b/x.mp4"), ("x-2", "c.mp4")]),
        (["rtsp://host/live?channel=1"], [("cam1", "rtsp://host/live?channel=1")]),
        (["---.mp4"], [("cam1", "---.mp4")]),
        (["folder/a=b.mp4"], [("a-b", "folder/a=b.mp4")]),
    ],
)
def test_names(arguments: list[str], expected: list[tuple[str, str | None]]) -> None:
    entries = cameras(arguments)
    assert [entry["name"] for entry in entries] == [name for name, _ in expected]
    for entry, (_, source) in zip(entries, expected, strict=True):
        assert source is None or entry["source"] == source


def test_a_name_that_no_camera_may_have() -> None:
    with pytest.raises(
        ConfigError, match=r"^'Front Door' is no camera name: .*\(in Front Door=rtsp://\*\*\*@host/x\)$"
    ):
        cameras(["Front Door=rtsp://u:secret@host/x"])


def test_a_file_whose_name_holds_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Take=2.mp4").touch()
    assert cameras(["Take=2.mp4"]) == [{"name": "take-2", "source": "Take=2.mp4"}]


def test_a_secret_disappears_from_the_process_title() -> None:
    code = (
        "from pathlib import Path; from stream.proctitle import wipe;"
        "assert wipe('rtsp://u:secret@host'); print(Path('/proc/self/cmdline').read_bytes())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "rtsp://u:secret@host/x"], capture_output=True, text=True, check=True
    ).stdout
    assert "secret" not in shown
    assert "********************/x" in shown
