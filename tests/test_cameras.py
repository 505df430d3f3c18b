"""One camera's threads, with a source that does what the test says. The clock and the waiting are arguments."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest

from stream.backoff import Budget
from stream.cameras import MOST_ABANDONED, SUSPECT_S
from stream.errors import Closed, SourceError, SourceInvalid, SourceRefused, SourceTimeout
from stream.handover import Inputs
from stream.reader import CRASHES, CRASHES_S, FIRST_DELAY_S, LOST_CAP_S, OPENINGS, REFUSED_CAP_S, Outlet
from stream.records import CameraEnded, CameraState, Frame, Input, Tick
from stream.runtime import WATCH_S
from tests.camera_bench import SETTINGS, Bench, Hang, Opening, join_all, threads
from tests.makers import frame


def told(inputs: list[Input]) -> list[str]:
    return [item.state if isinstance(item, (CameraState, CameraEnded)) else type(item).__name__ for item in inputs]


def no_op() -> None:
    pass


def test_a_file_is_read_once_and_ends() -> None:
    bench = Bench([no_op, no_op, no_op], live=False)
    assert told(bench.run()) == ["connecting", "live", "Frame", "Frame", "Frame", "ended"]
    assert bench.camera.failed is None
    assert [source.closed for source in bench.sources] == [1]
    assert bench.camera.skipped == {"undecodable": 3}


def test_a_stop_in_the_moment_of_the_end_tells_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench([no_op], live=False)
    monkeypatch.setattr(bench.stop, "is_set", lambda: bench.camera._reader._told_end)
    assert told(bench.run()) == ["connecting", "live", "Frame", "ended"]


@pytest.mark.parametrize("error", [SourceInvalid("x.mp4 is not a video"), SourceError("x.mp4: no such file")])
def test_a_file_that_cannot_be_read_fails_with_its_sentence(error: SourceError) -> None:
    bench = Bench([error], live=False)
    inputs = bench.run()
    assert told(inputs) == ["connecting", "failed"]
    assert bench.camera.failed == str(error)
    assert bench.sources[0].closed == 1


def test_a_live_camera_comes_back_after_every_loss() -> None:
    bench = Bench([no_op, SourceTimeout("silent")], [SourceRefused("401")], [no_op, SourceError("cut")], stop_after=3)
    inputs = bench.run()
    assert told(inputs) == [
        "connecting", "live", "Frame", "offline",
        "connecting", "offline",
        "connecting", "live", "Frame", "offline",
        "ended",
    ]  # fmt: skip
    offline = [item for item in inputs if isinstance(item, CameraEnded) and item.state == "offline"]
    assert [item.reason for item in offline] == ["silent", "401", "cut"]
    assert bench.camera.failed is None
    assert all(source.closed == 1 for source in bench.sources)


@pytest.mark.parametrize(
    ("error", "cap_s"), [(SourceTimeout("silent"), LOST_CAP_S), (SourceRefused("401"), REFUSED_CAP_S)]
)
def test_the_waits_grow_to_their_cap(error: SourceError, cap_s: float) -> None:
    bench = Bench(*([[error]] * 60), stop_after=60)
    bench.run()
    assert max(bench.stop.waits) <= cap_s
    assert max(bench.stop.waits[20:]) > 0.8 * cap_s
    assert min(bench.stop.waits) >= FIRST_DELAY_S / 2


def test_an_unforeseen_error_fails_a_file_at_once_and_finishes_it() -> None:
    bench = Bench([no_op, ZeroDivisionError("ours")], live=False)
    assert told(bench.run()) == ["connecting", "live", "Frame", "failed"]
    assert "ZeroDivisionError" in str(bench.camera.failed)


def test_a_live_camera_that_crashes_begins_anew() -> None:
    bench = Bench([no_op, ZeroDivisionError("ours")], [ZeroDivisionError("in open")], [no_op, no_op], stop_after=3)
    inputs = bench.run()
    assert told(inputs)[:8] == [
        "connecting", "live", "Frame", "offline", "connecting", "offline", "connecting", "live"
    ]  # fmt: skip
    offline = next(item for item in inputs if isinstance(item, CameraEnded))
    assert offline.reason == "unforeseen ZeroDivisionError; the log has the details"
    assert bench.camera.failed is None
    assert [source.closed for source in bench.sources] == [1, 1, 1]


def test_a_live_camera_that_crashes_too_often_fails() -> None:
    bench = Bench(*([[no_op, ZeroDivisionError("ours")]] * 20))
    inputs = bench.run()
    assert told(inputs).count("offline") == CRASHES
    assert told(inputs)[-1] == "failed"
    assert "ZeroDivisionError" in str(bench.camera.failed)


def test_crashes_that_are_far_apart_are_forgiven() -> None:
    bench = Bench(*([[no_op, ZeroDivisionError("ours")]] * 60), stop_after=50)
    bench.stop.on_wait = lambda _: setattr(bench, "now_s", bench.now_s + CRASHES_S / CRASHES + 0.1)
    inputs = bench.run()
    assert told(inputs).count("offline") == 50
    assert bench.camera.failed is None


def test_a_budget_counts_what_lies_within_its_time() -> None:
    budget = Budget(3, 10.0)
    assert [budget.spend(at_s) for at_s in (0.0, 1.0, 2.0, 3.0, 9.9, 10.1, 10.2, 11.1)] == [
        True, True, True, False, False, True, False, True
    ]  # fmt: skip


def test_frames_that_stay_away_make_a_camera_stalled_and_its_clock_goes_on() -> None:
    bench = Bench()

    def hold_back() -> None:
        bench.now_s += 1.9
        bench.camera.watch()  # not yet
        bench.now_s += 0.2
        bench.camera.watch()
        bench.now_s += 1.0
        bench.camera.watch()

    bench.scripts = iter([[no_op, hold_back, no_op]])
    bench.stop.after = 1
    inputs = bench.run()
    assert told(inputs)[:8] == ["connecting", "live", "Frame", "stalled", "Tick", "live", "Frame", "ended"]
    (tick,) = [item for item in inputs if isinstance(item, Tick)]
    assert tick.media_time_s == pytest.approx(3.1)


def test_a_camera_that_is_given_up_stops_reading_and_fails() -> None:
    bench = Bench()
    bench.scripts = iter([[no_op, lambda: bench.camera.give_up("the analysis failed at frame 0"), no_op, no_op]])
    inputs = bench.run()
    assert told(inputs) == ["connecting", "live", "Frame", "failed"]
    assert bench.camera.failed == "the analysis failed at frame 0"


class TestHanging:
    """Threads that FFmpeg does not give back."""

    def test_while_reading_the_camera_goes_on_in_another_thread(self) -> None:
        hang = Hang()
        bench = Bench([no_op, no_op, hang, no_op, no_op], [no_op, no_op, SourceError("cut")], stop_after=1)
        bench.camera.start()
        bench.abandon(hang, SETTINGS.read_timeout_s)
        assert threads() == ["camera-cam1"]
        bench.watch(LOST_CAP_S)  # time for the next one, which runs until the camera is stopped
        join_all("camera-cam1-2")
        inputs = bench.taken()
        hang.let_go()  # only now the first one comes back, with frames in its hands
        join_all()
        assert told(inputs) == [
            "connecting", "live", "Frame", "stalled", "Tick", "offline",
            "connecting", "live", "Frame", "offline", "ended",
        ]  # fmt: skip
        offline = next(item for item in inputs if isinstance(item, CameraEnded))
        assert (
            offline.reason == "reading it hangs beyond its timeout (a name server, a driver?); its thread was abandoned"
        )
        assert offline.retry_in_s is not None
        assert offline.retry_in_s <= LOST_CAP_S
        assert bench.inputs.dropped() == {"cam1": 2}  # one of each connection: none came after the cut
        times = [item.media_time_s for item in inputs if isinstance(item, Frame)]
        assert all(later > earlier for earlier, later in pairwise(times))
        assert bench.camera.skipped == {"undecodable": 4}
        assert [source.closed for source in bench.sources] == [1, 1]
        assert (bench.camera.abandoned, bench.camera.failed) == (1, None)

    def test_a_thread_that_comes_back_late_can_hand_nothing_on(self) -> None:
        inputs = Inputs(["cam1"], [])
        outlet = Outlet(inputs)
        outlet.put(frame())
        assert outlet.cut()
        with pytest.raises(Closed):
            outlet.put(frame("cam1", 0.2))
        outlet.finish("cam1")
        inputs.put(frame("cam1", 0.4))  # by its successor: the camera is not finished, and lost no frame but one
        assert [item.media_time_s for item in inputs.take()] == [0.4]

    def test_one_that_has_told_its_end_is_not_cut_off(self) -> None:
        outlet = Outlet(Inputs(["cam1"], []))
        outlet.finish("cam1")
        assert not outlet.cut()
        with pytest.raises(Closed):  # nor told to be silent behind it, by a supervisor that was late
            outlet.put(frame())

    def test_only_so_many_threads_of_a_camera_hang_at_a_time(self) -> None:
        hangs = [Hang() for _ in range(MOST_ABANDONED)]
        bench = Bench(*[[Opening(hang), no_op] for hang in hangs], [no_op, SourceError("cut")], stop_after=1)
        bench.camera.start()
        for hang in hangs:
            bench.abandon(hang, OPENINGS * SETTINGS.open_timeout_s)
            bench.watch(LOST_CAP_S)
        names = ["camera-cam1", "camera-cam1-2", "camera-cam1-3"]
        bench.watch(3600.0)
        assert threads() == names
        hangs[1].let_go()
        join_all(names[1])
        bench.watch(0.0)
        inputs = bench.taken()
        for hang in hangs:
            hang.let_go()
        join_all()
        offline = [item for item in inputs if isinstance(item, CameraEnded)][:MOST_ABANDONED]
        assert [item.retry_in_s is None for item in offline] == [False, False, True]
        assert (
            offline[0].reason
            == "opening it hangs beyond its timeout (a name server, a driver?); its thread was abandoned"
        )
        assert str(offline[-1].reason).endswith("; 3 of them hang, and one must return first")
        assert told(inputs)[-5:] == ["connecting", "live", "Frame", "offline", "ended"]

    def test_a_process_that_stood_still_abandons_nobody(self) -> None:
        """Stopped by a debugger or for a snapshot: its threads are overdue, but they do come back."""
        hang = Hang()
        bench = Bench([no_op, hang, SourceError("cut")], stop_after=1)
        bench.camera.start()
        hang.begun()
        bench.watch(1000.0)
        hang.let_go()
        join_all()
        bench.watch(SUSPECT_S)
        assert bench.camera.abandoned == 0
        assert told(bench.taken())[-2:] == ["offline", "ended"]

    def test_given_up_meanwhile_it_fails(self) -> None:
        hang = Hang()
        bench = Bench([no_op, hang])
        bench.camera.start()
        bench.abandon(hang, SETTINGS.read_timeout_s)
        bench.camera.give_up("another worker has taken this camera")
        bench.watch(0.0)
        assert told(bench.taken())[-2:] == ["offline", "failed"]
        hang.let_go()
        join_all()
        assert bench.camera.failed == "another worker has taken this camera"

    @pytest.mark.parametrize("abandoned", [True, False])
    def test_a_stop_ends_the_camera_without_its_thread(self, abandoned: bool) -> None:
        hang = Hang()
        bench = Bench([no_op, hang, no_op])
        bench.camera.start()
        hang.begun()
        if abandoned:
            bench.abandon(hang, SETTINGS.read_timeout_s)
        bench.stop.after = 0
        assert bench.camera.join(0.0) == (None if abandoned else "camera-cam1")
        assert told(bench.taken())[-1] == "ended"
        hang.let_go()
        join_all()


class TestOutages:
    """How soon it is known that a camera is away, and how soon it is back: the supervisor's clock, no machine's."""

    def test_silence_is_told_in_time(self) -> None:
        bench = Bench(stop_after=1)
        looks = round(SETTINGS.read_timeout_s / WATCH_S)

        def silence() -> None:
            for _ in range(looks):
                bench.watch(WATCH_S)
            raise SourceTimeout("no answer in time")

        bench.scripts = iter([[no_op, silence]])
        inputs = bench.run()
        stalled = next(item for item in inputs if isinstance(item, CameraState) and item.state == "stalled")
        offline = next(item for item in inputs if isinstance(item, CameraEnded))
        assert stalled.media_time_s <= SETTINGS.stall_s + WATCH_S
        assert offline.media_time_s <= 5.0

    @pytest.mark.parametrize("outage_s", [5.0, 60.0, 600.0])
    def test_it_is_live_within_three_seconds_of_its_return(self, outage_s: float) -> None:
        took_s = 0.2  # a camera's answer, which is not there yet in the moment of its return
        for seed in range(100):
            bench = Bench(seed=seed)
            back_s = 0.0

            def connect(bench: Bench = bench) -> None:
                bench.now_s += took_s
                if bench.now_s - took_s < outage_s:
                    raise SourceError("the connection was refused")

            def live(bench: Bench = bench) -> None:
                nonlocal back_s
                back_s, bench.stop.after = bench.now_s, 0

            bench.stop.after = 10_000
            bench.stop.on_wait = lambda seconds, bench=bench: setattr(bench, "now_s", bench.now_s + seconds)
            bench.scripts = itertools.repeat([Opening(connect), live])
            bench.run()
            assert outage_s <= back_s - took_s <= outage_s + LOST_CAP_S + took_s
            assert back_s <= outage_s + 3.0
