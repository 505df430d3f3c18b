"""What `emostream watch` shows, drawn to text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stream.events import (
    CameraStatus,
    EmotionAggregate,
    EmotionChanged,
    EmotionSample,
    Event,
    Gap,
    TrackEnded,
    TrackStarted,
)
from stream.watch import COLOURS, Board, Screen, line
from tests.makers import moment

BOX = (0.1, 0.1, 0.2, 0.3)


def changed(emotion: str, previous: str, track_id: int = 1, media_time_s: float = 1.0) -> EmotionChanged:
    return EmotionChanged(
        **moment("lobby", media_time_s), track_id=track_id, emotion=emotion, previous=previous,
        probabilities={emotion: 1.0}, confidence=0.8, quality=0.9, box=BOX,
    )  # fmt: skip


def sampled(emotion: str, media_time_s: float) -> EmotionSample:
    return EmotionSample(
        **moment("lobby", media_time_s), track_id=1, emotion=emotion,
        probabilities={}, confidence=0.8, quality=0.9, box=BOX,
    )  # fmt: skip


def drawn(board: Board, width: int = 120, height: int | None = None) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None)
    options = console.options.update(height=height) if height else console.options
    for segments in console.render_lines(Screen(board), options, pad=False):
        text.write("".join(segment.text for segment in segments) + "\n")
    return text.getvalue()


def board(*events: Event) -> Board:
    made = Board()
    for event in events:
        made.update(event)
    return made


def test_a_face_and_its_moods() -> None:
    text = drawn(
        board(
            CameraStatus(**moment("lobby"), status="live"),
            TrackStarted(**moment("lobby", 0.4), track_id=1, box=BOX),
            changed("sad", "uncertain"),
            changed("happy", "sad", media_time_s=62.5),
        )
    )
    (row,) = [line for line in text.splitlines() if "#1" in line]
    for word in ("lobby", "live", "01:02.5", "happy", "80%", "0:00"):
        assert word in row


def test_the_last_minute_is_a_strip_of_letters_and_lines() -> None:
    made = board(
        TrackStarted(**moment("lobby", 0.0), track_id=1, box=BOX),
        changed("sad", "uncertain", media_time_s=10.0),
        changed("surprise", "sad", media_time_s=40.0),
    )
    made.update(sampled("surprise", 60.0))
    (row,) = [line for line in drawn(made, 148).splitlines() if "#1" in line]
    # 60 cells of one second: what was shown at the end of each
    assert "·" * 9 + "s" + "━" * 29 + "!" + "━" * 20 in row
    assert row.rstrip().endswith("0:20")
    made.update(sampled("surprise", 200.0))
    (row,) = [line for line in drawn(made, 148).splitlines() if "#1" in line]
    assert "!" + "━" * 59 in row  # what is older than a minute is gone


@pytest.mark.parametrize("width", [60, 80, 104, 105, 120, 149, 200])
def test_every_width_has_room_for_every_line(width: int) -> None:
    made = board(*(TrackStarted(**moment("a" * 63, 0.5), track_id=face, box=BOX) for face in range(1, 4)))
    for camera in ("lobby", "hall"):
        made.update(CameraStatus(**moment(camera), status="offline", reason="silent " * 40, retry_in_s=2.0))
    for emotion in COLOURS:
        made.update(changed(emotion, "uncertain", track_id=list(COLOURS).index(emotion) + 4))
    text = drawn(made, width)
    assert max(map(len, text.splitlines())) <= width
    for emotion in COLOURS:
        assert emotion in text


def test_a_low_screen_counts_the_faces_that_do_not_fit() -> None:
    faces = [TrackStarted(**moment(camera), track_id=face, box=BOX) for camera in "ab" for face in range(1, 31)]
    text = drawn(board(*faces), height=24)
    assert len(text.splitlines()) <= 24
    assert text.count("23 more") == 2
    assert "#30" in drawn(board(*faces))


def test_moods_of_all_cameras_are_counted() -> None:
    made = board(changed("happy", "uncertain"), changed("happy", "uncertain", track_id=2), changed("sad", "happy", 3))
    (moods,) = [line for line in drawn(made).replace("\N{NO-BREAK SPACE}", " ").splitlines() if "moods" in line]
    assert moods.split() == ["moods", "██", "happy", "2", "█", "sad", "1"]


def test_alerts_come_and_go() -> None:
    made = board(
        CameraStatus(**moment("hall"), status="offline", reason="no answer in time", retry_in_s=2.5),
        Gap(**moment("desk", 5.0), reason="outbox_full", ranges=()),
    )
    assert made.alerts() == ["desk gap at 00:05.0: outbox_full", "hall offline: no answer in time, next try in 2.5 s"]
    assert "! hall offline: no answer in time" in drawn(made, 80)
    made.update(CameraStatus(**moment("hall", 9.0), status="live", analyse_hz=5.0))
    made.update(CameraStatus(**moment("desk", 66.0), status="live"))
    assert made.alerts() == []
    assert "! " not in drawn(made)
    assert "5 Hz" in drawn(made)
    assert "every frame" in drawn(made)


def test_a_reason_is_shown_as_it_is() -> None:
    reason = "[fe80::1]:554 [/x] refused"
    assert reason in drawn(board(CameraStatus(**moment("lobby"), status="offline", reason=reason)))


def test_a_face_that_left_is_counted_not_shown() -> None:
    text = drawn(
        board(
            changed("happy", "uncertain"),
            TrackEnded(
                **moment("lobby", 9.0),
                track_id=1,
                reason="left",
                duration_s=8.0,
                shares={"happy": 1.0},
                dominant="happy",
                frames_seen=40,
                frames_used=40,
            ),
        )
    )
    assert "#1" not in text
    assert "so far: 1" in text


def test_a_new_session_begins_anew() -> None:
    made = board(changed("happy", "uncertain"))
    made.update(CameraStatus(**{**moment("lobby"), "session": "next"}, status="connecting"))
    assert made.cameras["lobby"].tracks == {}


def test_trouble_is_shown_with_its_reason() -> None:
    assert "offline (silent)" in drawn(
        board(CameraStatus(**moment("lobby"), status="offline", reason="silent")), width=150
    )


def grouped(**said: object) -> EmotionAggregate:
    return EmotionAggregate(**moment("lobby", 10.0), interval_s=10.0, **said)


def test_a_group_is_shown_as_counts() -> None:
    told = grouped(suppressed=False, faces=6, counts={"happy": 1, "sad": 0, "neutral": 5})
    text = drawn(board(told))
    assert "neutral 5, happy 1" in text
    assert "1 cameras, 0 live, 6 faces" in text
    assert str(line(told)) == "lobby        00:10.0  6 faces: neutral 5, happy 1"


def test_no_group_is_not_shown_as_nobody() -> None:
    told = grouped(suppressed=True, faces=None, counts=None)
    assert "moods  no group" in drawn(board(told))
    assert str(line(told)) == "lobby        00:10.0  no group"


def test_lines_for_a_log() -> None:
    assert str(line(changed("happy", "sad"))).endswith("face 1: sad -> happy")
    sample = EmotionSample(
        **moment("lobby"), track_id=1, emotion="sad", probabilities={}, confidence=0.1, quality=0.1, box=BOX
    )
    assert line(sample) is None
    assert "stream_jumped" in str(line(Gap(**moment("lobby"), reason="stream_jumped", ranges=())))
