"""What is done to workers, and what is measured meanwhile: plain functions, each with the size of its trouble.

Every figure has its reach beside it. A figure that is not reached makes a failing row, and so does a scenario that
cannot be played to its end (`Missing`).
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from stream.events import AnyEvent, parse
from stream.sinks.redis import stream_key
from tests.chaos.account import Account, missing_from
from tests.chaos.figure import Figure
from tests.chaos.stage import LIMIT_S, MB, Fits, Missing, Reader, Stage, Told, Worker, read_all
from tests.redis_server import RedisServer, running
from tests.rtsp_server import Behaviour, RtspServer
from tests.squares import HAPPY, SAD, make_clip

# --- Redis that goes away -------------------------------------------------------------------------------------------

BUSY_HZ = 25  # of each of three cameras: analysed and told so often
BUSY_CAMERAS = ("left", "middle", "right")
LEAST_HZ = 50.0  # of events of all three, on a machine that has other work, too
BUSY: dict[str, dict[str, float]] = {"source": {"analyse_hz": BUSY_HZ}, "aggregate": {"sample_s": 1 / BUSY_HZ}}


def redis_fails(
    stage: Stage,
    *,
    settle_s: float,
    away_s: float,
    age_s: float,
    timeout_s: float,
    flat_mb: float,
    stall_s: float = 0.0,
) -> Iterator[Figure]:
    """At 50 events a second and more Redis is stopped, killed, hung, and set back to data that are `age_s` old.

    Before that the worker runs for `settle_s`: what goes to its standard output is kept in memory for outbox.retain_s,
    12 MB a minute, and only after that it may grow by no more than `flat_mb`. `timeout_s` is its redis.timeout_s. The
    machine itself may stand still for `stall_s`.
    """
    place, playing = stage.place("redis-fails"), dict.fromkeys(BUSY_CAMERAS, stage.playing)
    with RtspServer(playing) as rtsp, running() as server, Reader(server.url) as reader:
        sources = {name: rtsp.url(name) for name in BUSY_CAMERAS}
        config = stage.config("busy", **BUSY, redis={"timeout_s": timeout_s})
        with Worker(config, sources, server.url, place) as worker:
            pass_s(worker.told, "left", settle_s)
            outage = partial(_outage, worker, server, flat_mb=flat_mb, stall_s=stall_s)
            yield from outage(f"Redis stopped for {away_s:g} s", server.stop, away_s)
            yield from outage(f"Redis killed, away {away_s:g} s", server.kill, away_s)
            yield from outage(f"Redis hangs for {away_s:g} s", server.hang, away_s, server.resume)
            forgot, go_back = _prepare_to_go_back(worker, server, place / "data", age_s)
            test = f"Redis killed, back from data {age_s:g} s old"
            yield Figure(test, "events that Redis forgot", forgot, least=LEAST_HZ * max(age_s - stall_s, 1.0))
            yield from outage(test, go_back, 1.0)
            worker.drain()
        accepted = worker.told.events()
        _wait_for_last(reader.told, accepted)
        stored = read_all(server.url)
    yield from _nothing_lost("Redis, all four", accepted, reader.told.events(), stored)


def _prepare_to_go_back(
    worker: Worker, server: RedisServer, data: Path, age_s: float
) -> tuple[int, Callable[[], None]]:
    """Let the data of now become `age_s` old; how many events they lack by then, and how to go back to them."""

    def go_back() -> None:
        server.kill()
        server.put_back(data)

    kept = _entries(server)
    server.keep_copy(data)
    pass_s(worker.told, "left", age_s)
    return _entries(server) - kept, go_back


def _entries(server: RedisServer) -> int:
    with server.client() as client:
        return sum(int(client.xlen(stream_key(camera_id))) for camera_id in BUSY_CAMERAS)


def _outage(
    worker: Worker,
    server: RedisServer,
    test: str,
    bring_down: Callable[[], None],
    seconds: float,
    bring_back: Callable[[], None] | None = None,
    *,
    flat_mb: float,
    stall_s: float,
) -> Iterator[Figure]:
    bring_down()
    before_mb, since = worker.rss_mb(), len(worker.told)
    pass_s(worker.told, "left", seconds)
    events, grown_mb = len(worker.told) - since, worker.rss_mb() - before_mb
    (bring_back or server.start)()
    back_s, back_at = time.monotonic(), datetime.now(UTC)
    with Reader(server.url, from_="new") as fresh:  # one that had to come back, too, would add its own waiting
        came_s = [fresh.told.seconds_until(_from(name, back_at), back_s) for name in BUSY_CAMERAS]
    least_hz = LEAST_HZ * seconds / (seconds + stall_s)
    yield Figure(test, "events accepted meanwhile", events / seconds, "/s", least=least_hz)
    yield Figure(test, "everything delivered after its return", max(came_s), "s", most=5.0 + stall_s)
    yield Figure(test, "growth of RSS meanwhile", grown_mb, "MB", most=flat_mb)


# --- workers that are killed ----------------------------------------------------------------------------------------

SEED = 6


def workers_killed(stage: Stage, *, times: int) -> Iterator[Figure]:
    """A worker is killed with kill -9 after a random number of events, again and again; the last one ends well.

    Every second time Redis is away by then, so that the outbox alone holds what was accepted last.
    """
    test, dice, place = f"worker killed {times} times", random.Random(SEED), stage.place("killed")
    outbox = place / "outbox.sqlite"
    config = stage.config("killed", **BUSY, redis={"lease_s": 1.0}, outbox={"path": str(outbox)})
    accepted: list[AnyEvent] = []
    with RtspServer({"cam": stage.playing}) as rtsp, running() as server, Reader(server.url) as reader:
        for number in range(times):
            with Worker(config, {"cam": rtsp.url("cam")}, server.url, place) as worker:
                if alone := number % 2 == 1:
                    worker.told.wait_for(_sample("cam"))
                    server.kill()
                worker.told.wait_for(_any, since=len(worker.told), count=dice.randint(1, 4 * BUSY_HZ))
            accepted += worker.told.events() + _committed(outbox)
            if alone:
                server.start()
        with Worker(config, {"cam": rtsp.url("cam")}, server.url, place) as worker:
            worker.told.wait_for(_sample("cam"))
            worker.drain()
        accepted += worker.told.events()
        _wait_for_last(reader.told, accepted)
        stored = read_all(server.url)
    account, known = Account.of(stored), {(event.session, event.seq): event for event in accepted}
    yield from _nothing_lost(test, list(known.values()), reader.told.events(), stored)
    yield Figure(test, "sessions", len(account.sessions), least=times + 1, most=times + 1)
    yield Figure(test, "tracks ended as worker_lost", sum(map(_left_behind, stored)), least=1)
    yield Figure(test, "tracks that never ended", len(account.open_tracks), most=0)


def _left_behind(event: AnyEvent) -> bool:
    return event.type == "track.ended" and event.reason == "worker_lost"


def _committed(outbox: Path) -> list[AnyEvent]:
    """The events in the outbox of a killed worker, read from a copy: the next worker is to find it as it was left."""
    with tempfile.TemporaryDirectory() as folder:
        for part in outbox.parent.glob(f"{outbox.name}*"):  # with what stands in the write-ahead log
            shutil.copy(part, folder)
        with closing(sqlite3.connect(Path(folder) / outbox.name)) as connection:
            events = [parse(body) for (body,) in connection.execute("SELECT body FROM event ORDER BY id")]
    return [event for event in events if event is not None]


# --- one camera, lost again and again -------------------------------------------------------------------------------

SETTLED = 20  # reconnects after which nothing may grow any more
SAMPLES = 10  # of which the median counts


def reconnects(stage: Stage, *, times: int) -> Iterator[Figure]:
    """A camera is cut after ten frames, `times` over; the worker is looked at whenever it is live again."""
    test, place = f"{times} reconnects", stage.place("reconnects")
    config = stage.config("reconnects", outbox={"retain_s": 1.0})  # a minute of events would count as growth
    short_lived = Behaviour(path=stage.clip, kind="cut", after=10)
    seen: list[tuple[float, int, int]] = []
    with (
        RtspServer({"cam": short_lived}) as rtsp,
        running() as server,
        Reader(server.url) as reader,
        Worker(config, {"cam": rtsp.url("cam")}, server.url, place) as worker,
    ):
        at = -1
        for _ in range(times):
            at = reader.told.wait_for(_status("cam", "live"), since=at + 1).number
            seen.append((worker.rss_mb(), worker.process.num_fds(), worker.process.num_threads()))
        worker.drain()
    growth = [_growth([sample[column] for sample in seen]) for column in range(3)]
    yield Figure(test, "growth of RSS after the first 20", growth[0], "MB", most=1.0)
    yield Figure(test, "growth of open files after the first 20", growth[1], most=0)
    yield Figure(test, "growth of threads after the first 20", growth[2], most=0)


def _growth(values: Sequence[float]) -> float:
    """From when it has settled to the end."""
    return statistics.median(values[-SAMPLES:]) - statistics.median(values[SETTLED : SETTLED + SAMPLES])


# --- cameras that fail in every way ---------------------------------------------------------------------------------

STEADY = "steady"  # the neighbour to whom nothing happens
SAMPLE_S = 0.2
# How much longer than others a camera may take to be live again, by its trouble.
LATER_S = {
    "401": 60.0,  # the worker asks only so often: somebody must change something first
    "garbage": 1.0,  # its connection may go on, and then its next key frame is up to so far away
}
TROUBLES: dict[str, Behaviour] = {
    "cut": Behaviour(kind="cut"),  # every connection ends before its first frame
    "refused": Behaviour(kind="refuse"),
    "unauthorized": Behaviour(kind="401"),
    "mute": Behaviour(kind="silent"),  # connections are accepted, and not answered before it is back
    "silent": Behaviour(kind="stall"),  # connections stay, no frame comes
    "garbage": Behaviour(kind="garbage"),  # every frame is noise
}


def cameras_fail(stage: Stage, *, outage_s: float, stall_s: float = 0.0) -> Iterator[Figure]:
    """Cameras fail at once, each in its own way, and come back; another one shows what it notices.

    The machine itself may stand still for `stall_s`.
    """
    test, place = f"cameras away {outage_s:g} s", stage.place("cameras")
    config = stage.config("steady", aggregate={"sample_s": SAMPLE_S})
    names = [*TROUBLES, STEADY]
    with RtspServer(dict.fromkeys(names, stage.playing)) as rtsp, running() as server, Reader(server.url) as reader:
        with Worker(config, {name: rtsp.url(name) for name in names}, server.url, place) as worker:
            for name in names:
                reader.told.wait_for(_sample(name))
            began_at, since = datetime.now(UTC), len(reader.told)
            yield from _break(test, stage, rtsp, reader.told, 5.0 + stall_s)
            over_at = began_at + timedelta(seconds=outage_s)
            reader.told.wait_for(_from(STEADY, over_at), since=since, limit_s=outage_s + LIMIT_S)
            yield from _come_back(test, stage, rtsp, reader.told, 3.0 + stall_s)
            worker.drain()
        steady = [event for event in reader.told.events(since) if _sample(STEADY)(event)]
    yield Figure(test, f"{STEADY}: longest time between two samples", _longest_s(steady), "s", most=1.0 + stall_s)


def _break(test: str, stage: Stage, rtsp: RtspServer, told: Told, most_s: float) -> Iterator[Figure]:
    """What answers no new connection any more first loses the one it has."""
    began_s, since = time.monotonic(), len(told)
    for name, trouble in TROUBLES.items():
        at_once = trouble if trouble.kind in ("stall", "garbage") else Behaviour(kind="cut")
        rtsp.set(name, replace(at_once, path=stage.clip, speed=1.0, loop=True))
    for name, trouble in TROUBLES.items():
        lost = told.wait_for(_status(name, "stalled", "offline"), since=since)
        rtsp.set(name, replace(trouble, path=stage.clip, speed=1.0, loop=True))
        reason = "401" if trouble.kind == "401" else ""
        told_s = told.seconds_until(_status(name, "stalled", "offline", reason=reason), began_s, since=lost.number)
        yield Figure(test, f"{name}: told after", told_s, "s", most=most_s)


def _come_back(test: str, stage: Stage, rtsp: RtspServer, told: Told, most_s: float) -> Iterator[Figure]:
    back_s, since = time.monotonic(), len(told)
    for name in TROUBLES:
        rtsp.set(name, stage.playing)
    for name, trouble in TROUBLES.items():
        later_s = LATER_S.get(trouble.kind, 0.0)
        live_s = told.seconds_until(_status(name, "live"), back_s, since=since, limit_s=later_s + LIMIT_S)
        yield Figure(test, f"{name}: live after its return", live_s, "s", most=later_s + most_s)


def _longest_s(events: Sequence[AnyEvent]) -> float:
    times = [event.captured_at for event in events if event.captured_at is not None]
    return max((later - earlier).total_seconds() for earlier, later in itertools.pairwise(times))


# --- a day in fast motion -------------------------------------------------------------------------------------------

SETTLED_SHARE = 8  # so much of the time, an eighth, is left for what a process takes once


def day(stage: Stage, *, hours: float) -> Iterator[Figure]:
    """Hours of stream time through everything from the analysis to Redis. Growth is measured from two hours on."""
    test, place = f"{hours:g} h of stream time", stage.place("day")
    with running() as server:
        clip = make_clip(place / "clip.mp4", [(1, None), (4, SAD), (4, HAPPY), (1, None)])
        where = (stage.models[0].parent, clip, server.url, place / "outbox.sqlite")
        command = [sys.executable, "-m", "tests.chaos.day", *map(str, where), str(hours)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(done.stderr)
        said, stored = json.loads(done.stdout), read_all(server.url)
    account = Account.of(stored)
    yield Figure(test, "frames that broke the analysis", said["troubles"], most=0)
    yield Figure(test, "events accepted", said["accepted"], least=hours * 3600 / 2)
    yield Figure(test, "accepted and not delivered", said["accepted"] - len(stored), most=0)
    yield Figure(test, "seqs missing, given up, twice or out of order", account.wrong, most=0)
    yield Figure(test, "tracks that never ended", len(account.open_tracks), most=0)
    if hours >= 2:
        rss = [each / MB for each in said["rss"]]
        settled = len(rss) // SETTLED_SHARE
        grown_mb, passed = rss[-1] - rss[settled], hours * (1 - settled / len(rss))
        yield Figure(test, "growth of RSS an hour", grown_mb / passed, "MB", most=5.0)


# --- what is common -------------------------------------------------------------------------------------------------


def pass_s(told: Told, camera_id: str, seconds: float) -> None:
    """Wait until the events of this camera show that so much time has gone by."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    told.wait_for(_from(camera_id, until), since=len(told), limit_s=seconds + LIMIT_S)


