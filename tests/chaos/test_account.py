"""The account that every scenario is judged by finds what it is there to find."""

from __future__ import annotations

from typing import Any

from stream.events import Event, Gap, SeqRange, TrackEnded
from tests.chaos.account import Account, missing_from
from tests.sinks.made import accepted, moment, sample, samples, started


def told(count: int) -> list[Event]:
    return [one.event for one in accepted(samples(count))]


def ended() -> TrackEnded:
    summary: dict[str, Any] = {"duration_s": 1.0, "shares": {}, "dominant": "happy", "frames_seen": 5, "frames_used": 5}
    return TrackEnded(**moment(), track_id=1, reason="worker_lost", **summary)


def test_events_in_order_without_holes_are_in_order() -> None:
    account = Account.of(told(5))
    assert account.wrong == 0
    assert account.sessions == {("cam1", "s-cam1")}


def test_a_hole_counts_every_seq_in_it() -> None:
    events = told(6)
    assert Account.of([*events[:2], *events[5:]]).lost == 3


def test_a_session_that_does_not_begin_at_0_has_lost_its_beginning() -> None:
    assert Account.of(told(4)[2:]).lost == 2


def test_an_event_that_comes_twice_or_late_is_found() -> None:
    events = told(4)
    assert Account.of([*events, events[3]]).repeated == 1
    assert Account.of([events[0], events[2], events[1], events[3]]).repeated == 1


def test_what_a_gap_names_is_given_up_and_not_lost() -> None:
    events = told(6)
    gap = Gap(**moment(), seq=3, reason="outbox_full", ranges=(SeqRange(first_seq=1, last_seq=3),))
    account = Account.of([events[0], gap, *events[4:]])
    assert (account.lost, account.given_up, account.repeated) == (0, 3, 0)


def test_a_track_is_open_until_its_end_is_told() -> None:
    beginning = [started(), sample()]
    assert Account.of(beginning).open_tracks == {("cam1", "s-cam1", 1)}
    assert not Account.of([*beginning, ended()]).open_tracks


def test_an_event_that_was_changed_on_its_way_is_missing() -> None:
    events = told(3)
    changed = events[1].model_copy(update={"media_time_s": 9.0})
    assert missing_from([events[0], changed, events[2]], events) == 1
