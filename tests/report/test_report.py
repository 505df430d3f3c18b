"""`emostream report`: what a recording is folded into, and the page that is made of it."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stream.events import (
    AnyEvent,
    CameraStatus,
    EmotionAggregate,
    EmotionChanged,
    EmotionSample,
    Gap,
    SeqRange,
    TimeRange,
    TrackEnded,
    TrackStarted,
)
from stream.report import Recording, fold, write
from tests.cli.conftest import Run, World
from tests.makers import moment
from tests.redis_server import RedisServer

BOX = (0.1, 0.1, 0.2, 0.3)


def told(kind: type[EmotionChanged] | type[EmotionSample], emotion: str, at_s: float, **other: object) -> AnyEvent:
    fields = {"track_id": 1, "probabilities": {}, "confidence": 0.8, "quality": 0.9, "box": BOX}
    return kind(**{**moment("lobby", at_s), **fields, "emotion": emotion, **other})


def life(camera_id: str = "lobby", session: str = "s", captured_at: datetime | None = None) -> list[AnyEvent]:
    """A face from 1 s to 11 s: 2 s uncertain, 5 s sad, 3 s happy; then a jump."""
    head = {"session": session, "camera_id": camera_id, "captured_at": captured_at}
    events: list[AnyEvent] = [
        CameraStatus(**{**moment(), **head}, status="live", analyse_hz=5.0, models={"emotion": "m<1>"}),
        TrackStarted(**{**moment(media_time_s=1.0), **head}, track_id=1, box=BOX),
        told(EmotionChanged, "sad", 3.0, previous="uncertain", **head),
        told(EmotionSample, "sad", 4.0, **head),
        told(EmotionChanged, "happy", 8.0, previous="sad", **head),
        TrackEnded(
            **{**moment(media_time_s=12.0), **head},
            track_id=1,
            reason="left",
            duration_s=10.0,
            dominant="sad",
            shares={"uncertain": 0.2, "sad": 0.5, "happy": 0.3, "fear": 0.0},
            frames_seen=50,
            frames_used=40,
        ),
        Gap(**{**moment(media_time_s=30.0), **head}, reason="stream_jumped", ranges=(TimeRange(from_s=12.0, to_s=30),)),
    ]
    return numbered(events)


def numbered(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    return [event.model_copy(update={"seq": seq}) for seq, event in enumerate(events)]


def recorded(path: Path, events: Iterable[AnyEvent], end: str = "") -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(event.to_json() + "\n" for event in events)
        file.write(end)
    return path


class Page(HTMLParser):
    """A page as a browser takes it: texts, attributes, downloads; every tag that is opened is known."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.downloads: dict[str, bytes] = {}
        self._in_row = False
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
            self._in_row = True
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "a":
            found = dict(attrs)
            _, _, coded = (found["href"] or "").partition(";base64,")
            self.downloads[found["download"] or ""] = base64.b64decode(coded)

    def handle_endtag(self, tag: str) -> None:
        self._in_row = self._in_row and tag not in ("tr", "table")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_row and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture
def made(tmp_path: Path) -> tuple[Recording, Page]:
    """One life as a report."""
    recording = fold(recorded(tmp_path / "e.jsonl", life()))
    write(recording, tmp_path / "e.jsonl", tmp_path / "e.html")
    return recording, Page(tmp_path / "e.html")


