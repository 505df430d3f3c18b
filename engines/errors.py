"""The tree of errors that `engines` raises on purpose.

EngineError
├── EngineMismatch  (ValueError)    data, file, machine or version does not fit the engine
├── ModelInvalid    (ValueError)    a model folder is broken: its spec, or a file that is not what the spec says
├── ModelMissing    (LookupError)   a model's weights are on no path that was looked at
├── EngineMissing   (LookupError)   no compiled engine fits; it has to be built first
└── BackendMissing  (ImportError)   an optional package is not installed

Every message is one sentence: what was wanted, what came, what to do.
"""


class EngineError(Exception):
    """Base of everything `engines` raises on purpose."""


class EngineMismatch(EngineError, ValueError):
    """Data or file does not fit the engine; fix the caller or rebuild."""


class ModelInvalid(EngineError, ValueError):
    """A model folder whose spec or weights cannot be believed."""


class ModelMissing(EngineError, LookupError):
    """The weights of a model were found nowhere."""


class EngineMissing(EngineError, LookupError):
    """No compiled engine with this fingerprint is in the cache."""


class BackendMissing(EngineError, ImportError):
    """An optional package is not installed."""
