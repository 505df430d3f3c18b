"""A download is whole and right, or it is not there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.download import fetch
from engines.errors import ModelInvalid, ModelMissing
from tests.engines.file_server import BODY, SHA256, FileServer, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")  # this server is here
    with serving() as server:
        yield server


@pytest.mark.parametrize("path", ["/file", "/unsized"])
def test_the_right_file_appears(server: FileServer, tmp_path: Path, path: str) -> None:
    target = tmp_path / "new" / "model.onnx"
    fetch(server.at(path), target, SHA256)
    assert target.read_bytes() == BODY
    assert os.listdir(target.parent) == ["model.onnx"]


def test_it_takes_the_place_of_an_older_one(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"older")
    fetch(server.at("/file"), target, SHA256)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/nowhere", ModelMissing, "answered 404 Not Found"),
        ("/cut", ModelMissing, f"broke off after {len(BODY) // 2} of {len(BODY)} bytes"),
        ("/silent", ModelMissing, r"did not answer within 0\.2 s"),
    ],
)
def test_what_cannot_be_had_is_told_and_leaves_nothing(
    server: FileServer, tmp_path: Path, path: str, error: type[Exception], words: str
) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"older")
    with pytest.raises(error, match=words):
        fetch(server.at(path), target, SHA256, timeout_s=0.2 if path == "/silent" else 5.0)
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert target.read_bytes() == b"older"


def test_a_file_with_another_hash_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=f"{SHA256[:12]}.*expected {'0' * 12}"):
        fetch(server.at("/file"), tmp_path / "model.onnx", "0" * 64)
    assert os.listdir(tmp_path) == []


def test_a_file_that_does_not_end_is_cut(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="more than 100000 bytes"):
        fetch(server.at("/unsized"), tmp_path / "model.onnx", SHA256, max_bytes=100_000)
    with pytest.raises(ModelMissing, match="still sending"):
        fetch(server.at("/file"), tmp_path / "model.onnx", SHA256, total_s=0.0)
    assert os.listdir(tmp_path) == []


def test_nobody_there_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as bound:  # a port that is taken, but not listened on
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ModelMissing, match="cannot be reached"):
            fetch(f"http://127.0.0.1:{bound.getsockname()[1]}/file", tmp_path / "model.onnx", SHA256)


def test_only_web_addresses_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    with pytest.raises(ModelInvalid, match="only http and https"):
        fetch((tmp_path / "file").as_uri(), tmp_path / "model.onnx", SHA256)


def test_a_folder_that_cannot_be_made_is_told(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_bytes(b"")
    with pytest.raises(ModelMissing, match="cannot be written"):
        fetch(server.at("/file"), tmp_path / "in_the_way" / "model.onnx", SHA256)


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_the_bar_is_for_people_and_on_stderr(
    server: FileServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    progress: bool | None,
    shown: bool,
) -> None:
    fetch(server.at("/file"), tmp_path / "model.onnx", SHA256, progress=progress)
    told = capsys.readouterr()
    assert told.out == ""
    assert ("fetching file" in told.err) is shown
