"""Every object is one that Kubernetes knows, field by field, in three of its versions."""

from __future__ import annotations

from copy import deepcopy

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from tests.deploy_k8s.charts import (
    CHART,
    KUBERNETES,
    RENDERINGS,
    SETS,
    Object,
    custom,
    helm,
    kinds,
    label,
    parse,
    rendering,
    values_of,
)
from tests.deploy_k8s.custom_resources import MODELS


@pytest.mark.parametrize("name", SETS)
def test_helm_lints_without_a_warning(name: str) -> None:
    said = helm("lint", "--strict", "--kube-version", KUBERNETES[-1], str(CHART), *values_of(name))
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", RENDERINGS)
def test_every_object_is_valid(name: str, version: str) -> None:
    checked = 0
    for one in rendering(name):
        if custom(one):
            MODELS[one["kind"]].model_validate(one)
        else:
            assert kubernetes_validate.validate(one, version, strict=True) == version.rsplit(".", 1)[0], label(one)
        checked += 1
    assert checked >= 7


def test_the_renderings_have_every_kind_that_the_chart_can_write() -> None:
    found = {one["kind"] for name in RENDERINGS for one in rendering(name)}
    assert found == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Role",
        "RoleBinding",
        "ScaledObject",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    }


def test_the_check_refuses_a_misspelt_field() -> None:
    (one,) = [item for item in kinds(rendering("k8s"), "Deployment") if item["metadata"]["name"] == "headrace-tools"]
    broken = deepcopy(one)
    security = broken["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    security["readOnlyRootFileSystem"] = security.pop("readOnlyRootFilesystem")
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        kubernetes_validate.validate(broken, KUBERNETES[0], strict=True)


def test_the_models_of_custom_resources_refuse_a_misspelt_field() -> None:
    for set_name, kind, spec in (
        ("keda-prometheus", "ScaledObject", {"minReplicas": 1}),
        ("keda-prometheus", "PodMonitor", {"endpoints": []}),
        ("everything", "ServiceMonitor", {"podMetricsEndpoints": []}),
    ):
        broken = deepcopy(kinds(rendering(set_name), kind)[0])
        broken["spec"] |= spec
        with pytest.raises(ValidationError, match=next(iter(spec))):
            MODELS[kind].model_validate(broken)


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(yaml.constructor.ConstructorError, match="twice"):
        parse("a: 1\nb: 2\na: 3\n")


def test_no_two_objects_have_one_name(objects: list[Object]) -> None:
    names = [(one["apiVersion"], label(one)) for one in objects]
    assert len(names) == len(set(names))
