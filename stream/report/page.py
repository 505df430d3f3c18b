"""A folded recording as one HTML page: style and pictures inside, no script, nothing from elsewhere.

Everything that comes from the recording goes through `_text`. Colours always stand beside words; pictures have names,
and what they show stands in tables, too.
"""

from __future__ import annotations

import base64
import html
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engines.replacing import replacing
from stream.errors import ConfigError
from stream.events import UNCERTAIN
from stream.report.recording import Part, Recording, Stretch, Track, csv_row
from stream.watch import COLOURS

BEGINNING = "<!doctype html>"
STYLE = Path(__file__).with_name("style.css")
# even a mistake in here could load or run nothing
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
MOST_ROWS = 800  # faces in the tables of all cameras together; the CSV has all
MOST_CHANGES = 12  # told in words of each face
MOST_STRETCHES = 20_000  # drawn in the timelines of all cameras together
MOST_LANES = 40  # of faces beside each other
WIDTH, LANE = 1000, 12  # of a camera's timeline, in units of its picture
NUMBER_FROM = 26  # units: a face that is drawn this wide has room for its number


def write(recording: Recording, source: Path, target: Path) -> int:
    """Write the page about `source`; its size in bytes. It is there whole or not at all.

    Raises ConfigError where it cannot be written, or where something else than a report would be lost.
    """
    data = page(recording, source.name).encode(errors="replace")
    try:
        if target.exists() and not _may_go(target):
            raise ConfigError(f"{target}: this file is no report and would be lost; remove it, or give another with -o")
        with replacing(target) as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
    except OSError as error:
        raise ConfigError(
            f"{target}: the report cannot be written ({error.strerror}); give another path with -o"
        ) from None
    return len(data)


def _may_go(target: Path) -> bool:
    if not target.is_file():
        return False
    with target.open("rb") as file:
        return file.read(len(BEGINNING)) in (b"", BEGINNING.encode())


