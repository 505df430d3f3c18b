"""Events of a JSON Lines file -> what a report shows, in one pass.

What is kept is a piece per stretch of one emotion of one face, and the samples as a compressed table; never the events
themselves. Pure but for `read`, which goes through the file.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stream.errors import ConfigError
from stream.events import (
    MOST_BYTES,
    UNCERTAIN,
    AnyEvent,
    CameraStatus,
    EmotionAggregate,
    EmotionChanged,
    EmotionSample,
    Gap,
    TimeRange,
    TrackEnded,
    TrackStarted,
    parse,
)

MOST_DAMAGED = 100  # lines before the first event; then it is no recording
MOST_SAMPLES_BYTES = 400_000  # of the compressed table of samples, which the page carries whole
MOST_LABELS = 24  # emotions of one recording; a model has eight or so
OTHER = "other"  # what further ones are called
MOST_SECONDS = 1e9  # of media time: some thirty years
MOST_HAPPENINGS = 500  # statuses, gaps and groups that are kept of each part
_GZIP = 31  # window bits that make zlib write gzip


@dataclass(slots=True)
class Stretch:
    """One emotion of one face, without a break."""

    emotion: str
    from_s: float
    to_s: float


@dataclass(slots=True)
class Track:
    """One face from its first event to its last. Times are media time."""

    number: int
    from_s: float
    to_s: float
    stretches: list[Stretch]
    ended: str | None = None  # why; None: the recording does not tell
    told: dict[str, float] | None = None  # shares as `track.ended` has them

    @property
    def duration_s(self) -> float:
        return self.to_s - self.from_s

    @property
    def shares(self) -> dict[str, float]:
        """Emotion -> share of its time, largest first: as told, else as seen."""
        if self.told is not None:
            return _sorted(self.told)
        seconds: dict[str, float] = {}
        for stretch in self.stretches:
            seconds[stretch.emotion] = seconds.get(stretch.emotion, 0.0) + stretch.to_s - stretch.from_s
        whole = sum(seconds.values()) or 1.0
        return _sorted({emotion: part / whole for emotion, part in seconds.items()})

    @property
    def dominant(self) -> str:
        """What it showed longest; `uncertain` only where there was nothing else."""
        known = (emotion for emotion, share in self.shares.items() if emotion != UNCERTAIN and share > 0)
        return next(known, UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Happening:
    """A status of a camera, a gap, or the counts of a group where nothing of single faces is told."""

    at_s: float
    what: str
    detail: str


@dataclass(slots=True)
class Part:
    """One camera in one session: what a worker told of it from its start to its end."""

    camera_id: str
    session: str
    number: int  # 1-based among the camera's parts in this recording
    began_at: datetime | None = None  # UTC at media time 0
    from_s: float = 0.0
    to_s: float = 0.0
    last_seq: int = -1
    tracks: list[Track] = field(default_factory=list)
    living: dict[int, Track] = field(default_factory=dict)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    happenings: list[Happening] = field(default_factory=list)
    more_happenings: int = 0  # that were not kept
    gaps: int = 0
    models: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """Emotion -> seconds over all faces, most first."""
        sums: dict[str, float] = {}
        for track in self.tracks:
            for emotion, share in track.shares.items():
                sums[emotion] = sums.get(emotion, 0.0) + share * track.duration_s
        return _sorted(sums)

    def as_json(self) -> dict[str, Any]:
        return {
            "camera": self.camera_id,
            "session": self.session,
            "part": self.number,
            "from_s": self.from_s,
            "to_s": self.to_s,
            "faces": len(self.tracks),
            "gaps": self.gaps,
            "seconds": {emotion: round(seconds, 2) for emotion, seconds in self.seconds.items()},
            "transitions": [{"from": a, "to": b, "count": n} for (a, b), n in self.transitions.most_common()],
        }


@dataclass(slots=True)
class Recording:
    """All of a file."""

    parts: list[Part] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # emotions in the order they came
    events: int = 0
    unknown: int = 0  # of types that this version does not know
    damaged: list[int] = field(default_factory=list)  # lines that are no events, 1-based
    cut_off: bool = False  # whether the last of those is the file's last line
    samples: int = 0  # rows in the table
    samples_left_out: int = 0  # because the page would get too large
    samples_gz: bytes = b""  # CSV, compressed by gzip

    def sentences(self) -> list[str]:
        """What whoever reads the report has to know about the file."""
        said = []
        damaged = self.damaged[:-1] if self.cut_off else self.damaged
        if self.cut_off:
            said.append("The last line is cut off and was left out: the writer was stopped, or is still at work.")
        if damaged:
            said.append(f"Lines that are no events and were left out: {len(damaged)}, the first is line {damaged[0]}.")
        if self.unknown:
            said.append(f"Events of types that this version does not know, left out: {self.unknown}.")
        if self.samples_left_out:
            said.append(
                f"The table of samples holds the first {self.samples}; {self.samples_left_out} later ones would make "
                "the page too large and are in the recording alone."
            )
        return said

    def as_json(self) -> dict[str, Any]:
        """What a program wants to know of the recording."""
        return {
            "events": self.events,
            "unknown": self.unknown,
            "damaged_lines": self.damaged,
            "cut_off": self.cut_off,
            "parts": [part.as_json() for part in self.parts],
        }


def fold(path: Path) -> Recording:
    """The recording in a file. Raises ConfigError for one that cannot be read or holds no events."""
    folder = _Folder()
    try:
        with path.open("rb") as file:
            number = 0
            for number, line in enumerate(_lines(file), start=1):
                folder.line(number, line)
                if not folder.made.events and len(folder.made.damaged) >= MOST_DAMAGED:
                    break
    except OSError as error:
        raise ConfigError(f"{path}: the recording cannot be read ({error.strerror})") from None
    made = folder.finish(number)
    if not made.events:
        found = "is no recording of events" if made.damaged or made.unknown else "holds no events"
        raise ConfigError(f"{path}: this file {found}; `emostream run --out FILE` writes one")
    return made


def _lines(file: io.BufferedReader) -> Iterator[bytes]:
    """Lines, of which no part is longer than an event can be."""
    while line := file.readline(MOST_BYTES + 1):
        yield line


class _Folder:
    """Builds a Recording, event by event."""

    def __init__(self) -> None:
        self.made = Recording()
        self._parts: dict[tuple[str, str], Part] = {}  # the latest of each camera and session
        self._numbers: Counter[str] = Counter()
        self._samples = _Samples()

    def line(self, number: int, line: bytes) -> None:
        """Take one line; what is no event is counted."""
        if not line.strip():
            return
        try:
            event = parse(line)
            if event is not None:
                _check(event)
        except ValueError:
            self.made.damaged.append(number)
            return
        if event is None:
            self.made.unknown += 1
            return
        self.made.events += 1
        self._take(self._part(event), event)

    def finish(self, last_line: int) -> Recording:
        """The recording, once its last line was taken."""
        made = self.made
        made.cut_off = bool(made.damaged) and made.damaged[-1] == last_line
        made.samples, made.samples_left_out = self._samples.rows, self._samples.left_out
        made.samples_gz = self._samples.finish()
        return made

    def _part(self, event: AnyEvent) -> Part:
        """Where an event belongs. A `seq` that does not grow begins another run on the same file."""
        key = (event.camera_id, event.session)
        part = self._parts.get(key)
        if part is None or event.seq <= part.last_seq:
            self._numbers[event.camera_id] += 1
            part = Part(event.camera_id, event.session, self._numbers[event.camera_id], from_s=event.media_time_s)
            self._parts[key] = part
            self.made.parts.append(part)
        part.last_seq = event.seq
        part.to_s = max(part.to_s, event.media_time_s)
        if part.began_at is None and event.captured_at is not None:
            part.began_at = _before(event.captured_at, event.media_time_s)
        return part

    def _take(self, part: Part, event: AnyEvent) -> None:
        match event:
            case TrackStarted():
                self._track(part, event.track_id, event.media_time_s)
            case EmotionChanged() | EmotionSample():
                self._feeling(part, event)
            case TrackEnded():
                self._ended(part, event)
            case EmotionAggregate():
                self._happened(part, Happening(event.media_time_s, "group", _counted(event)))
            case CameraStatus():
                part.models.update(event.models or {})
                self._happened(part, Happening(event.media_time_s, event.status, event.reason or ""))
            case Gap():
                part.gaps += 1
                self._happened(part, Happening(event.media_time_s, "gap", f"{event.reason}: {_named(event)}"))

    def _track(self, part: Part, track_id: int, at_s: float) -> Track:
        """The living face of this number. It begins here if the recording has not shown it yet."""
        track = part.living.get(track_id)
        if track is None:
            track = Track(track_id, at_s, at_s, [Stretch(self._label(UNCERTAIN), at_s, at_s)])
            part.living[track_id] = track
            part.tracks.append(track)
        return track

    def _feeling(self, part: Part, event: EmotionChanged | EmotionSample) -> None:
        at_s = event.media_time_s
        track, emotion = self._track(part, event.track_id, at_s), self._label(event.emotion)
        if isinstance(event, EmotionChanged):
            part.transitions[self._label(event.previous), emotion] += 1
        self._samples.add(part, event, emotion)
        last = track.stretches[-1]
        last.to_s = track.to_s = max(track.to_s, at_s)
        if last.emotion != emotion:
            track.stretches.append(Stretch(emotion, at_s, at_s))

    def _ended(self, part: Part, event: TrackEnded) -> None:
        track = self._track(part, event.track_id, max(0.0, event.media_time_s - event.duration_s))
        del part.living[event.track_id]
        track.ended = event.reason
        track.told = {}
        for name, share in event.shares.items():
            if share == 0.0:
                continue
            label = self._label(name)
            track.told[label] = track.told.get(label, 0.0) + share
        track.to_s = max(track.to_s, track.from_s + event.duration_s)
        track.stretches[-1].to_s = track.to_s

    @staticmethod
    def _happened(part: Part, happening: Happening) -> None:
        if len(part.happenings) < MOST_HAPPENINGS:
            part.happenings.append(happening)
        else:
            part.more_happenings += 1

    def _label(self, emotion: str) -> str:
        labels = self.made.labels
        if emotion in labels:
            return emotion
        emotion = emotion if len(labels) < MOST_LABELS else OTHER
        if emotion not in labels:
            labels.append(emotion)
        return emotion


class _Samples:
    """The table of samples as CSV, compressed while it grows."""

    def __init__(self) -> None:
        self.rows = 0
        self.left_out = 0
        self._size = 0
        self._packed: list[bytes] = []
        self._packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
        self._write(["camera", "part", "face", "time_s", "captured_at", "event", "emotion", "confidence", "quality"])

    def add(self, part: Part, event: EmotionChanged | EmotionSample, emotion: str) -> None:
        if self._size > MOST_SAMPLES_BYTES:
            self.left_out += 1
            return
        self.rows += 1
        captured = event.captured_at.isoformat(timespec="milliseconds") if event.captured_at else ""
        time_s, numbers = f"{event.media_time_s:.2f}", (f"{event.confidence:.2f}", f"{event.quality:.2f}")
        kind = event.type.removeprefix("emotion.")
        self._write([part.camera_id, part.number, event.track_id, time_s, captured, kind, emotion, *numbers])

    def finish(self) -> bytes:
        self._packed.append(self._packer.flush())
        return b"".join(self._packed)

    def _write(self, row: Iterable[object]) -> None:
        packed = self._packer.compress(csv_row(row).encode())
        self._packed.append(packed)
        self._size += len(packed)


def csv_row(cells: Iterable[object]) -> str:
    """One line of CSV. What a spreadsheet would take for a formula is made a text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
        for cell in cells
    )
    return text.getvalue()


