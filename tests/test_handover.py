"""The objects that threads share: what they keep, in which order, and how everybody gets out."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream.errors import Closed
from stream.events import CameraStatus
from stream.handover import ROUND_S, EventQueue, Inputs
from stream.records import Frame, Input
from tests.makers import ended, frame, live, moment, tick


def drain(inputs: Inputs) -> list[Input]:
    taken: list[Input] = []
    with pytest.raises(Closed):  # noqa: PT012 - the loop is what ends in Closed
        while True:
            taken += inputs.take()
    return taken


class TestMore:
    def test_cameras_come_and_go_until_no_more_are_taken(self) -> None:
        inputs = Inputs([], [], more=True)
        assert inputs.add("a", live=True)
        inputs.put(frame("a", 0.2))
        assert [item.camera_id for item in inputs.take()] == ["a"]
        inputs.finish("a")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(inputs.take)  # the last camera has ended, and another may still come
            assert inputs.add("b", live=True)
            inputs.put(frame("b", 0.4))
            assert [item.camera_id for item in waiting.result()] == ["b"]
            inputs.finish("b")
            waiting = pool.submit(inputs.take)
            inputs.no_more()
            with pytest.raises(Closed):
                waiting.result()
        assert not inputs.add("c", live=True)

    @pytest.mark.parametrize("live_one", [True, False])
    def test_a_name_is_free_once_its_last_input_was_taken(self, live_one: bool) -> None:
        inputs = Inputs([], [], more=True)
        inputs.add("a", live=live_one)
        inputs.put(ended("a"))
        assert not inputs.forget("a")
        inputs.finish("a")
        assert not inputs.forget("a")
        inputs.take()
        assert inputs.forget("a")
        inputs.add("a", live=not live_one)
        inputs.put(frame("a", 0.0))
        inputs.put(frame("a", 0.2))
        taken = len(inputs.take())
        assert (taken, inputs.dropped()) == ((1, {}) if live_one else (1, {"a": 1}))

    def test_a_file_that_is_added_holds_up_no_other(self) -> None:
        inputs = Inputs([], ["old"], more=True)
        inputs.add("new", live=False)
        inputs.put(frame("old", 100.0))
        assert [item.camera_id for item in inputs.take()] == ["old"]
        inputs.put(frame("new", 0.0))
        assert [item.camera_id for item in inputs.take()] == ["new"]


class TestLatestFrames:
    def test_newer_frame_replaces_unread_one_and_is_counted(self) -> None:
        inputs = Inputs(["a", "b"], [])
        for index in range(3):
            inputs.put(frame("a", index * 0.2, index=index))
        inputs.put(frame("b", 0.1))
        taken = inputs.take()
        assert [(item.camera_id, item.media_time_s) for item in taken] == [("a", 0.4), ("b", 0.1)]
        assert inputs.dropped() == {"a": 2}

    def test_states_and_endings_are_never_replaced(self) -> None:
        inputs = Inputs(["a"], [])
        items = [live("a"), frame("a", 0.1), ended("a", 0.2, state="offline"), live("a", 1.0), frame("a", 1.1)]
        for item in items:
            inputs.put(item)
        assert inputs.take() == items
        assert inputs.dropped() == {}

    def test_a_restart_is_not_lost_with_its_frame(self) -> None:
        inputs = Inputs(["a"], [])
        inputs.put(frame("a", 5.0, discontinuity="pts_jumped", skipped_s=4.0))
        inputs.put(frame("a", 5.2))
        (item,) = inputs.take()
        assert isinstance(item, Frame)
        assert (item.media_time_s, item.discontinuity, item.skipped_s) == (5.2, "pts_jumped", 4.0)

    def test_ticks_do_not_pile_up(self) -> None:
        inputs = Inputs(["a"], [])
        for second in range(5):
            inputs.put(tick("a", second))
        assert [item.media_time_s for item in inputs.take()] == [4]

    def test_a_live_camera_never_waits(self) -> None:
        inputs = Inputs(["a"], [])
        for index in range(10_000):  # nobody takes
            inputs.put(frame("a", index * 0.04))
        assert inputs.dropped() == {"a": 9_999}


class TestMergedFrames:
    @pytest.mark.parametrize("seed", range(5))
    def test_order_does_not_depend_on_thread_timing(self, seed: int) -> None:
        times = {"a": [0.0, 0.2, 0.4, 0.6], "b": [0.0, 0.1, 0.5], "c": [0.3]}
        inputs = Inputs([], list(times))
        jitter = random.Random(seed)
        pause = threading.Event()  # never set: only its timeout is used, to shuffle the threads

        def feed(camera_id: str, delays: list[float]) -> None:
            for media_time_s, delay_s in zip(times[camera_id], delays, strict=True):
                pause.wait(delay_s)
                inputs.put(frame(camera_id, media_time_s))
            inputs.finish(camera_id)

        with ThreadPoolExecutor(len(times)) as pool:
            for camera_id, own in times.items():
                pool.submit(feed, camera_id, [jitter.uniform(0, 0.01) for _ in own])
            taken = drain(inputs)
        assert [(item.camera_id, item.media_time_s) for item in taken] == [
            ("a", 0.0), ("b", 0.0), ("b", 0.1), ("a", 0.2), ("c", 0.3), ("a", 0.4), ("b", 0.5), ("a", 0.6),
        ]  # fmt: skip

    def test_a_round_is_one_batch_of_neighbours(self) -> None:
        inputs = Inputs([], ["a", "b", "c"])
        for camera_id, media_time_s in (("a", 0.02), ("b", 0.0), ("c", ROUND_S + 0.01)):
            inputs.put(frame(camera_id, media_time_s))
        assert [item.camera_id for item in inputs.take()] == ["b", "a"]

    def test_files_drop_nothing_and_the_camera_thread_waits(self) -> None:
        inputs = Inputs([], ["a"])
        with ThreadPoolExecutor(1) as pool:

            def feed() -> None:
                for index in range(200):
                    inputs.put(frame("a", index * 0.04, index=index))
                inputs.finish("a")

            done = pool.submit(feed)
            taken = drain(inputs)
            done.result()
        assert [item.index for item in taken if isinstance(item, Frame)] == list(range(200))

    def test_a_file_that_ended_holds_nobody_back(self) -> None:
        inputs = Inputs([], ["a", "b"])
        inputs.put(frame("b", 1.0))
        inputs.finish("a")
        assert [item.camera_id for item in inputs.take()] == ["b"]


class TestEnding:
    def test_abort_lets_a_waiting_camera_go(self) -> None:
        inputs = Inputs([], ["a"])
        with ThreadPoolExecutor(1) as pool:

            def feed() -> None:
                for index in itertools.count():
                    inputs.put(frame("a", index * 0.04))

            waiting = pool.submit(feed)
            inputs.abort()
            with pytest.raises(Closed):
                waiting.result()

    def test_mixed_run_ends_when_all_have_finished(self) -> None:
        inputs = Inputs(["cam"], ["file"])
        inputs.put(frame("cam", 3.0))
        inputs.put(frame("file", 0.0))
        for camera_id in ("cam", "file", "file"):
            inputs.finish(camera_id)
        assert sorted(item.camera_id for item in drain(inputs)) == ["cam", "file"]


def status(number: int) -> CameraStatus:
    return CameraStatus(**moment(media_time_s=float(number)), status="live")


class TestEventQueue:
    def test_keeps_order_and_ends(self) -> None:
        queue = EventQueue()
        queue.put([status(0), status(1)])
        queue.put([])
        queue.put([status(2)])
        queue.close()
        assert [event.media_time_s for event in queue.take(None)] == [0.0, 1.0, 2.0]
        with pytest.raises(Closed):
            queue.take(None)

    def test_empty_after_timeout(self) -> None:
        assert EventQueue().take(0.0) == []

    def test_with_a_capacity_the_giver_waits(self) -> None:
        queue = EventQueue(capacity=2)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: [queue.put([status(number)]) for number in range(50)])
            taken: list[float] = []
            while len(taken) < 50:
                part = queue.take(None)
                assert len(part) <= 2
                taken += [event.media_time_s for event in part]
            done.result()
        assert taken == [float(number) for number in range(50)]

    @pytest.mark.parametrize("act", [lambda queue: queue.put([status(1)]), lambda queue: queue.take(None)])
    def test_closed(self, act: Callable[[EventQueue], object]) -> None:
        queue = EventQueue()
        queue.close()
        queue.close()
        with pytest.raises(Closed):
            act(queue)
