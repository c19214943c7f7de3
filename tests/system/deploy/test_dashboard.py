"""Dashboard, alerts and the operations page name only metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from support.dask_processes import dask_processes
from support.telemetry_collectors import OPERATIONS, TELEMETRY, documented_config
from system.deploy.helpers.monitoring import METRIC, dashboard, queries, rules

ROOT = OPERATIONS.parents[2]
PAGES = OPERATIONS.read_text() + TELEMETRY.read_text()
OTHERS = {"namespace", "pod", "instance", "stage", "status", "error", "state", "type", "task_prefix_name", "le"}
"""Labels that queries may use: three of Prometheus, the others of the metrics."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Metrics that an idle scheduler and an idle worker serve."""
    with dask_processes(tmp_path_factory.mktemp("served"), documented_config(), workers=1) as cluster:
        yield cluster.names()


def test_queries_use_metrics_that_are_served(served: set[str]) -> None:
    named = {name for query in queries() for name in METRIC.findall(query)}
    assert len(named) > 25
    assert named <= served, sorted(named - served)


def test_operations_page_names_metrics_that_are_served(served: set[str]) -> None:
    named = set(METRIC.findall(PAGES))
    histograms = {name.removesuffix("_count") for name in served if name.endswith("_count")}
    assert len(named) > 12
    assert named <= served | histograms, sorted(named - served - histograms)


def test_dashboard_shows_every_metric_of_masksift(served: set[str]) -> None:
    metrics = {
        re.sub("_(bucket|count|sum)$", "", name) for name in served if re.match("masksift_(?!.*_created$)", name)
    }
    shown = {re.sub("_(bucket|count|sum)$", "", name) for query in queries() for name in METRIC.findall(query)}
    assert metrics - shown == set()


def test_queries_use_known_labels() -> None:
    for query in queries():
        inside = " ".join(re.findall(r"\{(.*?)\}", query))
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            assert label in OTHERS, query
        for some in re.findall(r"(?:by|on|ignoring|without) \((.*?)\)", query):
            assert set(some.replace(" ", "").split(",")) <= OTHERS, query


def test_queries_parse_as_promql() -> None:
    parser = pytest.importorskip(
        "promql_parser", reason="promql-parser is not installed: the queries' grammar is unchecked"
    )
    for query in queries():
        if not query.startswith("label_values"):
            plain = query.replace("$__rate_interval", "5m").replace("$__range", "3h")
            parser.parse(plain)


def test_dashboard_has_no_fixed_datasource() -> None:
    found = dashboard()
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert found["schemaVersion"] >= 39
    assert [one["name"] for one in found["templating"]["list"]] == ["datasource", "namespace", "pod"]
    sources = re.findall(r'"uid": "(.*?)"', json.dumps(found))
    assert set(sources) == {"masksift", "${datasource}"}, "its own, and the one that is chosen"
    for panel in found["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_have_a_summary_and_a_runbook_link() -> None:
    text = OPERATIONS.read_text()
    headings = re.findall(r"^## (.*)$", text, re.M)
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["question"] in headings
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in rules()}) == len(rules()) == 7
    assert set(re.findall(r"\bMasksift\w+", text)) <= {rule["alert"] for rule in rules()}


def test_operations_page_links_to_files_that_exist() -> None:
    named = set(re.findall(r"`(deploy/[\w./-]+)`", PAGES))
    assert named == {"deploy/grafana/masksift.json", "deploy/prometheus/alerts.yaml"}
    for place in named:
        assert (ROOT / place).is_file(), place
