"""`privacy.mode: aggregate_only` on the real command line: whatever a run leaves holds nothing of single faces."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import pytest
import redis
import yaml

from stream.events import EmotionAggregate
from tests.cli.conftest import Run, events_of
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

# words of events, logs and records that say something of one face
OF_A_FACE = re.compile(
    r"track|face \d|\bbox|landmark|probabilit|confidence|quality|dominant|luma|emotion\.(changed|sample)|arrived|left",
    re.IGNORECASE,
)
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"ftyp")  # how encoded ones begin


def assert_of_no_face(place: str, text: str | bytes) -> None:
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    found = OF_A_FACE.search(text)
    assert found is None, f"{place} says: ...{text[max(0, found.start() - 80) : found.end() + 80]}..."


def assert_no_picture(place: Path) -> None:
    content = place.read_bytes()
    assert not any(magic in content for magic in PICTURES), place


def everything_in(client: redis.Redis) -> list[tuple[str, str]]:
    """Each key of a Redis with all that it holds, whatever its type."""
    found = []
    for key in client.keys("*"):
        kind = client.type(key)
        held = {
            "stream": lambda key: client.xrange(key),
            "hash": lambda key: client.hgetall(key),
            "set": lambda key: client.smembers(key),
            "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            "string": lambda key: client.get(key),
            "list": lambda key: client.lrange(key, 0, -1),
        }[kind](key)
        found.append((key, repr((key, held))))
    return found


def written(folder: Path, min_group: int, outbox: Path) -> Path:
    path = folder / "private.yaml"
    privacy = {"mode": "aggregate_only", "min_group": min_group, "interval_s": 1.0, "purpose": "counting the hall"}
    path.write_text(
        yaml.safe_dump({"engine": {"backend": "onnxruntime"}, "privacy": privacy, "outbox": {"path": str(outbox)}})
    )
    return path


def check_everything(run: Run, clip: Path, min_group: int, server: RedisServer, folder: Path) -> list[EmotionAggregate]:
    """Run the clip, look at all that is left, and give the counts back."""
    kept = folder / "outbox" / "events.sqlite"
    config, out = written(folder, min_group, kept), folder / "events.jsonl"
    ended = run("run", f"hall={clip}", "--config", config, "--redis", server.url, "--out", out, "--debug")
    assert ended.code == 0, ended.err
    said = ended.err.replace(str(clip), "CLIP")
    assert "purpose: counting the hall" in said
    assert_of_no_face("stdout", ended.out)
    assert_of_no_face("stderr", said)
    assert_of_no_face("the JSON Lines file", out.read_bytes())
    with server.client() as client:
        held = everything_in(client)
    assert "emostream:events:{hall}" in dict(held)
    for place, text in held:
        assert_of_no_face(place, text)
    with contextlib.closing(sqlite3.connect(kept)) as outbox:
        assert outbox.execute("SELECT count(*) FROM event").fetchone() > (0,)
        assert outbox.execute("SELECT count(*) FROM track").fetchone() == (0,)
        outbox.execute("DROP TABLE track")  # its name is a word of faces, too
        outbox.execute("VACUUM")
    for file in [*kept.parent.iterdir(), *server.folder.rglob("*")]:
        if file.is_file():
            assert_of_no_face(str(file), file.read_bytes())
            assert_no_picture(file)
    watched = run("watch", "--redis", server.url, "--from", "start", "--idle", "0.3")
    assert "hall" in watched.out
    assert_of_no_face("watch", re.sub(r"^.*confidence.*$", "", watched.out, flags=re.M))  # the head of its table
    events = events_of(out)
    assert [event.seq for event in events] == list(range(len(events)))
    assert {event.type for event in events} == {"camera.status", "emotion.aggregate"}
    return [event for event in events if isinstance(event, EmotionAggregate)]


def test_a_group_is_told_as_counts(
    emostream: Run, two_faces_clip: Path, own_server: RedisServer, tmp_path: Path
) -> None:
    told = check_everything(emostream, two_faces_clip, 2, own_server, tmp_path)
    assert [(event.media_time_s, event.faces) for event in told] == [(1.0, 2), (pytest.approx(1.8, abs=0.2), 2)]
    assert all(event.counts is not None and sum(event.counts.values()) == 2 for event in told)


def test_a_smaller_group_and_an_empty_room_are_told_alike(
    emostream: Run, two_faces_clip: Path, own_server: RedisServer, tmp_path: Path
) -> None:
    told = check_everything(emostream, two_faces_clip, 3, own_server, tmp_path)
    assert [(event.suppressed, event.faces, event.counts) for event in told] == [(True, None, None)] * 2


def test_the_private_redis_and_the_answer(emostream: Run, two_faces_clip: Path, tmp_path: Path) -> None:
    config = written(tmp_path, 2, tmp_path / "unused")
    ended = emostream("run", two_faces_clip, "--config", config, "--hold", "0", "--json")
    assert ended.code == 0, ended.err
    assert set(json.loads(ended.out)["events"]) == {"camera.status", "emotion.aggregate"}
    kept = [file for file in (tmp_path / "xdg_state_home").rglob("*") if file.is_file()]
    assert any(b"emotion.aggregate" in file.read_bytes() for file in kept)  # its append-only file
    for file in kept:
        assert_of_no_face(str(file), file.read_bytes().replace(str(two_faces_clip).encode(), b""))


def test_its_settings_are_part_of_a_recordings_session(
    emostream: Run, two_faces_clip: Path, server: RedisServer, tmp_path: Path
) -> None:
    sessions, out = set(), tmp_path / "events.jsonl"
    for min_group in (2, 3):
        config = written(tmp_path, min_group, tmp_path / "events.sqlite")
        emostream("run", two_faces_clip, "--config", config, "--redis", server.url, "--out", out)
        sessions.add(events_of(out)[0].session)
    assert len(sessions) == 2


def test_the_same_search_finds_what_a_full_run_tells(emostream: Run, two_faces_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    ended = emostream("run", f"hall={two_faces_clip}", "--out", out, "--hold", "0")
    for text in (ended.out, out.read_text(), *out.read_text().splitlines()[2:-1]):
        with pytest.raises(AssertionError, match="says"):
            assert_of_no_face("a full run", text)


def test_a_preview_is_refused(emostream: Run, two_faces_clip: Path, tmp_path: Path) -> None:
    config = written(tmp_path, 2, tmp_path / "outbox.sqlite")
    config.write_text(config.read_text() + "web: {preview: boxes}\n")
    ended = emostream("run", two_faces_clip, "--config", config)
    assert (ended.code, ended.out) == (2, "")
    assert "web.preview: boxes shows single faces" in ended.sentence


@pytest.mark.shared
def test_four_people(emostream: Run, shared: Path, own_server: RedisServer, tmp_path: Path) -> None:
    clip = shared / "videos" / "four_faces_1080p25.mp4"
    told = check_everything(emostream, clip, 4, own_server, tmp_path)
    assert sum(not event.suppressed for event in told) > len(told) / 2
    assert all(event.faces >= 4 for event in told if event.faces is not None)