def _nothing_lost(
    test: str, accepted: Sequence[AnyEvent], seen: Sequence[AnyEvent], stored: Sequence[AnyEvent]
) -> Iterator[Figure]:
    """`seen` by a consumer that was there throughout, `stored` in Redis at the end: the worse of both counts."""
    missing = max(missing_from(stored, accepted), missing_from(seen, accepted))
    accounts = [Account.of(stored), Account.of(seen)]
    yield Figure(test, "events accepted", len(accepted), least=1)
    yield Figure(test, "accepted and not delivered", missing, most=0)
    yield Figure(test, "seqs missing or given up", max(each.lost + each.given_up for each in accounts), most=0)
    yield Figure(test, "delivered twice or out of order", max(each.repeated for each in accounts), most=0)


def _wait_for_last(told: Told, accepted: Sequence[AnyEvent]) -> None:
    """Until the consumer has seen the last event of each camera."""
    for last in {event.camera_id: event for event in accepted}.values():
        told.wait_for(partial(_is_same, last))


def _is_same(one: AnyEvent, other: AnyEvent) -> bool:
    return (one.camera_id, one.session, one.seq) == (other.camera_id, other.session, other.seq)


def _any(_: AnyEvent) -> bool:
    return True


def _from(camera_id: str, moment: datetime) -> Fits:
    """An event of this camera that was captured then or later."""
    return lambda event: event.camera_id == camera_id and event.captured_at is not None and event.captured_at >= moment


