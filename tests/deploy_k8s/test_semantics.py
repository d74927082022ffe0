"""What objects say is true of the program (commands, variables, ports, paths, topics, metrics), and they agree among themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest

from headrace.cli.app import commands
from headrace.host.ops import Ops
from headrace.kubejobs.settings import KubeSettings
from headrace.observe import metrics
from headrace.pipeline import STAGES
from headrace.settings import MeshSettings
from headrace.toolspecs.pinned import SUFFIX, McpSettings
from headrace.topology.spec import load_all
from tests.deploy_k8s.charts import (
    RENDERINGS,
    ROOT,
    Object,
    container,
    environment,
    kinds,
    label,
    matches,
    module,
    pod,
    rendering,
    services_of,
    template,
    with_json,
    workloads,
)

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # where lightkube looks, as all clients do
PLACEHOLDERS = {
    "HEADRACE_KAFKA_OPTIONS": '{"security.protocol": "SSL"}',
    "DATABASE_URL": "postgresql://db/headrace",
    "HEADRACE_SCHEMA_REGISTRY_AUTH": "user:password",
}


def test_there_is_a_workload_a_service() -> None:
    for name in RENDERINGS:
        expected = STAGES.keys() - ({"replay", "audit", "analytics"} if name == "minimal" else set())
        assert services_of(rendering(name)).keys() == expected, name


def test_every_command_parses(objects: list[Object]) -> None:
    for one in workloads(objects):
        program, arguments = container(one)["command"], container(one)["args"]
        assert program == ["headrace"]
        commands(arguments).parse_args(arguments, exit_on_error=False, print_error=False)
        if arguments[0] == "run":
            assert arguments[1:] == [one["metadata"]["labels"]["app.kubernetes.io/component"]]
            assert arguments[1] in STAGES
        else:
            assert one["kind"] == "Job"


def test_prepare_may_leave_the_agents_out() -> None:
    (job,) = kinds(template(*with_json(prepare__agents=False)), "Job")
    assert container(job)["args"] == ["prepare", "--no-agents"]
    commands(["prepare"]).parse_args(["prepare", "--no-agents"], exit_on_error=False, print_error=False)


# --- settings --------------------------------------------------------------------------------------------------------


def _known(name: str) -> bool:
    generator = module("docs_generate")
    named = {
        generator.variable(settings, field, info)
        for _, _, settings in generator.SECTIONS
        for field, info in settings.model_fields.items()
    }
    return name in named or name.startswith(("HEADRACE_WEBHOOK_SECRET_", "OTEL_"))


def test_every_variable_is_a_setting(objects: list[Object]) -> None:
    for one in workloads(objects):
        variables = environment(one, objects)
        assert len(variables) >= 7
        for name in variables:
            assert _known(name), (label(one), name)


def test_no_variable_is_named_twice(objects: list[Object]) -> None:
    for one in workloads(objects):
        names = [item["name"] for item in container(one)["env"]]
        assert len(names) == len(set(names)), label(one)


def test_the_settings_classes_take_every_value(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    for one in workloads(objects):
        with monkeypatch.context() as patch:
            for name, value in environment(one, objects).items():
                text = (
                    value
                    if isinstance(value, str)
                    else PLACEHOLDERS.get(name, "demo-headrace-gateway-7d4b9c6f5d-x2x7k")
                )
                patch.setenv(name, text)
            for _, _, settings in module("docs_generate").SECTIONS:
                settings(_env_file=None)
            assert MeshSettings(_env_file=None).ops_port == 9100  # type: ignore[call-arg]


def test_settings_that_change_restart_the_pods() -> None:
    def checksums(*arguments: str) -> set[str]:
        found = services_of(template(*arguments)).values()
        return {pod(one)["metadata"]["annotations"]["checksum/settings"] for one in found}

    before, after = checksums(), checksums(*with_json(settings={"HEADRACE_TENANT": "acme"}))
    assert len(before) == len(after) == 1
    assert before != after


def _kube_of(one: Object, objects: list[Object]) -> KubeSettings:
    variables = {name: value for name, value in environment(one, objects).items() if isinstance(value, str)}
    prefix = "HEADRACE_KUBE_"
    given = {name.removeprefix(prefix).lower(): value for name, value in variables.items() if name.startswith(prefix)}
    return KubeSettings(_env_file=None, **given)


def test_those_who_may_speak_to_the_cluster_do_so_where_they_may() -> None:
    for name in RENDERINGS:
        objects = rendering(name)
        found = {service: _kube_of(one, objects) for service, one in services_of(objects).items()}
        asking = {service for service, kube in found.items() if kube.cluster == "in-cluster"}
        assert asking == ({"tools", "orchestration"} if name == "everything" else set())
        assert {found[service].namespace for service in asking} <= {
            role["metadata"]["namespace"] for role in kinds(objects, "Role")
        }
        for service in asking:
            paths = {mount["mountPath"] for mount in container(services_of(objects)[service])["volumeMounts"]}
            assert SERVICE_ACCOUNT in paths


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_the_files_of_mcp_are_where_the_settings_say(kind: str) -> None:
    objects = template(*with_json(mcp={kind: "mine"}))
    for name, one in services_of(objects).items():
        given = {k: v for k, v in environment(one, objects).items() if k.startswith("HEADRACE_MCP_")}
        mounted = [mount["mountPath"] for mount in container(one)["volumeMounts"] if mount["name"] == "mcp"]
        if name not in ("tools", "reasoning", "gateway", "replay"):
            assert (given, mounted) == ({}, [])
            continue
        fields = {variable.removeprefix("HEADRACE_MCP_").lower(): value for variable, value in given.items()}
        settings = McpSettings(_env_file=None, **fields)
        assert (settings.servers is not None) == (name == "tools"), "the others need to know and not to start them"
        assert str(settings.pins_file) == f"{mounted[0]}/mcp.yaml{SUFFIX}"
        (volume,) = [volume for volume in pod(one)["spec"]["volumes"] if volume["name"] == "mcp"]
        assert volume[kind] == ({"name": "mine"} if kind == "configMap" else {"secretName": "mine"})


def test_tools_are_told_where_the_gateway_is_and_by_which_key() -> None:
    objects = rendering("everything")
    (service,) = [one for one in kinds(objects, "Service") if one["metadata"]["name"] == "mesh-gateway"]
    (port,) = service["spec"]["ports"]
    for name, one in services_of(objects).items():
        given = {k: v for k, v in environment(one, objects).items() if k.startswith("HEADRACE_ORCHESTRATOR_")}
        key = {"secretKeyRef": {"name": "mesh-secrets", "key": "HEADRACE_ORCHESTRATOR_API_KEY"}}
        url = f"http://mesh-gateway:{port['port']}"
        wanted = {"HEADRACE_ORCHESTRATOR_API_URL": url, "HEADRACE_ORCHESTRATOR_API_KEY": key}
        assert given == (wanted if name == "tools" else {})
    elsewhere = {"HEADRACE_ORCHESTRATOR_API_URL": "https://mesh.example.com"}
    for given in ({"settings": elsewhere}, {"services__tools__settings": elsewhere}):
        objects = template(*with_json(patchWorkflow__enabled=True, **given))
        assert elsewhere.items() <= environment(services_of(objects)["tools"], objects).items()


# --- instances and stopping ------------------------------------------------------------------------------------------


def test_an_instance_is_a_pod(objects: list[Object]) -> None:
    for one in workloads(objects):
        source = environment(one, objects)["HEADRACE_INSTANCE"]
        assert source == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_the_longest_names_still_fit() -> None:
    """Kubernetes cuts a generated pod name to 63 characters; a StatefulSet's revision label is its name and 11 more."""
    allowed = MeshSettings.model_fields["instance"].metadata[0].pattern
    assert re.fullmatch(allowed, "x" * 63)
    objects = template(*with_json(workloadKind="StatefulSet"), release="r" * 53)
    for one in services_of(objects).values():
        assert len(one["metadata"]["name"]) + 11 <= 63
        assert re.fullmatch(allowed, one["metadata"]["name"] + "-9999")
    assert all(len(one["metadata"]["name"]) <= 63 for one in kinds(objects, "Service"))


