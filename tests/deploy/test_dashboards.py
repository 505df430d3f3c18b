"""Prometheus' rules and Grafana's dashboard ask for metrics that exist."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.samples import Sample

from stream.web.metrics import STATES
from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import OF_TARGETS, Matcher, asked

RULES = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
MADE_BY_PROMETHEUS = {"up"}
VARIABLE = re.compile(r"\$\w+")


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and what is asked there."""
    for rule in RULES:
        yield f"alert {rule['alert']}", rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]


EXPRESSIONS = list(expressions())


@pytest.fixture(scope="session")
def labels(exposed: list[Sample]) -> dict[str, dict[str, set[str]]]:
    """Name of a series -> label -> its values in the run."""
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for sample in exposed:
        for label, value in {"": "", **sample.labels}.items():
            found[sample.name][label].add(value)
    return {name: dict(values) for name, values in found.items()}


@pytest.mark.redis
@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_name_and_label_exists(where: str, expression: str, labels: dict[str, dict[str, set[str]]]) -> None:
    wanted = asked(expression)
    assert wanted.metrics
    for name, matchers in wanted.metrics.items():
        if name in MADE_BY_PROMETHEUS:
            continue
        assert name in labels, f"{where}: no run tells {name}"
        known = labels[name]
        assert wanted.groups - OF_TARGETS <= known.keys(), f"{where}: {name} has no such label"
        for matcher in matchers:
            if matcher.label in OF_TARGETS:
                continue
            assert matcher.label in known, f"{where}: {name} has no label {matcher.label}"
            values = {value for value in matcher.values if not VARIABLE.fullmatch(value)}
            assert values <= known[matcher.label], f"{where}: {name} never has {matcher}"


@pytest.mark.redis
def test_a_run_tells_all_states_of_a_camera(labels: dict[str, dict[str, set[str]]]) -> None:
    assert labels["emostream_camera_state"]["state"] == set(STATES)


@pytest.mark.redis
def test_everything_that_is_told_is_shown_and_explained(labels: dict[str, dict[str, set[str]]]) -> None:
    told = {_family(name) for name in labels if name.startswith("emostream_")}
    shown = {_family(name) for _, expression in EXPRESSIONS for name in asked(expression).metrics}
    explained = set(re.findall(r"`(emostream_\w+)`", (DEPLOY / "README.md").read_text()))
    assert told - shown == set()
    assert explained == told


def _family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count|created)$", "", name)


def test_the_reader_of_expressions() -> None:
    """By what it is held against: a name, label or value that was mistyped is seen."""
    found = asked('sum by (a, le) (rate(x_total{b!="c", d=~"e|f"}[5m])) / on (g) y{h="}"} and deriv(z[1m]) > 1')
    assert found.metrics == {
        "x_total": (Matcher("b", ("c",)), Matcher("d", ("e", "f"))),
        "y": (Matcher("h", ("}",)),),
        "z": (),
    }
    assert found.groups == {"a", "le", "g"}


class TestRules:
    def test_each_says_who_what_and_how_bad(self) -> None:
        names = [rule["alert"] for rule in RULES]
        assert len(set(names)) == len(names) >= 8
        for rule in RULES:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert set(rule["annotations"]) == {"summary", "description"}
            assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))

    def test_prometheus_is_told_to_load_them(self) -> None:
        config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
        assert config["rule_files"] == ["alerts.yml"]
        (job,) = config["scrape_configs"]
        assert all(f'job="{job["job_name"]}"' in rule["expr"] for rule in RULES if "up{" in rule["expr"])


class TestDashboard:
    def test_grafana_can_load_it(self) -> None:
        panels: list[dict[str, Any]] = DASHBOARD["panels"]
        assert DASHBOARD["uid"] == "emostream"
        assert len({panel["id"] for panel in panels}) == len(panels)
        source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())
        uids = {panel["datasource"]["uid"] for panel in panels}
        uids |= {variable["datasource"]["uid"] for variable in DASHBOARD["templating"]["list"]}
        assert uids == {source["datasources"][0]["uid"]}

    def test_panels_lie_side_by_side(self) -> None:
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
            columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            cells = {(x, y) for x in columns for y in rows}
            assert max(columns) < 24
            assert not cells & taken
            taken |= cells

    @pytest.mark.redis
    def test_its_variables_ask_for_what_exists(self, labels: dict[str, dict[str, set[str]]]) -> None:
        variables = {variable["name"]: variable["query"] for variable in DASHBOARD["templating"]["list"]}
        used = {name[1:] for _, expression in EXPRESSIONS for name in VARIABLE.findall(expression)}
        assert used == set(variables)
        for query in variables.values():
            found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query)
            assert found is not None
            assert found[2] in OF_TARGETS | labels[found[1]].keys()
