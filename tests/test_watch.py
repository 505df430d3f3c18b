"""What `emostream watch` shows, drawn to text."""

from __future__ import annotations

import io

from rich.console import Console

from stream.events import CameraStatus, EmotionChanged, EmotionSample, Event, Gap, TrackEnded, TrackStarted
from stream.watch import Board, line, table
from tests.makers import moment

BOX = (0.1, 0.1, 0.2, 0.3)


def changed(emotion: str, previous: str, track_id: int = 1, media_time_s: float = 1.0) -> EmotionChanged:
    return EmotionChanged(
        **moment("lobby", media_time_s), track_id=track_id, emotion=emotion, previous=previous,
        probabilities={emotion: 1.0}, confidence=0.8, quality=0.9, box=BOX,
    )  # fmt: skip


def drawn(board: Board) -> str:
    text = io.StringIO()
    Console(file=text, width=120, color_system=None).print(table(board))
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
    for word in ("lobby", "live", "01:02.5", "happy", "80%", "sad"):
        assert word in row


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
    assert "faces so far: 1" in text


def test_a_new_session_begins_anew() -> None:
    made = board(changed("happy", "uncertain"))
    made.update(CameraStatus(**{**moment("lobby"), "session": "next"}, status="connecting"))
    assert made.cameras["lobby"].tracks == {}


def test_trouble_is_shown_with_its_reason() -> None:
    assert "offline (silent)" in drawn(board(CameraStatus(**moment("lobby"), status="offline", reason="silent")))


def test_lines_for_a_log() -> None:
    assert str(line(changed("happy", "sad"))).endswith("face 1: sad -> happy")
    sample = EmotionSample(
        **moment("lobby"), track_id=1, emotion="sad", probabilities={}, confidence=0.1, quality=0.1, box=BOX
    )
    assert line(sample) is None
    assert "stream_jumped" in str(line(Gap(**moment("lobby"), reason="stream_jumped", ranges=())))