class TestFold:
    def test_a_face_is_cut_where_its_emotion_changes(self, made: tuple[Recording, Page]) -> None:
        (part,) = made[0].parts
        (track,) = part.tracks
        stretches = [(each.emotion, each.from_s, each.to_s) for each in track.stretches]
        assert stretches == [("uncertain", 1.0, 3.0), ("sad", 3.0, 8.0), ("happy", 8.0, 11.0)]
        assert (track.ended, track.dominant, track.duration_s) == ("left", "sad", 10.0)
        assert part.seconds == pytest.approx({"sad": 5.0, "happy": 3.0, "uncertain": 2.0})
        assert part.transitions == {("uncertain", "sad"): 1, ("sad", "happy"): 1}
        assert [(each.what, each.detail) for each in part.happenings] == [
            ("live", ""),
            ("gap", "stream_jumped: 12.0 s to 30.0 s"),
        ]

    def test_a_face_whose_end_is_not_recorded_has_the_shares_that_were_seen(self, tmp_path: Path) -> None:
        (part,) = fold(recorded(tmp_path / "e.jsonl", life()[:5])).parts
        assert part.tracks[0].ended is None
        assert part.tracks[0].shares == pytest.approx({"sad": 5 / 7, "uncertain": 2 / 7})

    def test_a_face_whose_beginning_is_not_recorded_begins_where_its_end_says(self, tmp_path: Path) -> None:
        (track,) = fold(recorded(tmp_path / "e.jsonl", life()[5:])).parts[0].tracks
        assert (track.from_s, track.to_s) == (2.0, 12.0)

    def test_the_same_run_twice_in_a_file_is_two_parts(self, tmp_path: Path) -> None:
        recording = fold(recorded(tmp_path / "e.jsonl", [*life(), *life(), *life(session="another"), *life("desk")]))
        assert [(part.camera_id, part.number) for part in recording.parts] == [
            ("lobby", 1),
            ("lobby", 2),
            ("lobby", 3),
            ("desk", 1),
        ]
        assert all(len(part.tracks) == 1 for part in recording.parts)

    def test_a_last_line_that_is_cut_off_is_left_out_and_told(self, tmp_path: Path) -> None:
        recording = fold(recorded(tmp_path / "e.jsonl", life(), end=life()[0].to_json()[:50]))
        assert recording.events == 7
        (sentence,) = recording.sentences()
        assert "last line is cut off" in sentence

    def test_damage_in_the_middle_and_what_is_not_known_is_counted(self, tmp_path: Path) -> None:
        path = recorded(
            tmp_path / "e.jsonl", life(), end='{"schema": "emo\n\n\udcff\n'.encode(errors="replace").decode()
        )
        newer = json.loads(life()[0].to_json()) | {"type": "face.seen"}
        far = json.loads(life()[0].to_json()) | {"media_time_s": 1e300}
        with path.open("a") as file:
            file.write(f"{json.dumps(newer)}\n{json.dumps(far)}\n{life('desk')[0].to_json()}\n")
        recording = fold(path)
        assert (recording.events, recording.unknown, recording.damaged) == (8, 1, [8, 10, 12])
        assert any("first is line 8" in sentence for sentence in recording.sentences())


class TestPage:
    def test_it_says_in_words_what_its_pictures_show(self, made: tuple[Recording, Page]) -> None:
        page = made[1]
        assert ["Camera", "Face time", "happy", "sad", "uncertain"] in page.rows
        assert ["lobby", "0:10.0", "30%", "50%", "20%"] in page.rows
        assert ["sad", "1", "", ""] in page.rows  # what followed sad
        face = next(row for row in page.rows if row[0] == "1")
        assert face[1:6] == ["0:01.0", "0:11.0", "10.0", "sad", "sad 50%, happy 30%, uncertain 20%"]
        assert face[6].startswith("0:01.0 uncertain · 0:03.0 sad · 0:08.0 happy")
        assert ["0:30.0", "gap", "stream_jumped: 12.0 s to 30.0 s"] in page.rows

    def test_groups_are_told_where_nothing_of_single_faces_is(self, tmp_path: Path) -> None:
        interval = {"interval_s": 10.0, "suppressed": False}
        events: list[AnyEvent] = [
            CameraStatus(**moment("lobby"), status="live"),
            EmotionAggregate(**moment("lobby", 10.0), **interval, faces=6, counts={"sad": 1, "fear": 0, "happy": 5}),
            EmotionAggregate(**moment("lobby", 20.0), interval_s=10.0, suppressed=True, faces=None, counts=None),
        ]
        recording = fold(recorded(tmp_path / "e.jsonl", numbered(events)))
        write(recording, tmp_path / "e.jsonl", tmp_path / "e.html")
        rows = Page(tmp_path / "e.html").rows
        assert ["0:10.0", "group", "within 10 s 6 faces: happy 5, sad 1"] in rows
        assert ["0:20.0", "group", "within 10 s no group that may be told"] in rows

    def test_its_tables_can_be_downloaded(self, made: tuple[Recording, Page]) -> None:
        downloads = made[1].downloads
        (track,) = csv.DictReader(io.StringIO(downloads["e-tracks.csv"].decode()))
        assert (track["camera"], track["from_s"], track["mostly"], track["sad"]) == ("lobby", "1.00", "sad", "0.5000")
        samples = list(csv.DictReader(io.StringIO(gzip.decompress(downloads["e-samples.csv.gz"]).decode())))
        assert [(row["time_s"], row["event"], row["emotion"], row["confidence"]) for row in samples] == [
            ("3.00", "changed", "sad", "0.80"),
            ("4.00", "sample", "sad", "0.80"),
            ("8.00", "changed", "happy", "0.80"),
        ]

    def test_it_loads_and_runs_nothing(self, made: tuple[Recording, Page]) -> None:
        page = made[1]
        assert set(page.tags) & {"script", "link", "img", "iframe", "object", "embed", "base", "form"} == set()
        addresses = [value for _, name, value in page.attributes if name in ("href", "src", "action", "xlink:href")]
        assert len(addresses) == 2
        assert all(address.startswith("data:") for address in addresses)
        policy = next(value for _, name, value in page.attributes if name == "content")
        assert policy == "default-src 'none'; style-src 'unsafe-inline'"

    def test_pictures_have_names_and_tables_have_heads(self, made: tuple[Recording, Page]) -> None:
        page = made[1]
        pictures = page.tags.count("svg")
        named = sum((tag, name) in (("svg", "aria-label"), ("svg", "aria-hidden")) for tag, name, _ in page.attributes)
        assert pictures == named > 3
        assert page.tags.count("table") == page.tags.count("caption") == 4
        assert ("html", "lang", "en") in page.attributes

    def test_when_a_recording_began_is_told(self, tmp_path: Path) -> None:
        events = life(captured_at=datetime(2026, 11, 27, 8, 0, tzinfo=UTC))
        recording = fold(recorded(tmp_path / "e.jsonl", events))
        write(recording, tmp_path / "e.jsonl", tmp_path / "e.html")
        assert "from 2026-11-27 08:00:00 UTC, 0:30.0 long, 1 face, 1 gap" in Page(tmp_path / "e.html").text


