"""Events between their acceptance and their acknowledgement by every sink. The one place that gives `seq`.

| file | what |
|---|---|
| `base.py` | the protocol, as the publisher sees it |
| `shedding.py` | which events are given up, and what stands in their place; pure |
| `line.py` `memory.py` | a line per sink in memory; an outbox that lives as long as its process |
| `durable.py` `disk_line.py` `ledger.py` `store.py` | an outbox on disk (SQLite), whose events outlive the process |
| `place.py` | where on disk, and that nobody else is there |
"""

from stream.outbox.base import Outbox
from stream.outbox.memory import MemoryOutbox

__all__ = ["MemoryOutbox", "Outbox"]
