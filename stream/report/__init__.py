"""`emostream report`: a recording of events -> one HTML page that needs nothing else."""

from stream.report.page import write
from stream.report.recording import Recording, fold

__all__ = ["Recording", "fold", "write"]