def test_a_pod_has_time_to_drain(objects: list[Object]) -> None:
    for name, one in services_of(objects).items():
        drain = int(environment(one, objects)["HEADRACE_DRAIN_SECONDS"])
        before = container(one).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod(one)["spec"]["terminationGracePeriodSeconds"] >= drain + before + 5
        assert (before > 0) <= (name == "gateway")


# --- ports and paths -------------------------------------------------------------------------------------------------


async def _ops_answers(path: str) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    await Ops([], [])({"type": "http", "path": path}, receive, send)
    status: int = sent[0]["status"]
    return status


def _gateway_paths() -> set[str]:
    """Paths in the gateway's own sources."""
    folder = ROOT / "services" / "headrace" / "gateway"
    return {path for file in folder.glob("*.py") for path in re.findall(r'"(/[a-z0-9_./{}:]+)"', file.read_text())}


async def test_probes_ask_what_is_there(objects: list[Object]) -> None:
    for name, one in services_of(objects).items():
        ports = {port["name"]: port["containerPort"] for port in container(one)["ports"]}
        variables = environment(one, objects)
        assert ports["ops"] == int(variables["HEADRACE_OPS_PORT"])
        assert ports.get("http") == (int(variables["HEADRACE_GATEWAY_PORT"]) if name == "gateway" else None)
        assert variables["HEADRACE_OPS_HOST"] in ("0.0.0.0", "::")
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            asked = container(one)[probe]["httpGet"]
            assert asked["path"] == path
            assert asked["port"] in ports
            assert await _ops_answers(path) == 200
        assert container(one)["readinessProbe"]["httpGet"]["port"] == ("http" if name == "gateway" else "ops")
    assert await _ops_answers("/nowhere") == 404


