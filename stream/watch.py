"""What `emostream watch` shows: the latest of every camera and track, folded from events, drawn as one table.

`Board` is arithmetic over events; `table` draws it. Neither reads a socket or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from stream.events import CameraStatus, EmotionChanged, EmotionSample, Event, Gap, TrackEnded, TrackStarted

# Colours that people who confuse red and green can tell apart (Okabe and Ito, "Color Universal Design", 2008);
# the word always stands beside its colour.
COLOURS = {
    "angry": "#d55e00",
    "disgust": "#009e73",
    "fear": "#cc79a7",
    "happy": "#f0e442",
    "sad": "#56b4e9",
    "surprise": "#e69f00",
    "neutral": "#999999",
    "contempt": "#0072b2",
}
BAR_CELLS = 10


@dataclass(slots=True)
class TrackRow:
    """One face as it was last told."""

    emotion: str = "uncertain"
    confidence: float = 0.0
    history: list[str] = field(default_factory=list)  # emotions in the order they came


@dataclass(slots=True)
class CameraRow:
    """One camera as it was last told."""

    session: str
    status: str = "unknown"
    reason: str | None = None
    media_time_s: float = 0.0
    tracks: dict[int, TrackRow] = field(default_factory=dict)  # the living ones
    ended: int = 0  # tracks that are over


class Board:
    """The latest of everything, per camera."""

    def __init__(self) -> None:
        self.cameras: dict[str, CameraRow] = {}
        self.events = 0

    def update(self, event: Event) -> None:
        """Take one event. A new session of a camera begins its row anew."""
        self.events += 1
        row = self.cameras.get(event.camera_id)
        if row is None or row.session != event.session:
            row = self.cameras[event.camera_id] = CameraRow(event.session)
        row.media_time_s = event.media_time_s
        match event:
            case CameraStatus():
                row.status, row.reason = event.status, event.reason
            case TrackStarted():
                row.tracks[event.track_id] = TrackRow()
            case EmotionChanged() | EmotionSample():
                self._feeling(row, event)
            case TrackEnded():
                row.ended += row.tracks.pop(event.track_id, None) is not None

    @staticmethod
    def _feeling(row: CameraRow, event: EmotionChanged | EmotionSample) -> None:
        track = row.tracks.setdefault(event.track_id, TrackRow())
        track.emotion, track.confidence = event.emotion, event.confidence
        if not track.history or track.history[-1] != event.emotion:
            track.history.append(event.emotion)


def table(board: Board) -> Table:
    """A row per living track; a camera without one has a row of its own."""
    drawn = Table(title=None, expand=True, pad_edge=False, header_style="bold")
    for name in ("camera", "state", "time", "face", "emotion", "confidence", "before"):
        drawn.add_column(name, no_wrap=name != "before", overflow="ellipsis")
    for camera_id, row in sorted(board.cameras.items()):
        state = row.status + (f" ({row.reason})" if row.reason else "")
        lines = [
            (f"#{track_id}", _word(track.emotion), _bar(track.confidence), _path(track.history))
            for track_id, track in sorted(row.tracks.items())
        ] or [("-", Text("-"), Text(""), Text(f"faces so far: {row.ended}" if row.ended else "", style="dim"))]
        for number, (face, emotion, bar, before) in enumerate(lines):
            first = number == 0
            drawn.add_row(
                camera_id if first else "", Text(state if first else ""), _time(row.media_time_s) if first else "",
                face, emotion, bar, before,
                end_section=number == len(lines) - 1,
            )  # fmt: skip
    return drawn


def line(event: Event) -> Text | None:
    """One event as a line for a log on the terminal; None for those that would only fill it."""
    head = Text(f"{event.camera_id:<12} {_time(event.media_time_s)}  ", style="bold")
    match event:
        case EmotionChanged():
            return head + Text(f"face {event.track_id}: {event.previous} -> ") + _word(event.emotion)
        case TrackStarted():
            return head + Text(f"face {event.track_id} arrived")
        case TrackEnded():
            shares = ", ".join(f"{name} {share:.0%}" for name, share in _largest(event.shares))
            return head + Text(f"face {event.track_id} left after {event.duration_s:.1f} s: {shares}")
        case CameraStatus():
            return head + Text(event.status + (f": {event.reason}" if event.reason else ""), style="dim")
        case Gap():
            return head + Text(f"gap: {event.reason}", style="bold")
        case _:
            return None


def _largest(shares: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, share) for name, share in shares.items() if share >= 0.05), key=lambda pair: -pair[1])[:3]


def _word(emotion: str) -> Text:
    return Text(emotion, style=COLOURS.get(emotion, "dim"))


def _bar(confidence: float) -> Text:
    full = round(confidence * BAR_CELLS)
    return Text("█" * full + "░" * (BAR_CELLS - full) + f" {confidence:4.0%}")


def _path(history: list[str]) -> Text:
    return Text(" → ").join(_word(emotion) for emotion in history[:-1][-4:])


def _time(media_time_s: float) -> str:
    minutes, seconds = divmod(media_time_s, 60.0)
    return f"{int(minutes):02d}:{seconds:04.1f}"
