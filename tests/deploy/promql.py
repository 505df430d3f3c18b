"""What a PromQL expression asks for: enough of the language for the rules and the dashboard that we ship."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

STRING = r'"(?:[^"\\]|\\.)*"'
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}
OF_TARGETS = {"job", "instance"}  # labels that Prometheus adds


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition in braces."""

    label: str
    values: tuple[str, ...]  # the alternatives of a regular expression


@dataclass(frozen=True, slots=True)
class Asked:
    """What one expression uses."""

    metrics: dict[str, tuple[Matcher, ...]]  # the name of a series -> all that is demanded of its labels
    groups: frozenset[str]  # labels in by (...)


def asked(expression: str) -> Asked:
    """Raises ValueError for braces that are not understood."""
    groups: set[str] = set()

    def grouped(found: re.Match[str]) -> str:
        groups.update(re.findall(r"\w+", found[1]))
        return " "

    plain = re.sub(r"\b(?:by|on)\s*\(([^)]*)\)", grouped, expression)
    plain = re.sub(r"\[[^\]]*\]", " ", plain)
    metrics: defaultdict[str, tuple[Matcher, ...]] = defaultdict(tuple)
    for found in re.finditer(rf"([a-zA-Z_:][\w:]*)\s*(\{{(?:[^\"}}]|{STRING})*\}})?\s*(\(?)", plain):
        name, braces, call = found.groups()
        if not call and name not in WORDS:
            metrics[name] += tuple(_matchers(braces or "{}"))
    return Asked(dict(metrics), frozenset(groups))


def _matchers(braces: str) -> Iterator[Matcher]:
    condition = re.compile(rf"\s*(\w+)\s*(?:=~|!~|!=|=)\s*({STRING})\s*,?")
    for found in condition.finditer(braces[1:-1]):
        yield Matcher(found[1], tuple(found[2][1:-1].split("|")))
    if condition.sub("", braces[1:-1]).strip():
        raise ValueError(braces)