def test_monitors_read_metrics_that_are_there() -> None:
    for set_name, kind, key in (
        ("everything", "ServiceMonitor", "endpoints"),
        ("keda-prometheus", "PodMonitor", "podMetricsEndpoints"),
    ):
        objects = rendering(set_name)
        (monitor,) = kinds(objects, kind)
        (endpoint,) = monitor["spec"][key]
        assert endpoint["port"] == "ops"
        assert endpoint["path"] == "/metrics"
        wanted = monitor["spec"]["selector"]["matchLabels"]
        if kind == "PodMonitor":
            seen = {
                name for name, one in services_of(objects).items() if matches(wanted, pod(one)["metadata"]["labels"])
            }
        else:
            chosen = [one for one in kinds(objects, "Service") if matches(wanted, one["metadata"]["labels"])]
            assert all([port["name"] for port in one["spec"]["ports"]] == ["ops"] for one in chosen)
            seen = {one["spec"]["selector"]["app.kubernetes.io/component"] for one in chosen}
        assert seen == STAGES.keys()


# --- who points at whom ----------------------------------------------------------------------------------------------


def _selected(selector: dict[str, str], objects: list[Object]) -> list[str]:
    return [name for name, one in services_of(objects).items() if matches(selector, pod(one)["metadata"]["labels"])]


