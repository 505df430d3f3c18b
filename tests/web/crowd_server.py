"""The page of a scripted crowd (tests/web/crowd.py): the real application over cameras that are only told of."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

from stream.config import PrivacyConfig, WebConfig
from stream.web.app import WebParts, make_app
from stream.web.control import CameraInfo
from stream.web.metrics import Metrics
from stream.web.preview import Preview
from stream.web.server import listening, serving
from stream.web.view import LiveView
from tests.redis_server import free_port
from tests.web import crowd
from tests.web.served import FREELY, ListedCameras

PAST = 10  # points of every timeline before the first viewer


class CrowdServer:
    """So many cameras with so many faces each; `tell` goes on with their story."""

    def __init__(
        self, cameras: int = 2, faces: int = 3, mode: str = "off", privacy: PrivacyConfig | None = None
    ) -> None:
        self.cameras, self.faces = cameras, faces
        self._privacy = privacy or PrivacyConfig()
        self.view, self.preview = LiveView(mode), Preview(mode)
        self.view.observe(crowd.arrival(cameras, faces))
        self._time_s = 0.0
        self.tell(PAST)
        self.control = ListedCameras()
        for name in crowd.names(cameras):
            self.control.infos[name] = CameraInfo(
                name, "rtsp://camera/", "live", None, None, 5.0, {"too_late": 3}, 1, 0
            )
        self._port = free_port()
        self._running = ExitStack()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def tell(self, times: int = 1) -> None:
        """Half a second of the story, so many times."""
        for _ in range(times):
            self._time_s += 0.5
            self.view.observe(crowd.moment(self.cameras, self.faces, self._time_s))

    def start(self) -> None:
        config = WebConfig(address=f"127.0.0.1:{self._port}")
        metrics = Metrics(self._privacy)
        metrics.bind(self.control)
        app = make_app(WebParts(self.control, self.view, metrics, self.preview, config, self._privacy), limits=FREELY)
        self._running.enter_context(serving(app, self._running.enter_context(listening(config))))

    def stop(self) -> None:
        """Every line is cut."""
        self._running.close()

    def cpu_s(self) -> float:
        """What the serving thread has used so far."""
        (thread,) = (each for each in threading.enumerate() if each.name == "web")
        assert thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
