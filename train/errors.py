"""The tree of errors that `train` raises on purpose.

TrainError
├── DataMissing    (LookupError)   a data set or seed weight file is on no path that was looked at
├── RecipeInvalid  (ValueError)    a recipe has an unknown key or a value that cannot work
├── CheckpointInvalid (ValueError) a file that is not a checkpoint of ours, or does not fit its network
├── Diverged       (ArithmeticError) training came to numbers that are none
├── DeviceMissing  (LookupError)   torch cannot compute where it was told to
└── ExportRefused  (ValueError)    the exported model does not answer as the checkpoint does

Every message is one sentence: what was wanted, what came, what to do.
"""


class TrainError(Exception):
    """Base of everything `train` raises on purpose."""


class DataMissing(TrainError, LookupError):
    """Training data or seed weights were found nowhere."""


class DeviceMissing(TrainError, LookupError):
    """This machine has no such device; choose another."""


class RecipeInvalid(TrainError, ValueError):
    """A recipe that cannot be followed; mend the YAML file."""


class CheckpointInvalid(TrainError, ValueError):
    """A checkpoint that cannot be believed; nothing of it is used."""


class Diverged(TrainError, ArithmeticError):
    """Training came to a loss or weights that are no numbers; nothing of that epoch is kept."""


class ExportRefused(TrainError, ValueError):
    """A model that is not what its checkpoint was; nothing of it is kept."""