def test_selectors_choose_one_workload_each(objects: list[Object]) -> None:
    found = services_of(objects)
    for name, one in found.items():
        assert _selected(one["spec"]["selector"]["matchLabels"], objects) == [name]
        for spread in pod(one)["spec"].get("topologySpreadConstraints", []):
            assert _selected(spread["labelSelector"]["matchLabels"], objects) == [name]
    for service in kinds(objects, "Service"):
        (name,) = _selected(service["spec"]["selector"], objects)
        assert name == service["metadata"]["labels"]["app.kubernetes.io/component"]
        names = {port["name"] for port in container(found[name])["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    guarded = [
        name
        for budget in kinds(objects, "PodDisruptionBudget")
        for name in _selected(budget["spec"]["selector"]["matchLabels"], objects)
    ]
    assert sorted(guarded) in ([], sorted(found))


def test_what_a_pod_names_is_there(objects: list[Object]) -> None:
    accounts = {one["metadata"]["name"] for one in kinds(objects, "ServiceAccount")} | {"default"}
    settings = {one["metadata"]["name"] for one in kinds(objects, "ConfigMap")}
    for one in workloads(objects):
        assert pod(one)["spec"]["serviceAccountName"] in accounts
        assert {source["configMapRef"]["name"] for source in container(one).get("envFrom", [])} <= settings
        volumes = {volume["name"] for volume in pod(one)["spec"]["volumes"]}
        assert {mount["name"] for mount in container(one)["volumeMounts"]} == volumes
    headless = {one["metadata"]["name"] for one in kinds(objects, "Service") if one["spec"].get("clusterIP") == "None"}
    for one in kinds(objects, "StatefulSet"):
        assert one["spec"]["serviceName"] in headless
        assert one["spec"]["podManagementPolicy"] == "Parallel"


def test_the_ingress_leads_to_the_gateway() -> None:
    for name in ("ingress", "everything"):
        objects = rendering(name)
        (ingress,) = kinds(objects, "Ingress")
        (rule,) = ingress["spec"]["rules"]
        services = {one["metadata"]["name"]: one for one in kinds(objects, "Service")}
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = services[backend["name"]]["spec"]["ports"]
            assert backend["port"]["name"] in {port["name"] for port in ports}
            assert any(route.startswith(path["path"]) for route in _gateway_paths()), path["path"]
    (rule,) = kinds(rendering("ingress"), "Ingress")[0]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/webhooks", "/events"]  # all else is open


# --- scaling ---------------------------------------------------------------------------------------------------------


def _scalers(objects: list[Object]) -> Iterator[tuple[Object, str, int, int]]:
    for one in kinds(objects, "HorizontalPodAutoscaler"):
        yield one, one["spec"]["scaleTargetRef"]["name"], one["spec"]["minReplicas"], one["spec"]["maxReplicas"]
    for one in kinds(objects, "ScaledObject"):
        yield one, one["spec"]["scaleTargetRef"]["name"], one["spec"]["minReplicaCount"], one["spec"]["maxReplicaCount"]


def test_scalers_have_their_targets_and_nothing_else_counts_replicas(objects: list[Object]) -> None:
    found = services_of(objects)
    by_name = {one["metadata"]["name"]: name for name, one in found.items()}
    scaled = set()
    for one, target, least, most in _scalers(objects):
        name = by_name[target]
        scaled.add(name)
        assert one["spec"]["scaleTargetRef"]["kind"] == found[name]["kind"]
        assert 1 <= least <= most
        partitions = sum(load_all()[topic].partitions for topic in STAGES[name].consumes)
        assert name == "gateway" or most <= partitions, f"{name}: {most} replicas, {partitions} partitions"
    for name, one in found.items():
        assert ("replicas" in one["spec"]) != (name in scaled)
    if scaled:
        assert scaled == STAGES.keys() - {"replay", "analytics"}


def test_an_external_metric_is_the_lag_of_its_service() -> None:
    for one in kinds(rendering("everything"), "HorizontalPodAutoscaler"):
        name = one["metadata"]["labels"]["app.kubernetes.io/component"]
        external = [metric["external"]["metric"] for metric in one["spec"]["metrics"] if metric["type"] == "External"]
        wanted = [{"name": "headrace_consumer_lag", "selector": {"matchLabels": {"service": name}}}]
        assert external == (wanted if STAGES[name].consumes else [])
    assert _labels_of("headrace_consumer_lag") == {"service", "topic"}


def _labels_of(name: str) -> set[str]:
    (metric,) = [
        one for one in vars(metrics).values() if isinstance(one, prometheus_client.Gauge) and one._name == name
    ]
    return set(metric._labelnames)


def test_keda_asks_prometheus_for_the_lag_of_its_pods() -> None:
    objects = rendering("keda-prometheus")
    for one in kinds(objects, "ScaledObject"):
        name = one["metadata"]["labels"]["app.kubernetes.io/component"]
        queries = [
            trigger["metadata"]["query"] for trigger in one["spec"]["triggers"] if trigger["type"] == "prometheus"
        ]
        target = one["spec"]["scaleTargetRef"]["name"]
        wanted = [f'sum(headrace_consumer_lag{{namespace="mesh",pod=~"{target}-.+"}})'] if STAGES[name].consumes else []
        assert queries == wanted


def test_keda_asks_kafka_for_the_groups_that_there_are() -> None:
    for one in kinds(rendering("keda-kafka"), "ScaledObject"):
        name = one["metadata"]["labels"]["app.kubernetes.io/component"]
        asked = [trigger["metadata"] for trigger in one["spec"]["triggers"] if trigger["type"] == "kafka"]
        assert [trigger["topic"] for trigger in asked] == [f"staging.{topic}" for topic in STAGES[name].consumes]
        assert {trigger["consumerGroup"] for trigger in asked} <= {f"staging.{STAGES[name].group}"}


# --- the hook --------------------------------------------------------------------------------------------------------


def test_prepare_runs_before_everything_and_brings_what_it_needs() -> None:
    objects = rendering("defaults")
    hooks = [one for one in objects if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"pre-install,pre-upgrade"}
    (job,) = kinds(hooks, "Job")
    needed = {("ServiceAccount", pod(job)["spec"]["serviceAccountName"]), ("NetworkPolicy", job["metadata"]["name"])}
    assert {(one["kind"], one["metadata"]["name"]) for one in hooks if one is not job} == needed
    assert "envFrom" not in container(job)  # the ConfigMap comes later
    weight = int(job["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert all(int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) < weight for one in hooks if one is not job)
    assert len(kinds(objects, "Job")) == 1


def test_prepare_is_given_what_services_are_given(objects: list[Object]) -> None:
    for job in kinds(objects, "Job"):
        own, (other, *_) = environment(job, objects), services_of(objects).values()
        settings = kinds(objects, "ConfigMap")[0]["data"]
        given = {name: value for name, value in own.items() if name in settings}
        assert given == settings
        for name in ("DATABASE_URL", "HEADRACE_KAFKA_OPTIONS"):
            assert own.get(name) == environment(other, objects).get(name)
        assert job["spec"]["activeDeadlineSeconds"] < 300  # helm's own patience
