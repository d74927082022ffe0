"""The values: strict, documented, and what is derived from them and from the code is up to date."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from headrace.pipeline import STAGES
from tests.deploy_k8s.charts import CHART, MANIFESTS, SETS, kinds, module, rendering, template, with_json

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
FREE = {"global", "affinity"}  # handed on as they are
FREE_ITEMS = {"tolerations", "extraEgress", "egress"}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"imagee": {}}, "imagee"),
        ({"image__tagg": "1"}, "tagg"),
        ({"kafka__bootstrap": "k:9092"}, "bootstrap"),
        ({"kafka__bootstrapServers": "kafka"}, "bootstrapServers"),
        ({"kafka__bootstrapServers": ""}, "bootstrapServers"),
        ({"kafka__groupProtocol": "eager"}, "groupProtocol"),
        ({"services__gatway": {"enabled": True}}, "gatway"),
        ({"services__tools__replica": 2}, "replica"),
        ({"services__tools__replicas": "2"}, "replicas"),
        ({"services__tools__autoscaling__maxReplica": 2}, "maxReplica"),
        ({"services__tools__resources__limit": {}}, "limit"),
        ({"settings": {"HEADRACE_LOGLEVEL": "debug"}}, "HEADRACE_LOGLEVEL"),
        ({"settings": {"HEADRACE_MAX_RECORD_BYTES": 1000000}}, "HEADRACE_MAX_RECORD_BYTES"),
        ({"settings": {"HEADRACE_INSTANCE": "0"}}, "HEADRACE_INSTANCE"),
        ({"secretEnv": {"HEADRACE_LOG_LEVEL": {}}}, "HEADRACE_LOG_LEVEL"),
        ({"autoscaling__mode": "vpa"}, "mode"),
        ({"workloadKind": "DaemonSet"}, "workloadKind"),
        ({"podSecurity__runAsUser": 0}, "runAsUser"),
        ({"podSecurity__privileged": True}, "privileged"),
        ({"networkPolicy__egress__models__to": []}, "models"),
        ({"networkPolicy__gatewayFrom": [{}]}, "gatewayFrom"),
        ({"gateway__ingress__enabled": True}, "host"),
        ({"mcp": {"configMap": "a", "secret": "b"}}, "mcp"),
        ({"agentJobs__namespace": "a.b"}, "namespace"),
        ({"agentJobs__rights": []}, "rights"),
        ({"gateway__ingress__paths": ["webhooks"]}, "paths"),
        ({"podDisruptionBudget__maxUnavailable": 0}, "maxUnavailable"),
        ({"drainSeconds": -1}, "drainSeconds"),
        ({"monitoring__kind": "podmonitor"}, "kind"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologySpreadConstraints"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_what_is_misspelt_or_out_of_bounds_is_refused(value: dict[str, Any], named: str) -> None:
    with pytest.raises(module("helm").Refused, match="don't meet the specifications of the schema") as refused:
        template(*with_json(**value))
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"agentJobs__enabled": True}, r"apiServer\.to is needed"),
        ({"autoscaling__mode": "keda"}, "prometheusAddress is needed"),
        ({"autoscaling__mode": "hpa", "autoscaling__cpuUtilization": 0}, "nothing to scale"),
    ],
)
def test_what_can_t_work_is_refused(value: dict[str, Any], why: str) -> None:
    with pytest.raises(module("helm").Refused, match=why):
        template(*with_json(**value))


def test_older_kubernetes_is_refused() -> None:
    with pytest.raises(module("helm").Refused, match=r"incompatible with Kubernetes v1\.30\.0"):
        template(kubernetes="1.30.0")


def _objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, below in schema.items():
            yield from _objects(below, f"{path}/{key}")
    elif isinstance(schema, list):
        for below in schema:
            yield from _objects(below, path)


def test_every_object_of_the_schema_is_closed() -> None:
    for path, schema in _objects(SCHEMA):
        name = path.rsplit("/", 1)[-1]
        item_of = path.split("/")[-2] if name == "items" else ""
        if name in FREE or item_of in FREE_ITEMS or "/$defs/volume/properties/" in path:
            continue
        assert schema.get("additionalProperties") is False or isinstance(schema.get("additionalProperties"), dict), path


def _declared(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]]  # type: ignore[no-any-return]
    return schema


def test_values_and_schema_have_the_same_keys() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        properties = schema["properties"]
        assert values.keys() == properties.keys() - {"global"}, path
        for key, value in values.items():
            below = _declared(properties[key])
            if (
                isinstance(value, dict)
                and "properties" in below
                and key not in ("kafkaMetadata", "resources", "services")
            ):
                compare(value, below, f"{path}.{key}")

    compare(VALUES, SCHEMA, "")
    assert VALUES["services"].keys() == STAGES.keys()


def test_readme_names_values_that_there_are() -> None:
    page = (CHART / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-zA-Z.<>]+)`", page, re.MULTILINE)
    assert len(named) >= 15
    for path in named:
        there: Any = VALUES
        schema: dict[str, Any] = SCHEMA
        for part in path.replace("<service>", "gateway").split("."):
            schema = _declared(schema)["properties"][part]
            there = there.get(part) if isinstance(there, dict) else None
    assert {path.split(".")[0] for path in named} >= {"image", "kafka", "schemaRegistry", "secretEnv", "settings"}


def test_flow_and_schema_are_up_to_date() -> None:
    render = module("render")
    assert render.FLOW.read_text(encoding="utf-8") == render.flow(), "run `make manifests`"
    assert render.SCHEMA.read_text(encoding="utf-8") == render.schema(), "run `make manifests`"


def test_manifests_are_what_the_chart_gives() -> None:
    render = module("render")
    try:
        module("helm").find()
    except module("helm").NoHelm as reason:
        pytest.skip(str(reason))
    fresh = render.manifests(render.template())
    assert {path.name for path in MANIFESTS.iterdir()} == fresh.keys()
    for name, text in fresh.items():
        assert (MANIFESTS / name).read_text(encoding="utf-8") == text, f"{name}: run `make manifests`"


def test_kustomization_has_every_file_but_the_job_s() -> None:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert set(listed) == {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml", "prepare.yaml"}


def test_the_chart_has_the_version_of_the_package() -> None:
    from headrace import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__


def test_the_image_is_pinned_by_tag_or_digest() -> None:
    assert {"Deployment", "StatefulSet"} <= {one["kind"] for name in SETS for one in rendering(name)}
    for name in SETS:
        for one in kinds(rendering(name), "Deployment", "StatefulSet", "Job"):
            image = one["spec"]["template"]["spec"]["containers"][0]["image"]
            assert re.search(r":\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$", image)
