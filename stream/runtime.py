"""Threads: who starts, what each owns, how each ends.

| thread | owns (nobody else touches) | gives to | ends when |
|---|---|---|---|
| `camera-<id>`, one per camera | its source and timeline | `Inputs` | stop is set, or the source ended |
| `camera-<id>-<n>`, if another hangs | the same, made anew | `Inputs` | as above; the one that hangs perhaps never |
| `analysis`, one | engines, trackers, aggregators | `EventQueue` | all cameras have finished, nothing waits |
| `publish`, one | the outbox, `seq`, the sinks | the sinks | `EventQueue` is closed and empty, or the deadline |
| `engines`, if one is built in a live run | its process | `Supply` | all is built, or the supply is closed |
| `terminal`, if shown | the function that shows events | the terminal | the sink is closed; it may be stuck |
| `web`, if served | its event loop and connections, see `web/` | browsers | the run is over |
| main | configuration, stop event, supervision | - | signal, end of all cameras, or first failure |

Cameras may be added and removed while it runs, from any thread; each has a stop event of its own, and the main thread
supervises the new ones as the others, and lets go of those that have ended.

Stopping is data flow: cameras stop, so Inputs runs dry, so analysis ends and closes the EventQueue, so publishing
drains and ends; all within one deadline. The first failure of analysis or publishing is kept, sets stop, and is raised
in the main thread. A camera's failure stays with that camera.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import cv2

from engines.base import Engine
from engines.errors import EngineError
from stream.assembly import Models, assemble
from stream.backoff import Backoff
from stream.cameras import Camera
from stream.clocks import Clocks
from stream.config import CameraConfig, Config
from stream.errors import CameraTaken, CameraUnknown, Closed, ConfigError, NotReady
from stream.events import CameraStatus, Event
from stream.handover import EventQueue, Inputs
from stream.pipeline import Pipeline, Trouble
from stream.privacy import may_leave
from stream.probe import Probe
from stream.publisher import Publisher
from stream.reader import FIRST_DELAY_S, LOST_CAP_S
from stream.sessions import live_session, recording_session
from stream.sources import is_live, make_source, recording_path
from stream.sources.base import SmallSize, Source
from stream.sources.timeline import Timeline
from stream.supply import Better, Supply

log = logging.getLogger(__name__)

WATCH_S = 0.25  # how often the supervisor looks at the cameras
REPORT_S = 1.0  # before the end of a stop publishing gives up, and says what it could not deliver
CAMERAS_SHARE = 0.5  # of the time that a stop may take: so long cameras have to come back
PUBLISH = "publish"  # the thread's name
REPLACED = "analysis_busy"  # why a frame was replaced unread by a newer one
MOST_CAMERAS = 256  # of one worker; more would be a mistake, or somebody who adds them in a loop
REMOVE_S = 10.0  # whoever removes a camera is kept waiting so long for its last words
FILE_EVENTS = 4096  # events that may wait for publishing in a run over files


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    failed: dict[str, str] = field(default_factory=dict)  # camera id -> why
    events: Counter[str] = field(default_factory=Counter)  # type -> how many
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)  # live camera -> cause -> frames left out
    undelivered: dict[str, int] = field(default_factory=dict)  # sink -> events
    hung: dict[str, int] = field(default_factory=dict)  # live camera -> threads that hung, and were taken over from
    abandoned: tuple[str, ...] = ()  # threads that did not end within the deadline


@dataclass(frozen=True, slots=True)
class Told:
    """What was told last of a camera's state."""

    status: CameraStatus
    since: datetime  # UTC; told again in the same state, it stays
    connections: int  # that were begun so far


