"""One of the two TensorRT packages, with its logger and what can be made of what that hears.

TensorRT answers a failed call with None or False and tells the reason to the logger alone.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from typing import Any

from engines.backends.base import Layer

log = logging.getLogger(__name__)

ERRORS = ("INTERNAL_ERROR", "ERROR")
KEPT = 50  # lines; a failure tells a few
NOISE = (  # what comes along with errors and is the reason of none
    "catchCudaError",  # before each error on a machine without a GPU, whatever that error is about
    "Thread context has not been set",
)
LAYERS = "Layers:\n"
LAYER = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*),")
DATATYPE = re.compile(r"Datatype: (\w+)")
REASON = re.compile(r"Error Code \d+: (?P<kind>[^(]*?) *\((?P<why>.*)\)", re.DOTALL)
PLACE = re.compile(r"\.? *In \w+(\(\))? at /.*|\[\w+\.cpp:\d+: \w+\] *", re.DOTALL)  # in NVIDIA's sources
BRIEF = 200  # characters

# One logger for all that a package makes in this process, and never dropped: TensorRT goes on using the first that it
# is given, whatever comes later, and crashes when Python has freed that.
_LOGS: dict[type[Any], Any] = {}


class Library:
    """`tensorrt` or `tensorrt_rtx`: the same names in both, besides a few."""

    def __init__(self, package: Any, label: str) -> None:
        self.trt = package
        self.label = label
        self.name = f"{label} {package.__version__}"
        if package.ILogger not in _LOGS:
            _LOGS[package.ILogger] = _log_class(package)()
        self.log = _LOGS[package.ILogger]

    def why(self) -> str:
        """The reason of what just failed, as half a sentence."""
        errors = list(self.log.errors)
        reasons = [line for line in errors if not any(noise in line for noise in NOISE)] or errors
        return brief(reasons[0]) if reasons else "without telling why"

    def targets(self) -> tuple[str, ...]:
        """The compute capabilities that it can be told to build for, as sm89; none: it builds for the GPU that is here.

        Besides them the enumeration holds NONE and CURRENT.
        """
        members = getattr(self.trt, "ComputeCapability", None)
        numbers = [name.removeprefix("SM") for name in members.__members__] if members else []
        return tuple(f"sm{number}" for number in sorted(int(n) for n in numbers if n.isdigit()))


def brief(line: str) -> str:
    """What a log line says about its reason, without codes and places in sources that nobody has."""
    found = REASON.search(line)
    text = f"{found['kind']}: {PLACE.sub('', found['why'])}" if found else line
    return " ".join(text.split()).rstrip(".; ")[:BRIEF]


def layers_in(text: str) -> tuple[Layer, ...]:
    """The layers that a builder tells in its log; none where a version writes them otherwise.

    The precision is that of what a layer gives.
    """
    found = []
    for line in text.splitlines():
        if match := LAYER.match(line):
            types = DATATYPE.findall(line.partition(", Outputs: ")[2])
            found.append(Layer(match["name"], match["kind"], types[0] if types else ""))
    return tuple(found)


def _log_class(trt: Any) -> type[Any]:
    """A logger of this package; the base class is known only now."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the package has no types
        """Keeps the errors since the last `clear`, and the list of layers. Any thread may call it."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # its own constructor: `super()` leaves the C++ side unmade
            self.errors: deque[str] = deque(maxlen=KEPT)
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT; what it raised would be printed and lost."""
            if severity.name in ERRORS:
                self.errors.append(message)
                log.debug("%s", message)
            elif message.startswith(LAYERS):
                self.layers = message

        def clear(self) -> None:
            self.errors.clear()
            self.layers = ""

    return Log
