"""What `emostream watch` shows: the latest of every camera and track, folded from events, drawn as one screen.

`Board` is arithmetic over events; `Screen` draws it at any size. Neither reads a socket or a clock: time is that of the
newest event of each camera.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from stream.events import (
    UNCERTAIN,
    CameraStatus,
    EmotionAggregate,
    EmotionChanged,
    EmotionSample,
    Event,
    Gap,
    TrackEnded,
    TrackStarted,
)

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
INK = {"contempt": "white"}  # of a letter on these colours; black on the others
MARKS = {"surprise": "!"}  # `s` is sad
STRIP_S = 60.0  # what a face's strip shows of the time before now
TROUBLE = ("stalled", "offline", "failed")
GAPS_S = 60.0  # so long a gap stays among the alerts, on the camera's own clock
WIDE, WIDEST = 105, 150  # columns from which there is room for more
MOST_ALERTS = 4
FRAME_ROWS = 8  # of the screen for what is not the table of faces


@dataclass(slots=True)
class TrackRow:
    """One face as it was last told."""

    since_s: float  # when its present emotion was first told
    emotion: str = UNCERTAIN
    confidence: float = 0.0
    history: list[tuple[float, str]] = field(default_factory=list)  # when it began to show what, the last minute's


@dataclass(slots=True)
class CameraRow:
    """One camera as it was last told."""

    session: str
    status: str = "unknown"
    reason: str | None = None
    retry_in_s: float | None = None
    rate: str = ""  # analysed frames a second, in words
    media_time_s: float = 0.0
    tracks: dict[int, TrackRow] = field(default_factory=dict)  # the living ones
    ended: int = 0  # tracks that are over
    gap: tuple[float, str] | None = None  # the last: when, and why
    group: EmotionAggregate | None = None  # the last; then nothing is told of tracks


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
                self._status(row, event)
            case TrackStarted():
                row.tracks[event.track_id] = _arrived(event.media_time_s)
            case EmotionChanged() | EmotionSample():
                self._feeling(row, event)
            case TrackEnded():
                row.ended += row.tracks.pop(event.track_id, None) is not None
            case EmotionAggregate():
                row.group = event
            case Gap():
                row.gap = (event.media_time_s, event.reason)

    @staticmethod
    def _status(row: CameraRow, event: CameraStatus) -> None:
        row.status, row.reason, row.retry_in_s = event.status, event.reason, event.retry_in_s
        if event.status == "live":
            row.rate = "every frame" if event.analyse_hz is None else f"{event.analyse_hz:g} Hz"

    @staticmethod
    def _feeling(row: CameraRow, event: EmotionChanged | EmotionSample) -> None:
        now_s = event.media_time_s
        track = row.tracks.setdefault(event.track_id, _arrived(now_s))
        track.confidence = event.confidence
        if track.emotion != event.emotion:
            track.emotion, track.since_s = event.emotion, now_s
            track.history.append((now_s, event.emotion))
        while len(track.history) > 1 and track.history[1][0] <= now_s - STRIP_S:
            del track.history[0]

    def moods(self) -> Counter[str]:
        """Emotion -> living faces that show it, over all cameras; of groups the last counts."""
        shown = Counter(track.emotion for row in self.cameras.values() for track in row.tracks.values())
        for row in self.cameras.values():
            shown.update(row.group.counts or {} if row.group else {})
        return +shown

    def nobody(self) -> str:
        """What to say when there are no moods: too few may be there, where groups are told."""
        return "no group" if any(row.group for row in self.cameras.values()) else "nobody is there"

    def alerts(self) -> list[str]:
        """What somebody should look at: cameras that are not there now, and gaps of the last minute."""
        said = []
        for camera_id, row in sorted(self.cameras.items()):
            if row.status in TROUBLE:
                again = f", next try in {row.retry_in_s:.1f} s" if row.retry_in_s is not None else ""
                said.append(f"{camera_id} {row.status}" + (f": {row.reason}" if row.reason else "") + again)
            if row.gap is not None and row.media_time_s - row.gap[0] <= GAPS_S:
                said.append(f"{camera_id} gap at {_time(row.gap[0])}: {row.gap[1]}")
        return said


def _arrived(at_s: float) -> TrackRow:
    return TrackRow(since_s=at_s, history=[(at_s, UNCERTAIN)])


class Screen:
    """A board that is drawn in the thread of the display while events come in another."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()

    def update(self, event: Event) -> None:
        with self._lock:
            self._board.update(event)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # where the display is a screen of its own, faces that do not fit are counted; else everything is drawn
        rows = options.height - FRAME_ROWS if options.height is not None else None
        with self._lock:
            yield _headline(self._board)
            yield _moods(self._board, options.max_width)
            yield from _alerts(self._board)
            yield table(self._board, options.max_width, rows)