class Deadline:
    """One end for everything that a stop has to wait for."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())


def stays_s(config: Config) -> float | None:
    """How long a worker stays after its last camera has ended; None: it ends then, and takes no other cameras."""
    if config.web.address is None:
        return None
    return math.inf if config.run.hold_s is None else config.run.hold_s


class Worker:
    """One run of all configured cameras. `run` is called once, from the main thread."""

    def __init__(
        self,
        config: Config,
        models: Models,
        supply: Supply,
        publisher: Publisher,
        clocks: Clocks,
        say: Callable[[str], None],
        probe: Probe | None = None,
    ) -> None:
        self._config = config
        self._models = models
        self._supply = supply
        self._say = say
        self._probe = probe or Probe()
        self._publisher = publisher
        self._clocks = clocks
        self._stop = threading.Event()
        self._analysis_ready = threading.Event()
        self._publish_ready = threading.Event()
        self._failure: BaseException | None = None  # the first of analysis or publishing
        self._deadline: Deadline | None = None  # set once by whoever begins the stop, before _stop
        self.engines: dict[str, str] = {}  # task -> fingerprint; replaced whole by the analysis thread
        self._told: dict[str, Told] = {}  # by camera; written by the analysis thread
        self._outcome = Outcome()
        self._stays_s = stays_s(config)
        self._alone_since_s: float | None = None  # since when every camera has ended; monotonic clock
        self._changed = threading.Condition()  # guards changes of _cameras, which is replaced whole; anybody may read
        self._begun = False  # guarded by _changed: the cameras run
        self._threads: list[threading.Thread] = []
        live = [camera.name for camera in config.cameras if is_live(camera)]
        files = [camera.name for camera in config.cameras if not is_live(camera)]
        self._inputs = Inputs(live, files, more=self._stays_s is not None)
        self._queue = EventQueue(FILE_EVENTS if files and not live else None)
        self._cameras = {camera.name: self._camera(camera) for camera in config.cameras}

    def run(self, asked_to_stop: Callable[[], bool]) -> Outcome:
        """Run until every camera has ended or `asked_to_stop` says so; then drain within `run.drain_s`.

        It is asked a few times a second: a signal handler must not touch the locks of the thread it interrupts.
        Raises what broke analysis or publishing.
        """
        self._threads = [self._thread(PUBLISH, self._publish), self._thread("analysis", self._analyse)]
        for thread in self._threads:
            thread.start()
        self._publish_ready.wait()
        while not self._analysis_ready.wait(WATCH_S):  # an engine that was asked for may be built first: minutes
            if asked_to_stop():
                self._begin_stop()
            if self._stop.is_set():  # or publishing has failed
                self._supply.close()
        if self._failure is None:
            self._probe.started(self)
            self._begin_cameras()
        else:
            self._inputs.abort()
        self._supervise(self._threads, asked_to_stop)
        self._join(self._threads)
        if self._failure is not None:
            raise self._failure
        return self._report()

    def skipped(self) -> dict[str, dict[str, int]]:
        """Live camera -> cause -> frames left out so far; cameras without any are not named. From any thread."""
        replaced = self._inputs.dropped()
        found = {
            name: camera.skipped + Counter({REPLACED: replaced.get(name, 0)}) for name, camera in self._cameras.items()
        }
        return {name: dict(causes) for name, causes in found.items() if causes}

    def give_up(self, camera_id: str, reason: str) -> None:
        """Stop reading one camera for good; the others go on. From any thread."""
        camera = self._cameras.get(camera_id)
        if camera is not None:  # it may just have been removed
            log.error("camera %s is given up: %s", camera_id, reason)
            camera.give_up(reason)

    def add_camera(self, config: CameraConfig) -> None:
        """Begin with one camera more. From any thread.

        Raises CameraTaken, ConfigError for an address of unknown kind or too many cameras, and NotReady.
        """
        live = is_live(config)
        with self._changed:
            self._check_begun()
            known = self._cameras.get(config.name)
            if known is not None:
                words = "is just being removed; wait for that" if known.removed else "is there already; remove it first"
                raise CameraTaken(f"a camera {config.name} {words}, or choose another name")
            if len(self._cameras) >= MOST_CAMERAS:
                raise ConfigError(f"{MOST_CAMERAS} cameras run already, which is the most for one worker")
            if not self._inputs.add(config.name, live=live):
                raise NotReady("the worker is stopping")
            camera = self._camera(config)
            camera.start()
            self._cameras = {**self._cameras, config.name: camera}
        if self._stop.is_set():  # whoever set it may have missed this one
            camera.stop()

    def remove_camera(self, camera_id: str) -> bool:
        """End a camera, its tracks with it, and wait a while for that; False if it hangs, and goes when it can.

        From any thread but the main one. Raises CameraUnknown or NotReady.
        """
        with self._changed:
            self._check_begun()
            camera = self._cameras.get(camera_id)
            if camera is None or camera.removed:
                raise CameraUnknown(f"there is no camera {camera_id}")
            camera.remove()
            self._changed.wait_for(lambda: self._cameras.get(camera_id) is not camera or self._stop.is_set(), REMOVE_S)
            return self._cameras.get(camera_id) is not camera

    def cameras(self) -> list[tuple[Camera, Told | None]]:
        """Those that run or have ended, in the order in which they came, but none that was removed. From any thread."""
        return [(camera, self._told.get(name)) for name, camera in self._cameras.items() if not camera.removed]

    def replaced(self) -> dict[str, int]:
        """Live camera -> frames that were replaced unread by newer ones. From any thread."""
        return self._inputs.dropped()

    def troubles(self) -> list[str]:
        """What stands against this worker's being ready, a sentence each. From any thread."""
        if self._stop.is_set():
            return ["the worker is stopping"]
        if not (self._analysis_ready.is_set() and self._publish_ready.is_set()):
            return ["the engines are not loaded yet"]
        return [f"{line.sink}: {line.trouble}" for line in self._publisher.lines if line.trouble is not None]

    def dead(self) -> list[str]:
        """The threads without which nothing goes on, and that have ended although nobody asked. From any thread."""
        return [] if self._stop.is_set() else [each.name for each in self._threads if not each.is_alive()]

    def _check_begun(self) -> None:
        if self._stop.is_set():
            raise NotReady("the worker is stopping")
        if not self._begun:
            raise NotReady("the worker is still loading its engines; try again in a moment")

    def _begin_cameras(self) -> None:
        with self._changed:
            for camera in self._cameras.values():
                camera.start()
            self._begun = True

    def _supervise(self, threads: Sequence[threading.Thread], asked_to_stop: Callable[[], bool]) -> None:
        """Until both threads have ended, as they do after the last camera, or something asks for the end."""
        while any(thread.is_alive() for thread in threads) and not self._stop.wait(WATCH_S):
            if asked_to_stop():
                self._begin_stop()
            for name, camera in self._cameras.items():
                camera.watch()
                if camera.removed and camera.over and self._inputs.forget(name):
                    self._let_go(name)
            if self._over():
                self._inputs.no_more()

    def _let_go(self, camera_id: str) -> None:
        """A removed camera has said its last word, and that was taken: its name is free again."""
        with self._changed:
            self._cameras = {name: camera for name, camera in self._cameras.items() if name != camera_id}
            self._told.pop(camera_id, None)
            self._changed.notify_all()

    def _over(self) -> bool:
        """Whether a worker that may get more cameras has been without one that runs for as long as it was told to."""
        if self._stays_s is None or not self._cameras or not all(camera.over for camera in self._cameras.values()):
            self._alone_since_s = None
            return False
        now_s = self._clocks.monotonic()
        if self._alone_since_s is None:
            self._alone_since_s = now_s
        return now_s - self._alone_since_s >= self._stays_s

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for all by the deadline, in the order of the data: cameras, analysis, publish.

        Cameras have a share of the time to come back (not from a hanging name server, or a dead network disk).
        """
        deadline = self._deadline or Deadline(self._config.run.drain_s)
        cameras = Deadline(deadline.left_s() * CAMERAS_SHARE)
        left = [camera.join(cameras.left_s()) for camera in self._cameras.values()]
        for thread in reversed(threads):
            thread.join(deadline.left_s())
            left.append(thread.name if thread.is_alive() else None)
        self._outcome.abandoned = tuple(name for name in left if name is not None)

    def _begin_stop(self) -> None:
        if self._deadline is None:
            self._deadline = Deadline(self._config.run.drain_s)
        self._stop.set()
        for camera in self._cameras.values():
            camera.stop()
        self._inputs.no_more()
        with self._changed:
            self._changed.notify_all()  # whoever waits for a camera to go

    def _left_for_publishing_s(self) -> float:
        """How long draining may take: until a little before the deadline, so that its report still comes in time."""
        return math.inf if self._deadline is None else self._deadline.left_s() - REPORT_S

    def _thread(self, name: str, body: Callable[[], None]) -> threading.Thread:
        # daemon: a decoder that never returns is abandoned and reported, and must not keep the process alive
        return threading.Thread(target=body, name=name, daemon=True)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._begin_stop()

    def _analyse(self) -> None:
        """The analysis thread."""
        engines: dict[str, Engine] = {}  # by task
        try:
            pipeline = self._build(engines)
            self._analysis_ready.set()
            while True:
                inputs = self._inputs.take()
                for better in self._supply.ready():
                    self._swap(pipeline, engines, better)
                for found in pipeline.run(inputs):
                    events = found if self._config.privacy.mode == "full" else [*filter(may_leave, found)]
                    self._outcome.events.update(event.type for event in events)
                    self._note(events)
                    self._queue.put(events)
        except Closed:
            log.debug("analysis: every camera has finished")
        except BaseException as error:  # whatever it is, main must hear of it: a thread's end is silent
            self._fail(error)
        finally:
            self._inputs.abort()
            self._queue.close()
            for engine in engines.values():
                engine.close()
            self._analysis_ready.set()

    def _note(self, events: Sequence[Event]) -> None:
        """Keep each camera's latest state for whoever asks."""
        for status in (event for event in events if isinstance(event, CameraStatus)):
            before = self._told.get(status.camera_id)
            since = self._clocks.wall() if before is None or before.status.status != status.status else before.since
            connections = (before.connections if before else 0) + (status.status == "connecting")
            self._told[status.camera_id] = Told(status, since, connections)

    def _publish(self) -> None:
        """The publish thread."""
        try:
            self._publisher.open()
            self._publish_ready.set()
            self._outcome.undelivered = self._publisher.run(self._queue, self._left_for_publishing_s)
        except BaseException as error:  # see _analyse
            self._fail(error)
        finally:
            self._queue.close()
            self._publisher.close()
            self._publish_ready.set()

    def _build(self, engines: dict[str, Engine]) -> Pipeline:
        """Load the engines (kept in `engines` for closing) and put the pipeline together."""
        cv2.setNumThreads(1)  # of all OpenCV: waking others for a picture of some pixels costs more than it saves
        config = self._config
        engines.update(self._supply.first())
        face, emotion = engines["face"], engines["emotion"]
        self.engines = {task: engine.fingerprint for task, engine in engines.items()}
        self._supply.improve()
        return Pipeline(self._probe.parts(assemble(config, face, emotion)), self._quarantine)

    def _swap(self, pipeline: Pipeline, engines: dict[str, Engine], better: Better) -> None:
        """Let another engine compute from the next batch on. One that cannot be loaded changes nothing."""
        began_s = time.monotonic()
        engine: Engine | None = None
        try:
            engine = self._supply.load(better)
            parts = self._probe.parts(assemble(self._config, **{**engines, better.task: engine}))
        except EngineError as error:
            if engine is not None:
                engine.close()
            self._say(f"the {better.backend} engine of {better.task} was built but is not used: {error}")
            return
        pipeline.swap(parts)
        before, engines[better.task] = engines[better.task], engine
        self.engines = {**self.engines, better.task: engine.fingerprint}
        before.close()
        waited_s = time.monotonic() - began_s
        self._say(f"{engine.fingerprint} takes over from {before.fingerprint}; frames waited {waited_s:.2f} s for it")

    def _quarantine(self, trouble: Trouble) -> None:
        where = "" if trouble.frame_index is None else f" at frame {trouble.frame_index}"
        log.error("camera %s is quarantined%s", trouble.camera_id, where, exc_info=trouble.error)
        self._cameras[trouble.camera_id].give_up(f"the analysis failed{where}: {type(trouble.error).__name__}")

    def _camera(self, camera: CameraConfig) -> Camera:
        small = SmallSize.of(self._config.detector, self._models.face.spec)

        def source(session: str, timeline: Timeline, wait: Callable[[float], bool]) -> Source:
            return make_source(camera, session, timeline, small, wait=wait, clocks=self._clocks)

        def backoff() -> Backoff:
            return Backoff(FIRST_DELAY_S, LOST_CAP_S, random.Random())

        live, stop = is_live(camera), threading.Event()
        session = live_session if live else lambda: self._recording_session(camera, stop)
        return Camera(camera, session, live, source, self._inputs, stop, self._clocks, backoff)

    def _recording_session(self, camera: CameraConfig, stop: threading.Event) -> str:
        """Decided by all that decides the events: this camera's part of the configuration, not its neighbours."""
        config = self._config
        texts = [
            camera.name,
            self.engines["face"],
            self.engines["emotion"],
            camera.settings.model_dump_json(include={"analyse_hz", "start_at", "gap_s"}),
            config.detector.model_dump_json(exclude={"model"}),  # the fingerprints name the models themselves
            config.tracking.model_dump_json(),
            config.emotion.model_dump_json(exclude={"model"}),
            config.aggregate.model_dump_json(),
        ]
        if config.privacy.mode != "full":
            texts.append(config.privacy.model_dump_json(exclude={"purpose"}))
        path = recording_path(camera)
        return recording_session(path, texts if path else [camera.source, *texts], stop.is_set)

    def _report(self) -> Outcome:
        failed = {name: camera.failed for name, camera in self._cameras.items() if camera.failed}
        self._outcome.failed = failed
        self._outcome.hung = {name: camera.abandoned for name, camera in self._cameras.items() if camera.abandoned}
        self._outcome.skipped = self.skipped()
        return self._outcome
