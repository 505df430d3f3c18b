"""Sessions: equal for equal recordings, and found out without delaying a stop."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stream.sessions import CHUNK_BYTES, DIGITS, live_session, recording_session


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two chunks and a bit."""
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end")
    return path


def test_live_ones_differ() -> None:
    assert live_session() != live_session()
    assert len(live_session()) == DIGITS


def test_equal_recordings_have_equal_sessions(recording: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(recording.read_bytes())
    assert recording_session(recording, ["a", "b"]) == recording_session(copy, ["a", "b"])


def test_the_whole_content_and_every_text_decide(recording: Path) -> None:
    texts = (["a", "b"], ["ab"], ["b", "a"], ["a"], [])
    found = {recording_session(recording, each) for each in texts}
    recording.write_bytes(recording.read_bytes()[:-1] + b"!")
    found.add(recording_session(recording, ["a", "b"]))
    assert len(found) == len(texts) + 1


def test_it_is_the_digest_of_the_digests(recording: Path) -> None:
    parts = (recording.read_bytes(), b"a")
    expected = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    assert recording_session(recording, ["a"]) == expected[:DIGITS]


@pytest.mark.parametrize("name", ["missing.mp4", "nul\0byte.mp4"])
def test_what_cannot_be_read_has_one_too(tmp_path: Path, name: str) -> None:
    assert len(recording_session(tmp_path / name, ["a"])) == DIGITS


def test_no_file_is_decided_by_the_texts() -> None:
    assert recording_session(None, ["a"]) == recording_session(None, ["a"]) != recording_session(None, ["b"])


def test_a_stop_is_seen_between_two_chunks(recording: Path) -> None:
    answers = iter([False, True])  # asked a third time it would raise
    stopped = recording_session(recording, [], lambda: next(answers))
    assert len(stopped) == DIGITS
    assert stopped != recording_session(recording, [], lambda: False)


def test_a_stopped_one_is_never_repeated(recording: Path) -> None:
    assert recording_session(recording, [], lambda: True) != recording_session(recording, [], lambda: True)
