"""What a run needs of the page: an address that is taken at once, and what looks into the run and is shown there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from stream import beacon
from stream.clocks import Clocks
from stream.config import Config
from stream.pipeline import Parts
from stream.probe import Probe
from stream.publisher import Publisher
from stream.runtime import Worker
from stream.sinks.base import Accepted
from stream.sinks.lease import Leases
from stream.web import onlooker
from stream.web.app import WebParts, make_app
from stream.web.client import BEACON
from stream.web.control import WorkerControl
from stream.web.metrics import Metrics
from stream.web.preview import Preview
from stream.web.server import Listener, listening, serving
from stream.web.view import LiveView


@dataclass(frozen=True)
class Web:
    """The page of a run that has not begun yet."""

    config: Config
    listener: Listener
    view: LiveView
    metrics: Metrics
    preview: Preview
    say: Callable[[str], None]

    def probe(self) -> Probe:
        """How the page looks into the run."""

        def parts(parts: Parts) -> Parts:
            return onlooker.around(self.metrics.around(parts), self.view, self.preview)

        def accepted(batch: Sequence[Accepted]) -> None:
            self.view.observe(batch)
            self.metrics.accepted(batch)

        return Probe(parts=parts, acknowledged=self.metrics.acknowledged, accepted=accepted)

    @contextmanager
    def serve(self, worker: Worker, publisher: Publisher, leases: Leases, clocks: Clocks) -> Iterator[None]:
        """Serve until the end of the context, and let other commands of this user find it."""
        config = self.config
        control = WorkerControl(config, worker, publisher, leases, clocks)
        self.metrics.bind(control)
        parts = WebParts(control, self.view, self.metrics, self.preview, config.web, config.privacy)
        with serving(make_app(parts, self.listener.host), self.listener):
            beacon.light(BEACON, self.listener.url, os.getpid())
            self.say(f"live page at {self.listener.url}")
            try:
                yield
            finally:
                beacon.put_out(BEACON, os.getpid())
                self.view.close()  # before the server ends: it waits for those who listen
                self.preview.close()


@contextmanager
def opened(config: Config, say: Callable[[str], None]) -> Iterator[Web]:
    """Take the address. Raises ConfigError when it cannot be had, or stands open without a token."""
    with listening(config.web) as listener:
        web = config.web
        yield Web(
            config, listener, LiveView(web.preview), Metrics(config.privacy), Preview(web.preview, web.preview_hz), say
        )
