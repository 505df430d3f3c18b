"""`emostream report`: a recording of events -> one HTML page that needs nothing else."""

from stream.report.fold import Recording, fold
from stream.report.page import write

__all__ = ["Recording", "fold", "write"]
