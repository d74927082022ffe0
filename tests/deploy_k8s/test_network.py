"""Who may speak to whom, decided from the policies as a cluster would."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from headrace.pipeline import STAGES
from tests.deploy_k8s.charts import (
    RENDERINGS,
    Object,
    kinds,
    matches,
    module,
    pod,
    rendering,
    services_of,
    template,
    with_json,
    workloads,
)
from tests.kubejobs.api import RIGHTS
from tests.kubejobs.test_job import CODE, built

PUBLIC, PRIVATE, METADATA = "93.184.215.14", "10.0.7.7", "169.254.169.254"


def _labels(component: str, objects: list[Object]) -> dict[str, str]:
    for one in workloads(objects):
        labels: dict[str, str] = pod(one)["metadata"]["labels"]
        if labels["app.kubernetes.io/component"] == component:
            return labels
    raise AssertionError(component)


def _rules(component: str, direction: str, objects: list[Object]) -> list[dict[str, Any]] | None:
    """Rules of all policies that choose the pod; None where none does, which means that all is allowed."""
    labels = _labels(component, objects)
    chosen = [
        one for one in kinds(objects, "NetworkPolicy") if matches(one["spec"]["podSelector"]["matchLabels"], labels)
    ]
    if not any(direction.capitalize() in one["spec"]["policyTypes"] for one in chosen):
        return None
    return [rule for one in chosen for rule in one["spec"].get(direction, [])]


def _peer_takes(peer: dict[str, Any], address: str) -> bool:
    if "ipBlock" not in peer:
        return False  # an address outside of the cluster is no pod
    block = peer["ipBlock"]
    there = ip_address(address)
    inside = there in ip_network(block["cidr"])
    return inside and not any(there in ip_network(part) for part in block.get("except", []))


def may_reach(component: str, address: str, port: int, objects: list[Object]) -> bool:
    rules = _rules(component, "egress", objects)
    if rules is None:
        return True
    return any(
        port in [one["port"] for one in rule["ports"] if one["protocol"] == "TCP"]
        and ("to" not in rule or any(_peer_takes(peer, address) for peer in rule["to"]))
        for rule in rules
    )


def test_nothing_is_open_by_omission() -> None:
    for name in RENDERINGS:
        objects = rendering(name)
        if name == "minimal":
            assert not kinds(objects, "NetworkPolicy")
            continue
        for one in workloads(objects):
            component = pod(one)["metadata"]["labels"]["app.kubernetes.io/component"]
            for direction in ("ingress", "egress"):
                rules = _rules(component, direction, objects)
                assert rules is not None, (name, component, direction)
                assert all(rule.get("ports") for rule in rules)  # a rule without ports means all of them
                key = "from" if direction == "ingress" else "to"
                assert all(rule.get(key, ["-"]) for rule in rules)  # and an empty list means anybody
                assert direction == "egress" or all("from" in rule for rule in rules)


def test_all_are_denied_what_no_policy_names() -> None:
    (deny,) = [
        one for one in kinds(rendering("k8s"), "NetworkPolicy") if one["metadata"]["name"].endswith("default-deny")
    ]
    assert deny["spec"].keys() == {"podSelector", "policyTypes"}
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("component", [*STAGES, "prepare"])
@pytest.mark.parametrize(
    ("address", "port", "who"),
    [
        (PRIVATE, 9092, {*STAGES, "prepare"}),
        (PRIVATE, 8081, {*STAGES, "prepare"}),
        (PRIVATE, 5432, {*STAGES, "prepare"}),
        (PUBLIC, 443, {"reasoning", "replay", "tools"}),
        (PUBLIC, 80, {"tools"}),
        (PRIVATE, 443, set()),
        (PRIVATE, 80, set()),
        (METADATA, 80, set()),
        ("100.64.0.1", 443, set()),
        ("::1", 443, set()),
        ("fd00::1", 80, set()),
        ("2606:2800:220:1::1", 443, {"reasoning", "replay", "tools"}),
        (PUBLIC, 22, set()),
        (PRIVATE, 6443, set()),
    ],
)
def test_who_reaches_what(component: str, address: str, port: int, who: set[str]) -> None:
    assert may_reach(component, address, port, rendering("k8s")) == (component in who)


def test_a_gateway_that_takes_sns_reaches_it_and_another_does_not() -> None:
    """Its certificates, and the page that confirms a subscription."""
    given = {"services__gateway__secretEnv": {"HEADRACE_WEBHOOK_SECRET_SNS": {}}}
    objects = template(*with_json(**given))
    assert may_reach("gateway", PUBLIC, 443, objects)
    for address, port in ((PUBLIC, 80), (PRIVATE, 443), (METADATA, 80)):
        assert not may_reach("gateway", address, port, objects)
    assert not may_reach("ingest", PUBLIC, 443, objects)


@pytest.mark.parametrize("component", [*STAGES, "prepare"])
def test_who_reaches_the_api_server_and_the_gateway(component: str) -> None:
    objects = rendering("everything")
    assert may_reach(component, "10.4.0.1", 6443, objects) == (component in RIGHTS)
    assert not may_reach(component, "10.4.0.2", 6443, objects)
    gateway = _labels("gateway", objects)
    to_gateway = [
        peer["podSelector"]["matchLabels"]
        for rule in _rules(component, "egress", objects) or []
        for peer in rule.get("to", [])
        if "podSelector" in peer and 8080 in [one["port"] for one in rule["ports"]]
    ]
    assert [matches(selector, gateway) for selector in to_gateway] == ([True] if component == "tools" else [])
    callers, _metrics = _rules("gateway", "ingress", objects) or []
    others, tools = callers["from"]
    assert others == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    assert matches(tools["podSelector"]["matchLabels"], _labels(component, objects)) == (component == "tools")


def test_pods_of_jobs_reach_what_they_are_given() -> None:
    def policy(**values: Any) -> dict[str, Any]:
        to = {"ports": [443], "to": [{"ipBlock": {"cidr": "10.4.0.1/32"}}]}
        given = {"agentJobs__enabled": True, "networkPolicy__egress__apiServer": to} | values
        (found,) = [
            one for one in kinds(template(*with_json(**given)), "NetworkPolicy") if "-agents" in one["metadata"]["name"]
        ]
        assert found["metadata"]["namespace"] == "headrace-agents"
        assert found["spec"]["policyTypes"] == ["Ingress", "Egress"]
        labels = built(CODE)["spec"]["template"]["metadata"]["labels"]
        assert matches(found["spec"]["podSelector"]["matchLabels"], labels)
        return dict(found["spec"])

    assert policy().keys() == {"podSelector", "policyTypes"}, "nothing, unless it is said"
    rule = {"to": [{"ipBlock": {"cidr": "10.5.0.0/16"}}], "ports": [{"port": 443, "protocol": "TCP"}]}
    assert policy(agentJobs__egress=[rule])["egress"] == [rule]


def test_names_are_resolved_by_all() -> None:
    objects = rendering("k8s")
    for one in workloads(objects):
        rules = _rules(pod(one)["metadata"]["labels"]["app.kubernetes.io/component"], "egress", objects) or []
        assert any({"port": 53, "protocol": "UDP"} in rule["ports"] for rule in rules)


def test_only_the_gateway_is_called() -> None:
    objects = rendering("k8s")
    for name in services_of(objects):
        rules = _rules(name, "ingress", objects) or []
        assert [rule["ports"][0]["port"] for rule in rules] == (["http"] if name == "gateway" else [])
    assert _rules("prepare", "ingress", objects) == []


def test_the_gateway_may_be_closed_to_all() -> None:
    assert _rules("gateway", "ingress", template(*with_json(networkPolicy__gatewayFrom=[]))) == []


def test_monitoring_is_let_in_or_refused() -> None:
    objects = rendering("everything")
    for name in services_of(objects):
        rules = [rule for rule in _rules(name, "ingress", objects) or [] if rule["ports"][0]["port"] == "ops"]
        assert [peer["namespaceSelector"]["matchLabels"] for rule in rules for peer in rule["from"]] == [
            {"kubernetes.io/metadata.name": "monitoring"}
        ]
    with pytest.raises(module("helm").Refused, match="lets nobody scrape"):
        template(*with_json(monitoring__kind="PodMonitor"))


def test_ports_follow_the_servers() -> None:
    objects = rendering("everything")
    for port, address in (
        (9096, "10.1.0.9"),
        (9097, "10.1.0.9"),
        (19092, "10.1.0.9"),
        (443, "10.2.0.9"),
        (6432, "10.3.0.9"),
    ):
        assert may_reach("ingest", address, port, objects), port
    for port, address in (
        (9092, "10.1.0.9"),
        (9096, "10.2.0.9"),
        (8081, "10.2.0.9"),
        (5432, "10.3.0.9"),
        (4318, "10.1.0.9"),
    ):
        assert not may_reach("ingest", address, port, objects), port


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://registry", 80),
        ("https://registry", 443),
        ("https://registry:8085/apis", 8085),
        ("http://registry:8081/apis/ccompat/v7", 8081),
        ("http://[fd00::2]:8086", 8086),
        ("http://registry-2", 80),
    ],
)
def test_the_registry_s_port_is_the_url_s(url: str, port: int) -> None:
    objects = template(*with_json(schemaRegistry__url=url, kafka__bootstrapServers="k:1"))
    assert may_reach("ingest", PRIVATE, port, objects)
    others = {80, 443, 8081, 8085, 8086} - {port}
    assert not [other for other in others if may_reach("ingest", PRIVATE, other, objects)]


def test_traces_may_leave_only_if_somebody_collects_them() -> None:
    assert not may_reach("ingest", PRIVATE, 4318, rendering("k8s"))
    collected = template(*with_json(settings={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}))
    assert may_reach("ingest", PRIVATE, 4318, collected)