def _sample(camera_id: str) -> Fits:
    return lambda event: event.camera_id == camera_id and event.type == "emotion.sample"


def _status(camera_id: str, *statuses: str, reason: str = "") -> Fits:
    """One of these statuses of this camera, for this reason."""
    return lambda event: (
        event.camera_id == camera_id
        and event.type == "camera.status"
        and event.status in statuses
        and reason in (event.reason or "")
    )


Play = Callable[[Stage], Iterator[Figure]]

STALL_S = 3.0  # the short form is played where others use the machine, too
SHORT: dict[str, Play] = {
    "redis": partial(redis_fails, settle_s=2.0, away_s=4.0, age_s=3.0, timeout_s=1.0, flat_mb=10.0, stall_s=STALL_S),
    "killed": partial(workers_killed, times=4),
    "reconnects": partial(reconnects, times=100),
    "cameras": partial(cameras_fail, outage_s=5.0, stall_s=STALL_S),
    "day": partial(day, hours=0.1),
}
LONG: dict[str, Play] = {
    "redis": partial(redis_fails, settle_s=65.0, away_s=60.0, age_s=30.0, timeout_s=5.0, flat_mb=5.0),
    "killed": partial(workers_killed, times=20),
    "reconnects": partial(reconnects, times=1000),
    "cameras-5": partial(cameras_fail, outage_s=5.0),
    "cameras-60": partial(cameras_fail, outage_s=60.0),
    "cameras-600": partial(cameras_fail, outage_s=600.0),
    "day": partial(day, hours=24.0),
}