def table(board: Board, width: int, rows: int | None = None) -> Table:
    """A row per living track; a camera without one has a row of its own.

    `width` columns decide how much of a minute's course is shown, `rows` how many faces of each camera; None: all.
    """
    cells = max(6, min(60, width - 88 if width >= WIDE else width - 65))
    drawn = Table(box=SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    drawn.add_column("camera", no_wrap=True, overflow="ellipsis", ratio=1, style="bold")
    drawn.add_column("state", no_wrap=True, overflow="ellipsis", ratio=1 if width >= WIDEST else None)
    details = ("rate", "time") if width >= WIDE else ()
    for name in (*details, "face", "last minute", "emotion", "confidence", "for"):
        drawn.add_column(name, no_wrap=True)
    most = None if rows is None else max(1, rows // max(1, len(board.cameras)) - 1)
    bar_cells = 10 if width >= WIDEST else 5
    for camera_id, row in sorted(board.cameras.items()):
        told = (row.rate, _time(row.media_time_s)) if width >= WIDE else ()
        reason = f" ({row.reason})" if row.reason and width >= WIDEST else ""  # else among the alerts
        head = (camera_id, Text(row.status + reason, style=_style(row.status)), *told)
        for number, line_cells in enumerate(_faces(row, cells, bar_cells, most)):
            drawn.add_row(*(head if number == 0 else [""] * len(head)), *line_cells)
    return drawn


def _faces(row: CameraRow, cells: int, bar_cells: int, most: int | None) -> Iterator[tuple[Text | str, ...]]:
    """The last five cells of each line of a camera: face, last minute, emotion, confidence, for how long."""
    living = sorted(row.tracks.items())
    for track_id, track in living[:most]:
        strip = _strip(track, row.media_time_s, cells)
        bar = _bar(track.confidence, bar_cells)
        yield f"#{track_id}", strip, _word(track.emotion), bar, _span(row.media_time_s - track.since_s)
    if most is not None and len(living) > most:
        yield "", Text(f"{len(living) - most} more", style="dim"), "", "", ""
    if row.group is not None:
        yield str(row.group.faces or "-"), _counts(row.group), "", "", ""
    elif not living:
        told = f"so far: {row.ended}" if row.ended else ""
        yield "-", Text(told, style="dim"), "", "", ""


def _strip(track: TrackRow, now_s: float, cells: int) -> Text:
    """The last minute, oldest on the left: each emotion's colour, with its first letter where it begins."""
    cell_s = STRIP_S / cells
    drawn = Text()
    before: str | None = None
    for index in range(cells):
        until_s = now_s - (cells - 1 - index) * cell_s
        there = [emotion for at_s, emotion in track.history if at_s <= until_s]
        emotion = there[-1] if there else None
        colour = COLOURS.get(emotion or "")
        if emotion is None:
            drawn.append(" ")
        elif colour is None:
            drawn.append("·", style="dim")
        elif emotion != before:
            drawn.append(MARKS.get(emotion, emotion[0]), style=f"{INK.get(emotion, 'black')} on {colour}")
        else:  # one even field, and a line where a terminal has no colours
            drawn.append("━", style=f"{colour} on {colour}")
        before = emotion
    return drawn


def _headline(board: Board) -> Text:
    live = sum(row.status == "live" for row in board.cameras.values())
    faces = board.moods().total()
    if not board.cameras:
        return Text("waiting for the first event", style="dim")
    return Text(f"{len(board.cameras)} cameras, {live} live, {faces} faces, {board.events} events", style="bold")


def _moods(board: Board, width: int) -> Text:
    """How many faces show what, over all cameras."""
    moods = board.moods()
    drawn = Text("moods  ")
    if not moods:
        return drawn + Text(board.nobody(), style="dim")
    for emotion, count in sorted(moods.items(), key=lambda pair: (pair[0] == UNCERTAIN, -pair[1], pair[0])):
        drawn += Text("█" * min(count, width // 20) + "\N{NO-BREAK SPACE}", style=COLOURS.get(emotion, "dim"))
        drawn += Text(f"{emotion}\N{NO-BREAK SPACE}{count}   ")
    return drawn


def _alerts(board: Board) -> Iterator[Text]:
    """A line each; the most important part of them is that there are some."""
    alerts = board.alerts()
    for alert in alerts[:MOST_ALERTS]:
        yield Text("! ", style="bold red") + Text(alert, no_wrap=True, overflow="ellipsis")
    if len(alerts) > MOST_ALERTS:
        yield Text(f"! {len(alerts) - MOST_ALERTS} more", style="bold red")


def _style(status: str) -> str:
    return "bold red" if status in TROUBLE else ""


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
        case EmotionAggregate():
            return head + Text("" if event.suppressed else f"{event.faces} faces: ") + _counts(event)
        case CameraStatus():
            return head + Text(event.status + (f": {event.reason}" if event.reason else ""), style="dim")
        case Gap():
            return head + Text(f"gap: {event.reason}", style="bold")
        case _:
            return None


def _counts(group: EmotionAggregate) -> Text:
    if group.counts is None:
        return Text("no group", style="dim")
    counts = sorted(group.counts.items(), key=lambda pair: -pair[1])
    return Text(", ").join(_word(emotion) + Text(f" {count}") for emotion, count in counts if count)


def _largest(shares: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, share) for name, share in shares.items() if share >= 0.05), key=lambda pair: -pair[1])[:3]


def _word(emotion: str) -> Text:
    return Text(emotion, style=COLOURS.get(emotion, "dim"))


def _bar(confidence: float, cells: int) -> Text:
    full = round(confidence * cells)
    return Text("█" * full + "░" * (cells - full) + f" {confidence:4.0%}")


def _time(media_time_s: float) -> str:
    minutes, seconds = divmod(media_time_s, 60.0)
    return f"{int(minutes):02d}:{seconds:04.1f}"


def _span(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
