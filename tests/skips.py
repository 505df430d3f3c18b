"""Pytest plugin (`-p tests.skips`): a run fails when a test was skipped that `allowed_skips.txt` does not name.

A skipped test proves nothing, and nobody sees it among hundreds of dots. So all of them are printed in a table, and a
new one has to be written down, with its reason, before it counts as accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


@dataclass(frozen=True)
class Skip:
    """One test, or one module, that did not run."""

    test: str  # pytest's node id
    reason: str


@dataclass(frozen=True)
class Rule:
    """One line of allowed_skips.txt: `test | reason`, where * in either stands for any text."""

    test: re.Pattern[str]
    reason: re.Pattern[str]

    def allows(self, skip: Skip) -> bool:
        """True when both the test and its reason fit."""
        return bool(self.test.fullmatch(skip.test) and self.reason.fullmatch(skip.reason))


def read_rules(text: str) -> list[Rule]:
    """The rules in the text of allowed_skips.txt. Raises ValueError, naming the line, when one gives no reason."""
    rules = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        test, bar, reason = (part.strip() for part in line.partition("|"))
        if not (test and bar and reason):
            raise ValueError(f"allowed_skips.txt, line {number}: expected `test | reason`, got {line!r}")
        rules.append(Rule(_pattern(test), _pattern(reason)))
    return rules


def not_allowed(skips: Iterable[Skip], rules: Iterable[Rule]) -> list[Skip]:
    """Those that no rule allows, in their order."""
    known = list(rules)
    return [skip for skip in skips if not any(rule.allows(skip) for rule in known)]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


def _skips(config: pytest.Config) -> list[Skip]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [_skip(report) for report in reporter.stats.get("skipped", [])] if reporter else []


def _skip(report: pytest.TestReport | pytest.CollectReport) -> Skip:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return Skip(report.nodeid, reason.removeprefix("Skipped: "))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a passed run into a failed one."""
    if session.exitstatus == pytest.ExitCode.OK and not_allowed(
        _skips(session.config), read_rules(ALLOWED.read_text())
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, just above pytest's own last line."""
    skips = _skips(config)
    if not skips:
        return
    refused = set(not_allowed(skips, read_rules(ALLOWED.read_text())))
    terminalreporter.section("skipped tests")
    for skip in skips:
        terminalreporter.line(f"{'NOT ALLOWED' if skip in refused else 'allowed':12} {skip.test}: {skip.reason}")
    if refused:
        terminalreporter.line(
            f"{len(refused)} skipped without a line in tests/{ALLOWED.name}: the run has failed", red=True
        )