def page(recording: Recording, name: str) -> str:
    """The whole page about the recording called `name`."""
    room = _Room(MOST_ROWS, MOST_STRETCHES)
    body = "\n".join(
        (
            *_head(recording, name),
            *_overview(recording),
            *(line for part in recording.parts for line in _part(part, room)),
        )
    )
    return (
        f'{BEGINNING}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(name)}: emotions</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


class _Room:
    """What the page still has room for."""

    def __init__(self, rows: int, stretches: int) -> None:
        self.rows = rows
        self.stretches = stretches


def _head(recording: Recording, name: str) -> Iterator[str]:
    faces = sum(len(part.tracks) for part in recording.parts)
    cameras = len({part.camera_id for part in recording.parts})
    yield f"<h1>{_text(name)}</h1>"
    yield f"<p>{_count(cameras, 'camera')}, {_count(faces, 'face')}, {_count(recording.events, 'event')}.</p>"
    for sentence in recording.sentences():
        yield f'<p class="note">{_text(sentence)}</p>'
    stem = Path(name).stem
    yield (
        f"<p>Download: {_download(f'{stem}-tracks.csv', 'text/csv', tracks_csv(recording).encode(), 'faces as CSV')}, "
        + _download(f"{stem}-samples.csv.gz", "application/gzip", recording.samples_gz, "samples as CSV, gzip")
        + "</p>"
    )
    yield (
        '<p class="soft">A face shows an expression, not a feeling, and the network is often wrong. '
        "Do not decide about people by it.</p>"
    )
    yield '<ul class="key" aria-label="Colours">'
    for label in _ordered(recording.labels):
        yield f"<li>{_svg(f'<rect class={_class(label)} width=9 height=9 />', 9, 9, hidden=True)}{_text(label)}</li>"
    yield "</ul>"


def _overview(recording: Recording) -> Iterator[str]:
    """Shares of time and transitions over all cameras."""
    labels = _ordered(recording.labels)
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Shares of time">'
    yield "<table><caption>Share of the faces' time, per camera</caption>"
    yield _row("th", ["Camera", "Face time", *labels], scope="col", numbers_from=1)
    totals: dict[str, dict[str, float]] = {}
    everything: dict[str, float] = {}
    for part in recording.parts:
        for emotion, seconds in part.seconds.items():
            for sums in (totals.setdefault(part.camera_id, {}), everything):
                sums[emotion] = sums.get(emotion, 0.0) + seconds
    for camera_id, sums in sorted(totals.items()):
        yield _shares_row(camera_id, sums, labels)
    if len(totals) > 1:
        yield _shares_row("all", everything, labels)
    yield "</table></div>"
    changes: Counter[tuple[str, str]] = Counter()
    for part in recording.parts:
        changes.update(part.transitions)
    if changes:
        yield '<div class="scroll" tabindex="0" role="region" aria-label="Transitions">'
        yield "<table><caption>How often one emotion followed another, over all cameras</caption>"
        yield _row("th", ["from \\ to", *labels], scope="col", numbers_from=1)
        for label in labels:
            if any(changes[label, to] for to in labels):
                yield _row("td", [label, *(str(changes[label, to] or "") for to in labels)], head=True, numbers_from=1)
        yield "</table></div>"


def _shares_row(name: str, seconds: dict[str, float], labels: Sequence[str]) -> str:
    whole = sum(seconds.values())
    parts = (f"{seconds[label] / whole:.0%}" if whole and seconds.get(label) else "" for label in labels)
    return _row("td", [name, _clock(whole), *parts], head=True, numbers_from=1)


def _part(part: Part, room: _Room) -> Iterator[str]:
    """One camera in one session."""
    again = f", part {part.number}" if part.number > 1 else ""
    yield f"<section><h2>{_text(part.camera_id + again)}</h2>"
    began = f"from {part.began_at:%Y-%m-%d %H:%M:%S} UTC, " if part.began_at else ""
    gaps = f", {_count(part.gaps, 'gap')}" if part.gaps else ""
    yield f"<p>{began}{_clock(part.to_s)} long, {_count(len(part.tracks), 'face')}{gaps}.</p>"
    models = ", ".join(f"{task}: {name}" for task, name in sorted(part.models.items()))
    told = f"{part.session}; models {models}" if models else part.session
    yield f'<p class="soft">Session {_text(told)}</p>'
    if part.seconds:
        shares = _shares_words(part.seconds, sum(part.seconds.values()))
        yield f"<p>Shares of time: {_text(shares)}.</p>"
        yield _bar(part.seconds)
    if part.transitions:
        told = ", ".join(f"{a} → {b} {count}" for (a, b), count in part.transitions.most_common(MOST_CHANGES))
        yield f"<p>Transitions: {_text(told)}{', …' if len(part.transitions) > MOST_CHANGES else ''}.</p>"
    if part.tracks:
        yield from _timeline(part, room)
    yield from _happenings(part)
    yield from _faces(part, room)
    yield "</section>"


def _timeline(part: Part, room: _Room) -> Iterator[str]:
    """Every face as a bar in its emotions' colours, side by side where they were there at the same time."""
    span_s = max(part.to_s - part.from_s, 1e-3)
    free_from: list[float] = []  # of each lane
    drawn: dict[str, list[str]] = {}
    numbers: list[str] = []
    left_out = 0
    for track in sorted(part.tracks, key=lambda track: track.from_s):
        lane = next((lane for lane, free_s in enumerate(free_from) if free_s <= track.from_s), len(free_from))
        if lane == MOST_LANES or room.stretches < len(track.stretches):
            left_out += 1
            continue
        room.stretches -= len(track.stretches)
        free_from[lane : lane + 1] = [track.to_s]
        y = lane * LANE
        first, last = ((at_s - part.from_s) / span_s * WIDTH for at_s in (track.from_s, track.to_s))
        _draw(track.stretches, part.from_s, span_s, y, LANE - 2, drawn)
        if last - first >= NUMBER_FROM:
            numbers.append(f'<text x="{first + 3:.0f}" y="{y + LANE - 4}">{track.number}</text>')
    name = f"Timeline of {_count(len(part.tracks), 'face')}; the table below says the same in words"
    yield "<h3>Timeline</h3>"
    height = max(1, len(free_from)) * LANE
    yield _svg(_paths(drawn) + "".join(numbers), WIDTH, height, name=name)
    steps = (part.from_s + span_s * step / 4 for step in range(5))
    yield f'<div class="axis" aria-hidden="true">{"".join(f"<span>{_clock(at_s)}</span>" for at_s in steps)}</div>'
    if left_out:
        yield f'<p class="note">{_count(left_out, "face")} had no room in this picture.</p>'


def _faces(part: Part, room: _Room) -> Iterator[str]:
    """The table of faces, each with a strip over its own life."""
    shown = part.tracks[: room.rows]
    room.rows -= len(shown)
    if shown:
        yield '<div class="scroll" tabindex="0" role="region" aria-label="Faces">'
        yield '<table class="wide"><caption>Faces, each with its own time from left to right</caption>'
        yield _row("th", ["Face", "From", "Until", "Seconds", "Mostly", "Shares of its time", "Emotions"], scope="col")
        for track in shown:
            yield _face(track)
        yield "</table></div>"
    if len(shown) < len(part.tracks):
        rest = len(part.tracks) - len(shown)
        yield f'<p class="note">{_count(rest, "more face")} in the CSV of faces only.</p>'


def _face(track: Track) -> str:
    changes = track.stretches[:MOST_CHANGES]
    words = " · ".join(f"{_clock(stretch.from_s)} {stretch.emotion}" for stretch in changes)
    more = len(track.stretches) - len(changes)
    words += f" · {more} more" if more else ""
    drawn: dict[str, list[str]] = {}
    _draw(track.stretches, track.from_s, max(track.duration_s, 1e-3), 0, 1, drawn)
    strip = _svg(_paths(drawn), WIDTH, 1, kind="strip", hidden=True)
    why = {"left": "", None: " (end not recorded)"}.get(track.ended, f" ({(track.ended or '').replace('_', ' ')})")
    cells = [_clock(track.from_s), _clock(track.to_s) + why, f"{track.duration_s:.1f}", track.dominant]
    cells.append(_shares_words(track.shares, 1.0))
    plain = "".join(f"<td>{_text(cell)}" for cell in cells)
    return f"<tr><th scope=row>{track.number}{plain}<td class=w>{_text(words)}{strip}"


def _happenings(part: Part) -> Iterator[str]:
    if not part.happenings:
        return
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Statuses, gaps and groups">'
    yield "<table><caption>Statuses, gaps and groups</caption>"
    yield _row("th", ["Time", "What", "Why"], scope="col")
    for happening in part.happenings:
        yield _row("td", [_clock(happening.at_s), happening.what, happening.detail])
    yield "</table></div>"
    if part.more_happenings:
        yield f'<p class="note">{part.more_happenings} more stand in the recording.</p>'


def _draw(
    stretches: Iterable[Stretch], from_s: float, span_s: float, y: int, height: int, drawn: dict[str, list[str]]
) -> None:
    """Add a rectangle for each stretch to the path of its emotion. What rounds to no width is left out."""
    for stretch in stretches:
        first, last = (round((at_s - from_s) / span_s * WIDTH) for at_s in (stretch.from_s, stretch.to_s))
        if last > first:
            drawn.setdefault(stretch.emotion, []).append(f"M{first} {y}h{last - first}v{height}H{first}")


def _paths(drawn: dict[str, list[str]]) -> str:
    return "".join(f'<path class={_class(emotion)} d="{"".join(pieces)}"/>' for emotion, pieces in drawn.items())


def _bar(seconds: dict[str, float]) -> str:
    """Shares of time beside each other, as one strip."""
    whole, at = sum(seconds.values()) or 1.0, 0.0
    stretches = []
    for emotion, part in seconds.items():
        stretches.append(Stretch(emotion, at, at + part))
        at += part
    drawn: dict[str, list[str]] = {}
    _draw(stretches, 0.0, whole, 0, 10, drawn)
    return _svg(_paths(drawn), WIDTH, 10, kind="strip", hidden=True)


def _svg(inside: str, width: int, height: int, *, kind: str = "", name: str = "", hidden: bool = False) -> str:
    who = "aria-hidden=true" if hidden else f'role=img aria-label="{_text(name)}"'
    stretched = " class=strip preserveAspectRatio=none" if kind else ""
    return f'<svg viewBox="0 0 {width} {height}"{stretched} {who}>{inside}</svg>'


def _row(
    tag: str, cells: Sequence[str], *, scope: str = "", head: bool = False, numbers_from: int | None = None
) -> str:
    """A row of texts. `head`: the first cell names the row; from the cell `numbers_from` on they are numbers."""
    made = []
    for index, cell in enumerate(cells):
        number = " class=n" if numbers_from is not None and index >= numbers_from else ""
        names = head and index == 0
        of = f" scope={scope}" if scope else ""
        made.append(f"<th scope=row>{_text(cell)}</th>" if names else f"<{tag}{of}{number}>{_text(cell)}</{tag}>")
    return f"<tr>{''.join(made)}</tr>"


def _download(name: str, kind: str, data: bytes, words: str) -> str:
    coded = base64.b64encode(data).decode()
    return f'<a download="{_text(name)}" href="data:{kind};base64,{coded}">{words}</a>'


def tracks_csv(recording: Recording) -> str:
    """A row per face."""
    labels = _ordered(recording.labels)
    head = ["camera", "part", "session", "face", "from_s", "until_s", "duration_s", "ended", "mostly", *labels]
    rows = [csv_row(head)]
    for part in recording.parts:
        for track in part.tracks:
            times = (f"{value:.2f}" for value in (track.from_s, track.to_s, track.duration_s))
            shares = (f"{track.shares.get(label, 0.0):.4f}" for label in labels)
            who = (part.camera_id, part.number, part.session, track.number)
            rows.append(csv_row([*who, *times, track.ended or "", track.dominant, *shares]))
    return "".join(rows)


def _ordered(labels: Iterable[str]) -> list[str]:
    """As everywhere else: ours in their order, others as they came, `uncertain` last."""
    ours = list(COLOURS)
    return sorted(labels, key=lambda label: (label == UNCERTAIN, ours.index(label) if label in ours else len(ours)))


def _class(emotion: str) -> str:
    return f"e-{emotion}" if emotion in COLOURS or emotion == UNCERTAIN else "e-other"


def _shares_words(parts: dict[str, float], whole: float) -> str:
    told = (f"{emotion} {part / whole:.0%}" for emotion, part in parts.items() if whole and part / whole >= 0.005)
    return ", ".join(told) or "none"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _clock(seconds: float) -> str:
    """0:07.4, 12:07.4, 1:12:07."""
    if seconds >= 3600:
        hours, rest = divmod(int(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    tenths = int(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def _text(text: str) -> str:
    """What came from the recording, harmless in a text and in a quoted attribute, and printable."""
    return html.escape("".join(each if each.isprintable() else "\ufffd" for each in text), quote=True)
