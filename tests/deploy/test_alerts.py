"""Alerts and dashboards: valid for Prometheus, each rule fires and stays quiet, and both name only what exists."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client import Gauge

from headrace.observe import metrics
from tests.deploy import expressions, oracles
from tests.deploy.compose import ROOT
from tests.deploy.expressions import DASHBOARDS, RULES, Expression, dashboard
from tests.docs.pages import anchors

UNIT_TESTS = Path(__file__).parent / "alerts.yml"
WANTED = {
    "AgentErrorRate": ("0.05", "5m"),
    "AgentLatencyP99": ("10", "5m"),
    "WorkflowFailureRate": ("0.10", "15m"),
    "HostDisk": ("0.85", ""),
    "RedpandaDisk": ("0.85", ""),
    "HostMemory": ("0.90", ""),
    "ServiceMemory": ("0.90", ""),
    "ConsumerLagGrows": ("500", "10m"),
    "DeadLetters": ("0", "15m"),
    "CommitFailures": ("0.05", "5m"),
    "ServiceDown": ("0", ""),
}
TITLES = {"Platform Overview", "Agent Performance", "Workflow Analytics", "Infrastructure", "Pipeline"}


# --- rules ----------------------------------------------------------------------------------------------------------------


def test_every_alert_that_was_asked_for_is_there_with_its_bound_and_window() -> None:
    found = {rule["alert"]: rule["expr"] for rule in expressions.rules()}
    assert len(found) == len(expressions.rules())
    for alert, (bound, window) in WANTED.items():
        assert f" {bound}" in found[alert], alert
        assert window in found[alert], alert


@pytest.mark.parametrize("rule", expressions.rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_what_happened_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert len(rule["annotations"]["summary"]) > 20
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == str(rule["alert"]).lower()
    assert anchor in anchors(ROOT / page)


def test_the_page_of_alerts_describes_no_other() -> None:
    described = anchors(ROOT / "docs" / "alerts.md") - {"alerts"}
    assert {str(rule["alert"]).lower() for rule in expressions.rules()} <= described
    sections = [line[4:] for line in (ROOT / "docs" / "alerts.md").read_text().split("\n") if line.startswith("### ")]
    assert sections == [rule["alert"] for rule in expressions.rules()]


def test_prometheus_takes_its_configuration_and_the_rules(tmp_path: Path) -> None:
    configuration = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    copy = tmp_path / "prometheus.yml"
    copy.write_text(configuration.replace("/etc/prometheus/rules", str(RULES)))
    done = oracles.run(oracles.promtool(), "check", "config", "--lint=all", "--lint-fatal", copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(expressions.rules())} rules found" in done.stdout + done.stderr


def unit_tests(folder: Path, rules: Path) -> subprocess.CompletedProcess[str]:
    copy = folder / "alerts.yml"
    copy.write_text(UNIT_TESTS.read_text().replace("{rules}", str(rules)))
    return oracles.run(oracles.promtool(), "test", "rules", copy)


def test_each_rule_fires_on_a_made_series_and_stays_quiet_otherwise(tmp_path: Path) -> None:
    done = unit_tests(tmp_path, RULES / "headrace.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_rule_is_without_a_unit_test_in_which_it_fires() -> None:
    cases = [case for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == {
        rule["alert"] for rule in expressions.rules()
    }


def never(expression: str) -> str:
    return f"({expression}) and on () vector(1) > 2"


def too_soon(expression: str) -> str:
    """With bounds that everything passes."""
    return re.sub(r"absent\(.*\)", "vector(1)", re.sub(r"== 0", ">= 0", re.sub(r"> [\d.]+(?! \*)", "> -1", expression)))


@pytest.mark.parametrize("mutation", [never, too_soon])
def test_the_unit_tests_notice_each_rule_that_never_fires_or_fires_too_soon(
    mutation: Callable[[str], str], tmp_path: Path
) -> None:
    document = yaml.safe_load((RULES / "headrace.yml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            assert mutation(rule["expr"]) != rule["expr"]
            rule["expr"] = mutation(rule["expr"])
    broken = tmp_path / "broken.yml"
    broken.write_text(yaml.safe_dump(document))
    done = unit_tests(tmp_path, broken)
    failed = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert failed == {rule["alert"] for rule in expressions.rules()}


# --- dashboards -----------------------------------------------------------------------------------------------------------


def test_the_dashboards_are_those_of_the_tables(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "deploy/grafana/generate.py", tmp_path], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in DASHBOARDS}, "run python deploy/grafana/generate.py"
    assert {dashboard(path)["title"] for path in DASHBOARDS} == TITLES
    assert len({dashboard(path)["uid"] for path in DASHBOARDS}) == len(TITLES)


def datasources() -> set[str]:
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/datasources.yml").read_text())
    return {source["uid"] for source in provisioned["datasources"]}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_have_their_own_ids_and_places_and_a_source_that_is_provisioned(file: Path) -> None:
    panels = dashboard(file)["panels"]
    assert [number for number, times in Counter(panel["id"] for panel in panels).items() if times > 1] == []
    cells = Counter(
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    )
    assert max(cells.values()) == 1, "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        for target in panel.get("targets", ()):
            assert {panel["datasource"]["uid"], target["datasource"]["uid"]} <= datasources(), panel["title"]
        assert len({target["refId"] for target in panel.get("targets", ())}) == len(panel.get("targets", ()))
        assert panel["type"] == "text" or panel["targets"], panel["title"]
    for variable in dashboard(file)["templating"]["list"]:
        assert f"${variable['name']}" in json.dumps(panels)


def test_the_workflow_dashboard_says_what_it_shows() -> None:
    first = dashboard(ROOT / "deploy/grafana/dashboards/workflow-analytics.json")["panels"][0]
    assert first["type"] == "text"
    assert "graphs of several steps" in first["options"]["content"]


def test_every_metric_of_the_mesh_is_in_a_panel() -> None:
    ours = {one._name for one in vars(metrics).values() if isinstance(one, metrics.Counter | metrics.Histogram | Gauge)}
    assert len(ours) > 40
    shown = {re.sub(r"_bucket$", "", name) for query in expressions.of_dashboards() for name in query.metrics}
    assert ours <= shown, sorted(ours - shown)


def test_every_query_of_a_panel_parses(tmp_path: Path) -> None:
    queries = list(expressions.of_dashboards())
    assert len(queries) > 60
    records = [{"record": f"panel:query:{i}", "expr": query.text} for i, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    done = oracles.run(oracles.promtool(), "check", "rules", "--lint=none", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [query for query in queries if "$" in query.text]


# --- the reader of expressions, on which the check of names stands ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metrics", "labels"),
    [
        ('sum by (a, b) (rate(m_total{c="x y", d!~"z{1}"}[5m])) > 0.05', {"m_total"}, {"a", "b", "c", "d"}),
        ("m unless m offset 15m or n_bucket", {"m", "n_bucket"}, set()),
        (
            "histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m]))) and on (k) up == bool 1",
            {"h_bucket", "up"},
            {"le", "k"},
        ),
        ("1e3 * vector(0) + time()", set(), set()),
    ],
)
def test_expressions_are_read_right(text: str, metrics: set[str], labels: set[str]) -> None:
    assert Expression("", text).metrics == metrics
    assert Expression("", text).labels == labels
