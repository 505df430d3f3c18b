"""Which seqs are missing before an entry: arithmetic, without Redis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.continuity import Continuity, Entry
from stream.events import AnyEvent, Gap
from stream.outbox.shedding import shed
from stream.sinks.entries import EntryId
from tests.sinks.made import accepted, named, sample, samples


def entry(run: int, seq: int, session: str = "s", late: bool = False) -> Entry:
    return Entry(EntryId(run, seq), sample(session=session).model_copy(update={"seq": seq}), late)


def told(position: EntryId, entries: list[Entry]) -> list[list[int]]:
    """What each entry's gap names."""
    continuity = Continuity(position)
    gaps = [continuity.follow(one) for one in entries]
    return [named([gap]) if gap else [] for gap in gaps]


def test_within_a_run_each_event_follows_the_last() -> None:
    assert told(EntryId(5, 3), [entry(5, 4), entry(5, 5), entry(5, 8)]) == [[], [], [6, 7]]


def test_a_new_run_begins_at_0() -> None:
    assert told(EntryId(5, 3), [entry(6, 0), entry(7, 2)]) == [[], [0, 1]]


def test_a_late_run_goes_on_with_its_session() -> None:
    entries = [entry(5, 0, "ours"), entry(6, 0, "theirs"), entry(7, 1, "ours", late=True), entry(7, 2, "ours")]
    assert told(EntryId(0, 0), entries) == [[], [], [], []]
    assert told(EntryId(0, 0), [*entries[:2], entry(7, 3, "ours", late=True)]) == [[], [], [1, 2]]


def test_a_late_run_of_a_session_that_was_never_seen_tells_nothing() -> None:
    assert told(EntryId(5, 9), [entry(6, 40, "unknown", late=True), entry(6, 41, "unknown")]) == [[], []]


def test_what_is_no_event_moves_nothing_and_what_is_newer_counts() -> None:
    foreign = Entry(EntryId(9, 0), None, trouble="not json")
    newer = Entry(EntryId(5, 4), None)
    assert told(EntryId(5, 3), [newer, foreign, entry(5, 5)]) == [[], [], []]


@given(st.integers(0, 40), st.sets(st.integers(0, 29)))
def test_what_is_delivered_and_what_gaps_name_is_everything(target: int, trimmed: set[int]) -> None:
    """A stream with the worker's own gaps in it, of which entries are missing on top."""
    stored = [one.event for one in shed(accepted(samples(30)), target)]
    left = [event for place, event in enumerate(stored) if place not in trimmed or place == len(stored) - 1]
    continuity = Continuity(EntryId(0, 0))
    heard: list[AnyEvent] = []
    for event in left:
        assert isinstance(event, AnyEvent)
        gap = continuity.follow(Entry(EntryId(5, event.seq), event))
        heard += [gap, event] if gap else [event]
    assert named(heard) == list(range(30))
    assert all(event.seq == named([event])[-1] for event in heard if isinstance(event, Gap))
