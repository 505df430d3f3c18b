"""`python -m stream` is the console script."""

from stream.cli import main

main()
