"""Damaged videos and streams against the real sources: no crash, no hang, no growth; each ends in frames or one error.

    python -m tests.chaos.mutations 2000          a table of what came of them
    python -m tests.chaos.mutations 2000 1234     one of them, by its number

Every number is one mutation of one small clip, and always the same one. Most are read as files, some over HTTP, some
over RTSP. All are read by one process, as a worker would over its days; what kills or hangs it has its number told.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import clips
from tests.chaos.mutating_proxy import MutatingProxy
from tests.rtsp_server import Behaviour, RtspServer
from tests.sources.http_server import Server, serving
from tests.sources.reader import Answer, Reader

HANG_S = 10.0
MOST_GROWTH_MB = 30.0  # from a quarter of the way to the end; the allocator's own wandering is about half of it
LONGEST_SENTENCE = 300

CLIPS: dict[str, dict[str, str]] = {  # file name -> how it is encoded
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "h264.h264": {},
    "hevc.mov": {"codec": "libx265"},
    "hevc.ts": {"codec": "libx265"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "av1.mp4": {"codec": "libsvtav1"},
    "ffv1.mkv": {"codec": "ffv1"},
    "picture.png": {"codec": "png", "pix_fmt": "rgb24"},
    "moving.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}
EXTREMES = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x01",
    b"\xff\xff\xff\x7f",
)

Mutation = Callable[[bytearray, random.Random], None]


def flip(content: bytearray, chance: random.Random) -> None:
    """Some bits, as a bad line or disk does."""
    for _ in range(chance.choice((1, 4, 32, 256))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def claim(content: bytearray, chance: random.Random) -> None:
    """Numbers become as large or as small as they can be; mostly in headers, which stand at either end."""
    for _ in range(chance.randint(1, 4)):
        near = min(len(content) - 4, chance.choice((64, 1024, len(content))))
        at = chance.randrange(near)
        at = at if chance.random() < 0.7 else len(content) - 4 - at
        content[at : at + 4] = chance.choice(EXTREMES)


def cut(content: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del content[chance.randrange(1, len(content)) :]


def drop(content: bytearray, chance: random.Random) -> None:
    """A part is missing."""
    del content[block(content, chance)]


def swap(content: bytearray, chance: random.Random) -> None:
    """Two parts stand in each other's place."""
    here, there = block(content, chance), block(content, chance)
    content[here], content[there] = content[there], content[here]


def repeat(content: bytearray, chance: random.Random) -> None:
    """A part comes again."""
    again = content[block(content, chance)]
    at = chance.randrange(len(content))
    content[at:at] = again * chance.randint(1, 8)


def noise(content: bytearray, chance: random.Random) -> None:
    """A part is overwritten."""
    place = block(content, chance)
    length = len(content[place])
    content[place] = bytes(length) if chance.random() < 0.3 else chance.randbytes(length)


MUTATIONS: tuple[Mutation, ...] = (flip, flip, claim, claim, cut, drop, swap, repeat, noise)


def block(content: bytearray, chance: random.Random) -> slice:
    """A part of it, from some bytes to a third."""
    length = chance.choice((1, 16, 188, 4096, max(1, len(content) // 3)))
    begin = chance.randrange(len(content))
    return slice(begin, min(len(content), begin + length))


def mutated(content: bytes, seed: int) -> bytes:
    """`content` after one to three mutations, never empty and at most some times longer; the same for the same seed."""
    chance = random.Random(seed)
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        chance.choice(MUTATIONS)(changed, chance)
        if not changed:
            changed.append(0)
    return bytes(changed)


@dataclass(slots=True)
class Report:
    """What came of all of them."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)  # what must not happen, each with the number to repeat it
    rss_mb: list[float] = field(default_factory=list)  # of the reading process, after each
    peak_mb: float = 0.0
    slowest_s: float = 0.0
    seconds: float = 0.0

    @property
    def grown_mb(self) -> float:
        """The least of the last quarter against the most of the second: what stays, not what comes and goes."""
        quarter = len(self.rss_mb) // 4
        return min(self.rss_mb[-quarter:]) - max(self.rss_mb[quarter : 2 * quarter]) if quarter else 0.0

    def take(self, name: str, answer: Answer | str) -> None:
        if isinstance(answer, str):
            self.faults.append(f"{name} {answer}")
            return
        self.rss_mb.append(answer.rss_mb)
        self.peak_mb = max(self.peak_mb, answer.peak_mb)
        self.slowest_s = max(self.slowest_s, answer.seconds)
        kind = answer.error.partition(":")[0] if answer.error else "end"
        self.outcomes[f"{name.split()[1]}: {'frames, then' if answer.frames else 'no frame,'} {kind}"] += 1
        if not answer.frames and answer.error is None:
            self.faults.append(f"{name} ended without a frame and without a word")
        if answer.error and ("\n" in answer.error or len(answer.error) > LONGEST_SENTENCE):
            self.faults.append(f"{name} said more than a sentence: {answer.error!r}")

    def __str__(self) -> str:
        rows = [f"{count:6} {outcome}" for outcome, count in self.outcomes.most_common()]
        rows.append(f"{len(self.faults):6} faults" + "".join(f"\n       {fault}" for fault in self.faults))
        rows.append(f"memory grew by {self.grown_mb:.1f} MB, peak {self.peak_mb:.0f} MB")
        rows.append(f"slowest {self.slowest_s:.1f} s, all {self.seconds:.0f} s")
        return "\n".join(rows)


@contextlib.contextmanager
def prepared() -> Iterator[Bench]:
    """Clips, and servers that give them away."""
    with tempfile.TemporaryDirectory(prefix="emostream-mutations-") as name:
        folder = Path(name)
        (folder / "served").mkdir()
        whole = {}
        for clip, how in CLIPS.items():
            path = clips.make_clip(folder / clip, seconds=0.04 if clip.endswith("png") else 0.8, size=(160, 120), **how)
            whole[clip] = path.read_bytes()
        camera = Behaviour(path=folder / "h264.mp4")
        with serving(folder / "served") as http, RtspServer({"cam": camera}) as rtsp:
            yield Bench(folder, whole, http, rtsp)


@dataclass(frozen=True)
class Bench:
    folder: Path
    whole: dict[str, bytes]
    http: Server
    rtsp: RtspServer

    def ask(self, reader: Reader, number: int) -> tuple[str, Answer | str]:
        """What is read how, and what came of it."""
        if number % 10 == 9:
            with MutatingProxy(self.rtsp.port, number) as proxy:
                return f"{number} rtsp", reader.ask(f"rtsp://127.0.0.1:{proxy.port}/cam", HANG_S)
        clip = sorted(CLIPS)[number % len(CLIPS)]
        path = self.folder / "served" / clip
        path.write_bytes(mutated(self.whole[clip], number))
        if number % 10 == 8:
            return f"{number} http {clip}", reader.ask(self.http.url(clip), HANG_S)
        return f"{number} file {clip}", reader.ask(str(path), HANG_S)


def run(numbers: Iterator[int] | range) -> Report:
    """Read each of these mutations."""
    report, began_s = Report(), time.monotonic()
    with prepared() as bench, Reader() as reader:
        for number in numbers:
            report.take(*bench.ask(reader, number))
    report.seconds = time.monotonic() - began_s
    return report


if __name__ == "__main__":
    os.environ["SVT_LOG"] = "0"  # the encoder of AV1 is talkative
    count, *only = map(int, sys.argv[1:] or ["2000"])
    done = run(range(only[0], only[0] + 1) if only else range(count))
    print(done)
    sys.exit(bool(done.faults) or done.grown_mb > MOST_GROWTH_MB)
