from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.errors import SinkError, SinkRefused
from stream.events import Event, parse
from stream.sinks.jsonl import JsonlSink
from tests.contracts.sink import SinkContract, Stored
from tests.sinks.made import accepted, samples


def read(path: Path) -> list[Event]:
    events = [parse(line) for line in path.read_bytes().splitlines()]
    return [event for event in events if event is not None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def sink(path: Path) -> Iterator[JsonlSink]:
    sink = JsonlSink(path)
    yield sink
    sink.close()


class TestJsonlSink(SinkContract):
    @pytest.fixture
    def stored(self, sink: JsonlSink, path: Path) -> Stored:
        return lambda: read(path)


def test_the_same_events_are_the_same_bytes(tmp_path: Path) -> None:
    batch = accepted(samples(5))
    for name, cut in (("one", 2), ("two", 5)):
        sink = JsonlSink(tmp_path / name)
        sink.open()
        sink.send(batch[:cut])
        sink.send(batch[cut:])
        sink.close()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_every_line_is_there_before_the_sink_is_closed(sink: JsonlSink, path: Path) -> None:
    sink.open()
    sink.send(accepted(samples(1)))
    assert path.read_bytes().endswith(b"}\n")


def test_a_new_run_begins_a_new_file(sink: JsonlSink, path: Path) -> None:
    path.write_text('{"from": "before"}\n')
    sink.open()
    sink.send(accepted(samples(1)))
    assert len(read(path)) == 1


def test_a_video_is_not_overwritten(sink: JsonlSink, path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x20ftypisom")
    with pytest.raises(SinkRefused, match="holds no events"):
        sink.open()
    assert path.read_bytes() == b"\x00\x00\x00\x20ftypisom"


def test_a_device_is_written_as_it_is() -> None:
    sink = JsonlSink(Path("/dev/null"))
    sink.open()
    sink.send(accepted(samples(2)))
    sink.close()


@pytest.mark.parametrize("place", ["no/such/folder/events.jsonl", "."])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(SinkRefused, match="the file cannot be written"):
        JsonlSink(tmp_path / place).open()


def test_a_file_has_one_writer(sink: JsonlSink, path: Path) -> None:
    sink.open()
    sink.send(accepted(samples(1)))
    with pytest.raises(SinkRefused, match="another process is writing"):
        JsonlSink(path).open()
    assert len(read(path)) == 1


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file of this process may grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_leaves_whole_lines_and_goes_on_later(sink: JsonlSink, path: Path, small_disk: int) -> None:
    batch = accepted(samples(8))
    sink.open()
    sink.send(batch[:1])
    with pytest.raises(SinkError, match="7 events could not be written"):
        sink.send(batch[1:])
    assert [event.seq for event in read(path)] == [0]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    sink.open()
    sink.send(batch)
    assert [event.seq for event in read(path)] == list(range(8))
