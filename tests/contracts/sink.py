"""What every sink must do, whatever it is: `SinkContract` is run on each by its twin in tests/sinks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream.events import Event, Gap, SeqRange
from stream.sinks.base import Sink
from tests.sinks.made import accepted, changed, moment, sample, samples, started, status

MakeSink = Callable[[], Sink]
Stored = Callable[[], list[Event]]


class SinkContract:
    """Subclasses give two fixtures: `sink`, one that is not open, and `stored`, which reads back what it holds."""

    @pytest.fixture
    def opened(self, sink: Sink) -> Sink:
        sink.open()
        return sink

    def test_events_come_out_as_they_went_in(self, opened: Sink, stored: Stored) -> None:
        gap = Gap(**moment(at_s=4.0), reason="outbox_full", ranges=(SeqRange(first_seq=4, last_seq=4),))
        batch = accepted([status(), started(at_s=1.0), changed(at_s=2.0), sample(at_s=3.0), gap])
        opened.send(batch)
        assert stored() == [one.event for one in batch]

    def test_batches_follow_each_other(self, opened: Sink, stored: Stored) -> None:
        batch = accepted(samples(10))
        for start in range(0, 10, 3):
            opened.send(batch[start : start + 3])
        assert [event.seq for event in stored()] == list(range(10))

    def test_sending_again_stores_nothing_twice(self, opened: Sink, stored: Stored) -> None:
        batch = accepted(samples(6))
        opened.send(batch[:4])
        opened.send(batch[:4])
        opened.send(batch[2:])
        assert [event.seq for event in stored()] == list(range(6))

    def test_opening_again_keeps_what_is_there(self, opened: Sink, stored: Stored) -> None:
        batch = accepted(samples(6))
        opened.send(batch[:4])
        opened.open()
        opened.send(batch)
        assert [event.seq for event in stored()] == list(range(6))

    def test_each_camera_keeps_its_order(self, opened: Sink, stored: Stored) -> None:
        events = [sample("one"), sample("two"), sample("one", 1.0), sample("two", 1.0), sample("one", 2.0)]
        opened.send(accepted(events))
        told = stored()
        assert [event.seq for event in told if event.camera_id == "one"] == [0, 1, 2]
        assert [event.seq for event in told if event.camera_id == "two"] == [0, 1]

    def test_a_new_session_of_a_camera_counts_from_0(self, opened: Sink, stored: Stored) -> None:
        events = [sample(session="first"), sample(session="first"), sample(session="second")]
        opened.send(accepted(events))
        assert [(event.session, event.seq) for event in stored()] == [("first", 0), ("first", 1), ("second", 0)]

    def test_an_empty_batch_is_nothing(self, opened: Sink, stored: Stored) -> None:
        opened.send([])
        assert stored() == []

    def test_closing_finishes_what_was_begun(self, opened: Sink, stored: Stored) -> None:
        opened.send(accepted(samples(3)))
        opened.close()
        assert [event.seq for event in stored()] == [0, 1, 2]

    def test_closes_twice_and_unopened(self, sink: Sink) -> None:
        sink.close()
        sink.open()
        sink.close()
        sink.close()

    def test_its_name_shows_no_credentials(self, sink: Sink) -> None:
        assert "secret" not in sink.name
