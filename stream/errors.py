"""The tree of errors that `stream` raises on purpose.

StreamError
├── ConfigError        (ValueError)       a setting, argument or environment variable is wrong       exit 2
│   ├── CameraTaken                       a camera of this name runs already, here or elsewhere
│   └── CameraUnknown  (LookupError)      no camera has this name
├── NotReady                              the worker cannot do this now: it is starting or stopping      exit 1
├── SourceError                           a camera or file cannot be read
│   ├── SourceTimeout  (TimeoutError)     it did not answer in time
│   ├── SourceRefused  (PermissionError)  it answered, and said no (401, 403, 404)
│   └── SourceInvalid  (ValueError)       it is there but is no video that we can decode
├── SinkError                             events cannot be delivered now
│   └── SinkRefused    (PermissionError)  the sink said no: password, ACL, read-only
├── OutboxError                           accepted events cannot be kept: the worker stops               exit 1
└── Closed                                a hand-over was closed; the ordinary end of a thread

The end of a video is not an error. Foreign errors are turned at the border (`sources/video.py`, `sinks/redis.py`,
`client.py`), with their text scrubbed of credentials. A message is one sentence: what was wanted, what
came, what to do.
"""


class StreamError(Exception):
    """Base of everything `stream` raises on purpose."""


class ConfigError(StreamError, ValueError):
    """A setting, an argument or an environment variable is wrong."""


class CameraTaken(ConfigError):
    """A camera of this name runs already, here or in another worker."""


class CameraUnknown(ConfigError, LookupError):
    """No camera has this name."""


class NotReady(StreamError):
    """The worker cannot do this now, because it is starting or stopping."""


class SourceError(StreamError):
    """A camera or file cannot be read."""


class SourceTimeout(SourceError, TimeoutError):
    """The source did not answer in time."""


class SourceRefused(SourceError, PermissionError):
    """The source answered and said no."""


class SourceInvalid(SourceError, ValueError):
    """The source is there, but it is no video that we can decode."""


class SinkError(StreamError):
    """Events cannot be delivered now; trying again later may help."""


class SinkRefused(SinkError, PermissionError):
    """The sink said no; trying again will not help until somebody changes something."""


class OutboxError(StreamError):
    """Accepted events cannot be kept: the disk is full or broken."""


class Closed(StreamError):
    """A hand-over was closed; nothing more can be put in, or nothing is left to take."""
