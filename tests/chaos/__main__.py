"""`python -m tests.chaos [--short] [--json] [TEST...]`: play the scenarios and print what was measured.

Exit code 1 if any reach was missed or any scenario could not be played to its end.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.figure import Figure
from tests.chaos.scenarios import LONG, SHORT, Play
from tests.chaos.stage import Stage


def play(stage: Stage, name: str, scenario: Play) -> Iterator[Figure]:
    """Its figures, also to be seen as they come; one more, out of reach, if it breaks off."""
    try:
        for figure in scenario(stage):
            print(f"  {verdict(figure)} {figure}", file=sys.stderr)
            yield figure
    except Exception:  # whatever broke it, the other scenarios are to be played
        traceback.print_exc()
        yield Figure(name, "played to its end", 0, least=1)


def verdict(figure: Figure) -> str:
    return "ok" if figure.reached else "MISSED"


def table(figures: Sequence[Figure]) -> Table:
    drawn = Table("test", "what", "measured", "reach", "")
    for figure in figures:
        drawn.add_row(figure.test, figure.what, figure.shown, figure.reach, verdict(figure))
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the form that runs with the tests, two minutes")
    parser.add_argument("--json", action="store_true", help="one object on stdout, nothing else there")
    parser.add_argument("tests", nargs="*", metavar="TEST", help=f"default: all of {', '.join(LONG)}")
    arguments = parser.parse_args()
    scenarios = SHORT if arguments.short else LONG
    if unknown := set(arguments.tests) - scenarios.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(scenarios)}")
    logging.basicConfig(level=logging.ERROR)  # that a consumer cannot reach Redis is what we want
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="emostream-chaos-") as folder:
        stage = Stage.build(Path(folder))
        for name in arguments.tests or scenarios:
            print(f"playing {name}", file=sys.stderr)
            figures += play(stage, name, scenarios[name])
    if arguments.json:
        print(json.dumps({"figures": [figure.as_json() for figure in figures]}))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(figures))
    return int(not all(figure.reached for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
