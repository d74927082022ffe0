"""Every pod keeps the Pod Security Standard `restricted`, rule by rule, and no secret is anywhere but in a Secret of somebody else.

The rules are those of the Kubernetes documentation, `baseline` included. Each is also shown a pod that breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.deploy_k8s.charts import (
    CHART,
    RENDERINGS,
    ROOT,
    Object,
    container,
    environment,
    helm,
    kinds,
    module,
    pod,
    rendering,
    services_of,
    walk,
    with_json,
    workloads,
)
from tests.kubejobs.api import RIGHTS

Spec = dict[str, Any]
RESTRICTED_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def _containers(spec: Spec) -> list[Spec]:
    return [one for key in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(key, [])]


def _securities(spec: Spec) -> list[Spec]:
    return [one.get("securityContext", {}) for one in _containers(spec)]


def _everywhere(spec: Spec) -> list[Spec]:
    return [spec.get("securityContext", {}), *_securities(spec)]


def _effective(spec: Spec, key: str) -> list[Any]:
    """What each container has of a field that the pod may set for it."""
    return [one.get(key, spec.get("securityContext", {}).get(key)) for one in _securities(spec)]


RULES: Final[dict[str, Callable[[Spec], bool]]] = {
    "no host process": lambda spec: not any("windowsOptions" in one for one in _everywhere(spec)),
    "no host namespaces": lambda spec: not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
    "no host ports": lambda spec: (
        not any(port.get("hostPort") for one in _containers(spec) for port in one.get("ports", []))
    ),
    "not privileged": lambda spec: not any(one.get("privileged") for one in _securities(spec)),
    "no capabilities": lambda spec: all(
        one.get("capabilities", {}).get("drop") == ["ALL"] and not one["capabilities"].get("add")
        for one in _securities(spec)
    ),
    "volume types": lambda spec: all(one.keys() - {"name"} <= RESTRICTED_VOLUMES for one in spec.get("volumes", [])),
    "no privilege escalation": lambda spec: all(
        one.get("allowPrivilegeEscalation") is False for one in _securities(spec)
    ),
    "not root": lambda spec: all(value is True for value in _effective(spec, "runAsNonRoot")),
    "not user 0": lambda spec: all(one.get("runAsUser") != 0 for one in _everywhere(spec)),
    "seccomp": lambda spec: all(
        (value or {}).get("type") in ("RuntimeDefault", "Localhost") for value in _effective(spec, "seccompProfile")
    ),
    "proc mount": lambda spec: all(one.get("procMount", "Default") == "Default" for one in _securities(spec)),
    "no sysctls": lambda spec: not spec.get("securityContext", {}).get("sysctls"),
    "no SELinux or AppArmor of its own": lambda spec: (
        not any(key in one for one in _everywhere(spec) for key in ("seLinuxOptions", "appArmorProfile"))
    ),
    "probes of itself": lambda spec: (
        not any(
            "host" in one.get(probe, {}).get("httpGet", {})
            for one in _containers(spec)
            for probe in ("livenessProbe", "readinessProbe", "startupProbe")
        )
    ),
    # Beyond the standard:
    "read-only root": lambda spec: all(one.get("readOnlyRootFilesystem") is True for one in _securities(spec)),
    "no token": lambda spec: spec.get("automountServiceAccountToken") is False,
    "no service links": lambda spec: spec.get("enableServiceLinks") is False,
    "memory bounded": lambda spec: all("memory" in one["resources"]["limits"] for one in _containers(spec)),
    "requests": lambda spec: all({"cpu", "memory"} <= one["resources"]["requests"].keys() for one in _containers(spec)),
}


def _container(**security: Any) -> Callable[[Spec], None]:
    return lambda spec: spec["containers"][0]["securityContext"].update(security)


def _pod(**fields: Any) -> Callable[[Spec], None]:
    return lambda spec: spec.update(fields)


def _pod_security(**fields: Any) -> Callable[[Spec], None]:
    return lambda spec: spec["securityContext"].update(fields)


def _sidecar(spec: Spec) -> None:
    spec["initContainers"] = [{"name": "other", "securityContext": {}, "resources": {"limits": {}, "requests": {}}}]


BREACHES: Final[list[tuple[str, Callable[[Spec], None]]]] = [
    ("no host process", _container(windowsOptions={"hostProcess": True})),
    ("no host namespaces", _pod(hostNetwork=True)),
    ("no host ports", lambda spec: spec["containers"][0]["ports"][0].update(hostPort=9100)),
    ("not privileged", _container(privileged=True)),
    ("no capabilities", _container(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    ("no capabilities", _sidecar),
    ("volume types", lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    ("no privilege escalation", _container(allowPrivilegeEscalation=True)),
    ("not root", _container(runAsNonRoot=False)),
    ("not user 0", _pod_security(runAsUser=0)),
    ("seccomp", _pod_security(seccompProfile={"type": "Unconfined"})),
    ("seccomp", lambda spec: spec["securityContext"].pop("seccompProfile")),
    ("proc mount", _container(procMount="Unmasked")),
    ("no sysctls", _pod_security(sysctls=[{"name": "net.core.somaxconn", "value": "1"}])),
    ("no SELinux or AppArmor of its own", _container(appArmorProfile={"type": "Unconfined"})),
    ("probes of itself", lambda spec: spec["containers"][0]["livenessProbe"]["httpGet"].update(host="10.0.0.1")),
    ("read-only root", _container(readOnlyRootFilesystem=False)),
    ("no token", _pod(automountServiceAccountToken=True)),
    ("no service links", lambda spec: spec.pop("enableServiceLinks")),
    ("memory bounded", lambda spec: spec["containers"][0]["resources"]["limits"].clear()),
    ("requests", _sidecar),
]


@pytest.mark.parametrize("rule", RULES)
def test_every_pod_is_restricted(objects: list[Object], rule: str) -> None:
    pods = [pod(one)["spec"] for one in workloads(objects)]
    assert len(pods) >= 5
    for spec in pods:
        assert RULES[rule](spec), (spec["containers"][0]["name"], rule)


@pytest.mark.parametrize(("rule", "breach"), BREACHES, ids=[rule for rule, _ in BREACHES])
def test_a_breach_is_seen(rule: str, breach: Callable[[Spec], object]) -> None:
    from copy import deepcopy

    spec = deepcopy(pod(services_of(rendering("k8s"))["gateway"])["spec"])
    assert RULES[rule](spec)
    breach(spec)
    assert not RULES[rule](spec)


def test_every_rule_is_shown_a_breach() -> None:
    assert {rule for rule, _ in BREACHES} == RULES.keys()


def test_no_service_account_mounts_a_token(objects: list[Object]) -> None:
    assert all(one["automountServiceAccountToken"] is False for one in kinds(objects, "ServiceAccount"))


def _rights(objects: list[Object]) -> dict[str, set[str]]:
    """What each service may ask of the API server, in the namespace of Jobs alone."""
    roles = {one["metadata"]["name"]: one for one in kinds(objects, "Role")}
    found: dict[str, set[str]] = {}
    for binding in kinds(objects, "RoleBinding"):
        (subject,) = binding["subjects"]
        role = roles[binding["roleRef"]["name"]]
        assert (subject["namespace"], binding["metadata"]["namespace"], role["metadata"]["namespace"]) == (
            "mesh",
            "agents",
            "agents",
        )
        for name, one in services_of(objects).items():
            if pod(one)["spec"]["serviceAccountName"] == subject["name"]:
                rules = role["rules"]
                found[name] = {
                    f"{verb} {kind}" for rule in rules for kind in rule["resources"] for verb in rule["verbs"]
                }
    return found


def test_rights_and_tokens_are_for_jobs_and_off_by_default() -> None:
    for name in RENDERINGS:
        objects = rendering(name)
        volumes = {service: pod(one)["spec"]["volumes"] for service, one in services_of(objects).items()}
        tokens = {service for service, some in volumes.items() if "serviceAccountToken" in str(some)}
        if name == "everything":
            assert _rights(objects) == RIGHTS
            assert tokens == RIGHTS.keys()
        else:
            assert not [one for one in objects if "rbac" in one["apiVersion"]]
            assert tokens == set()


def test_the_user_is_the_image_s() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    security = pod(services_of(rendering("k8s"))["gateway"])["spec"]["securityContext"]
    assert (str(security["runAsUser"]), str(security["runAsGroup"])) == user


# --- secrets ---------------------------------------------------------------------------------------------------------


def _secret_names() -> set[str]:
    return set(module("render").variables()[1])


def test_no_secret_is_made_and_none_is_written_out(objects: list[Object]) -> None:
    assert not kinds(objects, "Secret")
    secret = _secret_names()
    assert {
        "DATABASE_URL",
        "HEADRACE_AUTH_SECRET",
        "HEADRACE_EVENTS_TOKEN",
        "ANTHROPIC_API_KEY",
        "HEADRACE_KAFKA_OPTIONS",
    } <= secret
    for one in workloads(objects):
        for name, value in environment(one, objects).items():
            if name in secret or name.startswith("HEADRACE_WEBHOOK_SECRET_") or name.endswith("_HEADERS"):
                assert value["secretKeyRef"].keys() <= {"name", "key", "optional"}, name
            else:
                assert isinstance(value, str) or set(value) == {"fieldRef"}, name
    for path, value in (pair for one in objects for pair in walk(one)):
        assert not re.search(r"//[^/\s]*:[^/\s]*@", str(value)), path


def test_a_secret_goes_only_to_who_needs_it() -> None:
    objects = rendering("k8s")
    holders: dict[str, set[str]] = {}
    for one in workloads(objects):
        for name, value in environment(one, objects).items():
            if isinstance(value, dict) and "secretKeyRef" in value:
                holders.setdefault(name, set()).add(container(one)["name"])
    assert holders.pop("DATABASE_URL") == {*services_of(objects), "prepare"}
    assert holders == {
        "HEADRACE_AUTH_SECRET": {"gateway"},
        "HEADRACE_EVENTS_TOKEN": {"gateway"},
        "HEADRACE_WEBHOOK_SECRET_GITHUB": {"gateway"},
        "ANTHROPIC_API_KEY": {"reasoning", "replay"},
        "OPENAI_API_KEY": {"reasoning", "replay"},
    }


def test_the_gateway_does_not_start_without_the_secret_of_its_credentials() -> None:
    secret = environment(services_of(rendering("k8s"))["gateway"], rendering("k8s"))["HEADRACE_AUTH_SECRET"]
    assert "optional" not in secret["secretKeyRef"]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"settings": {"DATABASE_URL": "postgresql://u:p@db/x"}}, "DATABASE_URL"),
        ({"settings": {"HEADRACE_KAFKA_OPTIONS": "{}"}}, "HEADRACE_KAFKA_OPTIONS"),
        ({"settings": {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=x"}}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"services__gateway__settings": {"HEADRACE_EVENTS_TOKEN": "x"}}, "HEADRACE_EVENTS_TOKEN"),
        ({"services__reasoning__settings": {"ANTHROPIC_API_KEY": "x"}}, "ANTHROPIC_API_KEY"),
        ({"secretEnv": {"DATABASE_URL": "postgresql://u:p@db/x"}}, "DATABASE_URL"),
        ({"secretEnv": {"DATABASE_URL": {"value": "postgresql://u:p@db/x"}}}, "value"),
        ({"schemaRegistry__url": "https://user:password@registry"}, "schemaRegistry"),
    ],
)
def test_a_secret_as_a_value_is_refused(value: dict[str, Any], named: str) -> None:
    with pytest.raises(module("helm").Refused, match="don't meet the specifications of the schema") as refused:
        helm("template", "demo", str(CHART), "--kube-version", "1.37.0", *with_json(**value))
    assert named in str(refused.value)