EVIL = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='alert(3)\x1b[2J"


def test_nothing_in_a_recording_becomes_part_of_the_page(tmp_path: Path, made: tuple[Recording, Page]) -> None:
    head = {**moment("lobby"), "session": EVIL}
    events: list[AnyEvent] = [
        CameraStatus(**head, status="offline", reason=EVIL),
        CameraStatus(**head, status="live", models={EVIL: EVIL}),
        TrackStarted(**head, track_id=1, box=BOX),
        told(EmotionChanged, EVIL, 3.0, previous=EVIL, session=EVIL),
        told(EmotionChanged, "=cmd()", 4.0, previous=EVIL, session=EVIL),
        TrackEnded(
            **{**head, "media_time_s": 9.0}, track_id=1, reason="left", duration_s=9.0,
            dominant=EVIL, shares={EVIL: 1.0}, frames_seen=1, frames_used=1,
        ),
        Gap(**head, reason="trimmed", ranges=(SeqRange(first_seq=1, last_seq=2),)),
    ]  # fmt: skip
    hostile = json.dumps(json.loads(life()[0].to_json()) | {"camera_id": EVIL})  # no camera can be called so
    name = "<script>alert(1)<b onload=alert(2)>.jsonl"
    recording = fold(recorded(tmp_path / name, numbered(events), end=hostile + "\n"))
    assert recording.damaged == [8]
    write(recording, tmp_path / name, tmp_path / "evil.html")
    page, tame = Page(tmp_path / "evil.html"), made[1]
    assert set(page.tags) <= set(tame.tags)
    assert {(tag, attribute) for tag, attribute, _ in page.attributes} <= {(t, a) for t, a, _ in tame.attributes}
    assert page.text.count("<script>alert(1)</script>") > 5  # shown as the text that it is
    assert "\x1b" not in (tmp_path / "evil.html").read_text()
    assert "'=cmd()" in gzip.decompress(next(v for k, v in page.downloads.items() if k.endswith("gz"))).decode()


