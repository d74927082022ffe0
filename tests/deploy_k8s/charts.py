"""Renderings of the chart: what there is to look at, and small ways to look at it.

``k8s`` are the committed manifests (no helm needed); ``defaults`` is the chart with its own values; every file of the chart's
``ci/`` is one more set of values. Where there is no helm, all but ``k8s`` skip and say so.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "headrace"
MANIFESTS: Final = ROOT / "deploy" / "k8s"
KUBERNETES: Final = ("1.31.0", "1.34.0", "1.37.0")

Object = dict[str, Any]
SETS: Final = ("defaults", *sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*.yaml")))
RENDERINGS: Final = ("k8s", *SETS)
CUSTOM_GROUPS: Final = ("keda.sh", "monitoring.coreos.com")


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML readers keep one of them and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def parse(text: str) -> list[Object]:
    return [document for document in yaml.load_all(text, StrictLoader) if document]


@cache
def module(name: str) -> ModuleType:
    """``deploy/<name>.py`` or, for ``docs_generate``, the generator of the configuration page."""
    path = ROOT / "docs" / "generate.py" if name == "docs_generate" else ROOT / "deploy" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"for_deploy_k8s_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def helm(*arguments: str) -> str:
    """What helm says. Skips without helm; raises its ``Refused``."""
    tool = module("helm")
    try:
        binary = tool.find()
    except tool.NoHelm as reason:
        pytest.skip(str(reason))
    text: str = tool.run(binary, *arguments)
    return text


def values_of(name: str) -> list[str]:
    """The arguments of a set of values."""
    return [] if name == "defaults" else ["--values", str(CHART / "ci" / f"{name}-values.yaml")]


def template(*arguments: str, release: str = "demo", kubernetes: str = KUBERNETES[-1]) -> list[Object]:
    base = ("template", release, str(CHART), "--namespace", "mesh", "--kube-version", kubernetes)
    return parse(helm(*base, *arguments))


def with_json(**values: Any) -> list[str]:
    """``--set-json`` arguments; ``__`` in a name stands for a dot."""
    return [
        part
        for key, value in values.items()
        for part in ("--set-json", f"{key.replace('__', '.')}={json.dumps(value)}")
    ]


@cache
def rendering(name: str) -> list[Object]:
    """The objects of one of ``RENDERINGS``. Don't change them."""
    if name != "k8s":
        return template(*values_of(name))
    files = sorted(path for path in MANIFESTS.glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in parse(path.read_text(encoding="utf-8"))]


def kinds(objects: list[Object], *names: str) -> list[Object]:
    return [one for one in objects if one["kind"] in names]


def workloads(objects: list[Object]) -> list[Object]:
    """Whatever starts pods."""
    return kinds(objects, "Deployment", "StatefulSet", "Job")


def services_of(objects: list[Object]) -> dict[str, Object]:
    """Deployments or StatefulSets by the service that they run."""
    found = kinds(objects, "Deployment", "StatefulSet")
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in found}


def pod(workload: Object) -> Object:
    template: Object = workload["spec"]["template"]
    return template


def container(workload: Object) -> Object:
    (only,) = pod(workload)["spec"]["containers"]
    found: Object = only
    return found


def environment(workload: Object, objects: list[Object]) -> dict[str, Any]:
    """Variables of a workload's container: text, or the ``valueFrom`` that it is taken from."""
    one = container(workload)
    found: dict[str, Any] = {}
    for source in one.get("envFrom", []):
        (settings,) = [
            item for item in kinds(objects, "ConfigMap") if item["metadata"]["name"] == source["configMapRef"]["name"]
        ]
        found |= settings["data"]
    return found | {item["name"]: item.get("value", item.get("valueFrom")) for item in one["env"]}


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def label(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def custom(one: Object) -> bool:
    return str(one["apiVersion"]).split("/")[0] in CUSTOM_GROUPS


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every ``(path, scalar)`` below a value."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, f"{path}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from walk(below, f"{path}[{index}]")
    else:
        yield path, value
