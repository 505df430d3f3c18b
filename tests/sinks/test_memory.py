from __future__ import annotations

import pytest

from stream.sinks.memory import MemorySink
from tests.contracts.sink import SinkContract, Stored


class TestMemorySink(SinkContract):
    @pytest.fixture
    def sink(self) -> MemorySink:
        return MemorySink()

    @pytest.fixture
    def stored(self, sink: MemorySink) -> Stored:
        return lambda: sink.events
