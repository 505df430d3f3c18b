"""A function that shows events must neither delay nor end whoever sends them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from stream.events import Event
from stream.sinks.base import Accepted
from stream.sinks.tap import TapSink
from tests.contracts.sink import SinkContract, Stored
from tests.sinks.made import accepted, samples


class TestTapSink(SinkContract):
    @pytest.fixture
    def shown(self) -> list[Event]:
        return []

    @pytest.fixture
    def sink(self, shown: list[Event]) -> Iterator[TapSink]:
        sink = TapSink("terminal", lambda one: shown.append(one.event))
        yield sink
        sink.close()

    @pytest.fixture
    def stored(self, sink: TapSink, shown: list[Event]) -> Stored:
        def read() -> list[Event]:
            sink.close()  # shows what is left
            return shown

        return read


class Held:
    """A terminal that shows nothing until it is released."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        self.shown: list[int] = []

    def take(self, one: Accepted) -> None:
        self.reached.set()
        self.released.wait()
        self.shown.append(one.event.seq)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.released.set()


def test_it_calls_from_a_daemon_thread_with_its_name() -> None:
    callers: list[threading.Thread] = []
    sink = TapSink("terminal", lambda one: callers.append(threading.current_thread()))
    sink.open()
    sink.send(accepted(samples(1)))
    sink.close()
    (caller,) = callers
    assert (caller.name, caller.daemon, caller.is_alive()) == ("terminal", True, False)


def test_a_held_terminal_holds_nobody_up_and_shows_the_latest(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    sink = TapSink("terminal", held.take, waiting=4)
    batch = accepted(samples(11))
    sink.open()
    sink.send(batch[:1])
    held.reached.wait()
    sink.send(batch)
    assert sink.dropped == 6
    held.released.set()
    with caplog.at_level(logging.WARNING):
        sink.close()
    assert held.shown == [0, 7, 8, 9, 10]
    assert [record.message for record in caplog.records] == ["terminal: 6 events were not shown, it was too slow"]


def test_closing_leaves_a_held_terminal(held: Held) -> None:
    sink = TapSink("terminal", held.take, close_s=0.05)
    sink.open()
    sink.send(accepted(samples(3)))
    held.reached.wait()
    sink.close()
    assert (held.shown, sink.dropped) == ([], 2)


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(32, "Broken pipe"), SystemExit(1), OSError(5, "I/O"), ValueError("redis://me:secret@host")],
)
def test_the_first_exception_is_the_last_call(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def take(one: Accepted) -> None:
        calls.append(one.event.seq)
        raise error

    sink = TapSink("terminal", take)
    batch = accepted(samples(9))
    with caplog.at_level(logging.WARNING):
        sink.open()
        sink.send(batch[:3])
        sink.close()
        sink.open()
        sink.send(batch)
        sink.close()
    (record,) = caplog.records
    assert calls == [0]
    assert record.message.startswith(f"terminal: events are not shown any more ({type(error).__name__}: ")
    assert "secret" not in record.message