def _counted(group: EmotionAggregate) -> str:
    """How many faces showed what, in words."""
    over = f"within {group.interval_s:g} s"
    if group.counts is None:
        return f"{over} no group that may be told"
    told = sorted(group.counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{over} {group.faces} faces: " + ", ".join(f"{emotion} {count}" for emotion, count in told if count)


def _named(gap: Gap) -> str:
    """What a gap names, in words."""
    return ", ".join(
        f"{named.from_s:.1f} s to {named.to_s:.1f} s"
        if isinstance(named, TimeRange)
        else f"events {named.first_seq} to {named.last_seq}"
        for named in gap.ranges[:10]
    ) + (", …" if len(gap.ranges) > 10 else "")


def _check(event: AnyEvent) -> None:
    """Raises ValueError for numbers that no worker writes and nobody can draw."""
    durations, shares = [event.media_time_s], [0.0]
    if isinstance(event, TrackEnded):
        durations.append(event.duration_s)
        shares.extend(event.shares.values())
    if not all(0.0 <= seconds <= MOST_SECONDS for seconds in durations) or not all(0.0 <= it <= 1.0 for it in shares):
        raise ValueError("a time or a share is out of range")


def _before(moment: datetime, seconds: float) -> datetime | None:
    try:
        return moment - timedelta(seconds=seconds)
    except OverflowError:
        return None


def _sorted(parts: dict[str, float]) -> dict[str, float]:
    """The parts that are there at all, largest first."""
    return dict(sorted(((name, part) for name, part in parts.items() if part > 0), key=lambda it: (-it[1], it[0])))
