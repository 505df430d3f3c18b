"""Cameras to try things with: clips of the demo over RTSP, for ever.

`python -m stream.bench.sample_cameras [HOST:PORT]` makes the clips, listens (default: 127.0.0.1:8554; port 0 takes a
free one), prints an address for each camera, and ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stream.bench.camera_server import Clip, serve
from stream.bench.rtp import read_elementary
from stream.demo import make_clips

ADDRESS = "127.0.0.1:8554"
EXIT_USAGE = 2


def main(arguments: Sequence[str]) -> int:
    address = arguments[0] if arguments else ADDRESS
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise ValueError  # without a host it would be every address
        listener = socket.create_server((host, int(port)), backlog=128)
    except (OSError, ValueError):
        print(f"{address}: cannot listen there; give HOST:PORT, with a port that is free", file=sys.stderr)
        return EXIT_USAGE
    stop, asked = socket.socketpair()
    with listener, stop, asked:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: asked.send(b"."))
        with tempfile.TemporaryDirectory(prefix="emostream-cameras-") as folder:
            clips = {path.stem: Clip(read_elementary(path)) for path in make_clips(Path(folder))}
        for name in clips:
            print(f"rtsp://{host}:{listener.getsockname()[1]}/{name}", flush=True)
        serve(clips.get, listener, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
