"""What must not happen when things fail, measured: `python -m tests.chaos`, and damaged videos beside it."""