def hour(camera_id: str, seconds: int) -> Iterator[AnyEvent]:
    """Two faces at a time, each 40 s long, an emotion every 5 s: sampled once a second."""
    moods = ("happy", "sad", "neutral", "surprise", "angry")
    seq = 0
    for second in range(seconds):
        for place in range(2):
            head = {**moment(camera_id, second + place / 7), "captured_at": datetime.fromtimestamp(1.7e9 + second, UTC)}
            face = second // 40 * 2 + place + 1
            emotion, before = moods[(second // 5 + face) % 5], moods[(second // 5 + face - 1) % 5]
            fields = {"track_id": face, "probabilities": dict.fromkeys(moods, 0.2), "quality": 0.5, "box": BOX}
            fields |= {"emotion": emotion, "confidence": (second * 37 % 100) / 100}
            yield EmotionSample(**head, **fields, seq=(seq := seq + 1))
            if second % 5 == 0:
                yield EmotionChanged(**head, **fields, previous=before, seq=(seq := seq + 1))
            if second % 40 == 39:
                summary = {"reason": "left", "duration_s": 39.0, "shares": dict.fromkeys(moods, 0.2)}
                summary |= {"dominant": emotion, "frames_seen": 195, "frames_used": 190}
                yield TrackEnded(**head, **summary, track_id=face, seq=(seq := seq + 1))


def test_an_hour_of_four_cameras_is_a_page_under_a_megabyte(tmp_path: Path) -> None:
    path = recorded(tmp_path / "hour.jsonl", (e for camera in "abcd" for e in hour(camera, 3600)))
    tracemalloc.start()
    recording = fold(path)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(part.tracks) for part in recording.parts) == 720
    assert most_bytes < path.stat().st_size / 2  # stretches and what is packed, not the events
    assert write(recording, path, tmp_path / "hour.html") < 1_000_000
    assert recording.sentences() == []


def test_a_page_that_has_no_room_says_what_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.report.recording.MOST_SAMPLES_BYTES", 1000)
    monkeypatch.setattr("stream.report.page.MOST_ROWS", 3)
    monkeypatch.setattr("stream.report.page.MOST_STRETCHES", 40)
    recording = fold(recorded(tmp_path / "e.jsonl", hour("a", 2000)))
    write(recording, tmp_path / "e.jsonl", tmp_path / "e.html")
    page = Page(tmp_path / "e.html")
    assert "97 more faces in the CSV of faces only" in page.text
    assert "had no room in this picture" in page.text
    assert recording.samples + recording.samples_left_out == 4800
    assert f"the first {recording.samples}; {recording.samples_left_out} later ones" in page.text


class TestCommand:
    @pytest.mark.redis
    def test_a_run_becomes_a_page(self, emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
        events = tmp_path / "events.jsonl"
        emostream("run", world.moody, "--config", world.config, "--redis", server.url, "--out", events)
        ended = emostream("report", events, "--json")
        assert ended.code == 0, ended.err
        answer = json.loads(ended.out)
        page = Page(Path(answer["report"]))
        assert Path(answer["report"]) == tmp_path / "events.html"
        (part,) = answer["parts"]
        assert part["camera"] == "moody"
        assert {"from": "sad", "to": "happy", "count": 1} in part["transitions"]
        assert "moody" in page.text
        assert emostream("report", events).code == 0  # over its own page, again

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "holds no events"),
            (b"\n\n", "holds no events"),
            (b"hello\nworld\n" * 1000, "is no recording of events"),
            (b"\0" * 1_000_000, "is no recording of events"),
            (b'{"a": 1}\n', "is no recording of events"),
            (None, "cannot be read"),
        ],
    )
    def test_what_is_no_recording_is_refused(
        self, emostream: Run, tmp_path: Path, content: bytes | None, words: str
    ) -> None:
        path = tmp_path / "e.jsonl"
        if content is not None:
            path.write_bytes(content)
        ended = emostream("report", path)
        assert ended.code == 2
        assert words in ended.sentence
        assert len(ended.err.splitlines()) == 1
        assert not (tmp_path / "e.html").exists()

    def test_what_is_no_report_is_not_written_over(self, emostream: Run, tmp_path: Path) -> None:
        events = recorded(tmp_path / "e.jsonl", life())
        before = events.read_bytes()
        for target in (events, tmp_path):
            ended = emostream("report", events, "-o", target)
            assert ended.code == 2
            assert "is no report and would be lost" in ended.sentence
        assert events.read_bytes() == before
        ended = emostream("report", events, "-o", tmp_path / "nowhere" / "e.html")
        assert ended.code == 2
        assert "cannot be written" in ended.sentence
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
