"""Building in a process of its own: compilers of networks crash, hold memory, and cannot be interrupted otherwise.

`python -m engines.builder` reads one JSON request from stdin and writes one JSON object a line: `{"done": 0.4}` while
it works, then `{"answer": ...}` or `{"refused": sentence, "kind": class}`. It ends when its stdin does, so that it
never outlives whoever asked, however that dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Generic, Literal, TypeVar

from engines import errors
from engines.backends.base import Progress
from engines.cache import Cache, Entry
from engines.child import PACKAGES, command, heard, told
from engines.choice import Choice
from engines.errors import EngineError
from engines.options import Options
from engines.store import Model

CUT = 300  # characters of what a crashed child said
PATIENCE_S = 5.0  # how long a child may take to see that it is to end
BACKGROUND = 10  # niceness of what nobody waits for

Answer = TypeVar("Answer")


class Job(Generic[Answer]):
    """One build or choice that goes on in another process. `stop` may be called from any thread."""

    def __init__(self, what: str, request: dict[str, Any], read: Callable[[Any], Answer], nice: int) -> None:
        self._what, self._read = what, read
        self._lock = threading.Lock()  # guards _claimed
        self._claimed = False  # whether somebody reads what the child tells, and closes it
        try:
            self._child = subprocess.Popen(
                command("engines.builder"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=PACKAGES,
                start_new_session=True,  # Ctrl-C is for whoever asked, who then stops it
            )
        except OSError as error:
            raise EngineError(f"{what} was not built: no process could be started ({error.strerror})") from None
        assert self._child.stderr is not None
        self._said = _LastLine(self._child.stderr)
        with suppress(BrokenPipeError):  # it died at once; `wait` says how
            assert self._child.stdin is not None
            self._child.stdin.write(json.dumps({**request, "nice": nice}) + "\n")
            self._child.stdin.flush()

    def wait(self, progress: Progress = lambda done: None) -> Answer:
        """What it came to. To be called once. Raises what refused it, or EngineError when the process died."""
        assert self._child.stdout is not None
        last: dict[str, Any] = {}
        if self._claim():
            with self._child.stdout as lines:
                for line in lines:
                    last = json.loads(line)
                    if "done" in last:
                        progress(last["done"])
        self.stop()
        if "answer" in last:
            return self._read(last["answer"])
        if "refused" in last:
            raise getattr(errors, last["kind"])(last["refused"])
        how = _how(self._child.returncode)
        raise EngineError(f"{self._what} was not built: its process {how}{self._said.in_brackets()}")

    def stop(self, patience_s: float = PATIENCE_S) -> None:
        """End it, finished or not. What it leaves in the cache is no engine, and the next `prune` removes it."""
        with suppress(BrokenPipeError, ValueError):  # it has ended; it is closed already
            assert self._child.stdin is not None
            self._child.stdin.close()
        try:
            self._child.wait(patience_s)
        except subprocess.TimeoutExpired:  # a compiler that never lets Python have its turn
            self._child.kill()
            self._child.wait()
        if self._claim():
            assert self._child.stdout is not None
            self._child.stdout.close()

    def _claim(self) -> bool:
        with self._lock:
            first, self._claimed = not self._claimed, True
        return first


def build_apart(model: Model, backend: str, options: Options, cache: Cache, nice: int = 0) -> Job[Entry]:
    """`engines.build.build` in a process of its own."""
    request = {**_request("build", model, options, cache), "backend": backend}
    what = f"the {backend} engine of {model.spec.name}"
    return Job(what, request, lambda folder: cache.at(Path(folder)), nice)


def choose_apart(model: Model, options: Options, cache: Cache, nice: int = 0) -> Job[Choice]:
    """`engines.choose.choose` in a process of its own."""
    return Job(
        f"an engine of {model.spec.name}", _request("choose", model, options, cache), Choice.model_validate, nice
    )


def _request(kind: Literal["build", "choose"], model: Model, options: Options, cache: Cache) -> dict[str, Any]:
    return {
        **told(model, options),
        "kind": kind,
        "cache": str(cache.root),
    }


def main() -> None:
    """The child."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(request["nice"])
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print; what they say must not be taken for an answer

    def tell(**words: Any) -> None:
        print(json.dumps(words), file=out, flush=True)

    try:
        tell(answer=_done(request, lambda done: tell(done=round(done, 3))))
    except EngineError as error:
        tell(refused=str(error), kind=type(error).__name__)


def _done(request: dict[str, Any], progress: Progress) -> Any:
    model, options = heard(request)
    cache = Cache(Path(request["cache"]))
    if request["kind"] == "choose":
        from engines.choose import choose

        return choose(model, options, cache, progress).model_dump(mode="json")
    from engines.build import build

    return str(build(model, request["backend"], options, cache, progress).folder)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


class _LastLine:
    """Reads a stream to its end in a thread, so that its writer never waits, and keeps its last line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._line = stream, ""
        self._thread = threading.Thread(target=self._follow, name="builder-stderr", daemon=True)
        self._thread.start()

    def in_brackets(self) -> str:
        self._thread.join(1.0)
        return f" ({self._line[:CUT]})" if self._line else ""

    def _follow(self) -> None:
        with self._stream:
            for line in self._stream:
                self._line = line.strip() or self._line


def _how(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode}"


if __name__ == "__main__":
    main()
