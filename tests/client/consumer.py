"""A consumer in a process of its own, to be killed: prints `camera_id seq` of each event of a group that it is handed.

`python -m tests.client.consumer URL GROUP LEASE_S`
"""

from __future__ import annotations

import sys

from stream.client import subscribe


def main() -> None:
    url, group, lease_s = sys.argv[1:]
    for event in subscribe(url, group=group, from_="start", lease_s=float(lease_s)):
        print(event.camera_id, event.seq, flush=True)


if __name__ == "__main__":
    main()
