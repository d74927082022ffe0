"""Writes what is derived from the code and from the chart: ``python deploy/render.py``.

- ``helm/headrace/files/flow.yaml``: group and topics of each service, from ``pipeline.py``; what lag is scaled on.
- the names in ``helm/headrace/values.schema.json``: which variables are settings and which are secrets, from the settings classes.
- ``k8s/``: the chart with its own values, as plain manifests, one file a service (needs helm, see ``helm.py``).

``tests/deploy_k8s`` holds all three equal to what this would write.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import yaml

from headrace.pipeline import PIPELINE

HERE: Final = Path(__file__).resolve().parent
CHART: Final = HERE / "helm" / "headrace"
FLOW: Final = CHART / "files" / "flow.yaml"
SCHEMA: Final = CHART / "values.schema.json"
MANIFESTS: Final = HERE / "k8s"

KUBERNETES: Final = "1.37.0"
HEAD: Final = "# Written by deploy/render.py from the chart deploy/helm/headrace: change that, then run it again.\n"
FLOW_HEAD: Final = "# Written by deploy/render.py from services/headrace/pipeline.py.\n"

SET_BY_THE_CHART: Final = frozenset(
    {
        "HEADRACE_BLOB_DIR",
        "HEADRACE_BLOB_STORE",
        "HEADRACE_DRAIN_SECONDS",
        "HEADRACE_GATEWAY_HOST",
        "HEADRACE_GATEWAY_PORT",
        "HEADRACE_GROUP_PROTOCOL",
        "HEADRACE_INSTANCE",
        "HEADRACE_OPS_HOST",
        "HEADRACE_OPS_PORT",
        "HEADRACE_SOURCES_DIR",
        "KAFKA_BOOTSTRAP_SERVERS",
        "SCHEMA_REGISTRY_URL",
    }
)
MAY_HOLD_SECRETS: Final = frozenset({"HEADRACE_KAFKA_OPTIONS", "HEADRACE_AUTH_PROFILES"})  # sasl.password, credentials
HOOK: Final = "helm.sh/hook"


def variables() -> tuple[list[str], list[str]]:
    """``(settings, secrets)``: what an installation may set, by the names of environment variables, in order."""
    generator = _module("docs_generate", HERE.parent / "docs" / "generate.py")
    secret: dict[str, bool] = {}
    for _, _, settings in generator.SECTIONS:
        for name, field in settings.model_fields.items():
            variable = generator.variable(settings, name, field)
            secret[variable] = "SecretStr" in str(field.annotation) or variable in MAY_HOLD_SECRETS
    free = sorted(name for name, is_secret in secret.items() if not is_secret and name not in SET_BY_THE_CHART)
    return free, sorted(name for name, is_secret in secret.items() if is_secret)


def schema() -> str:
    """``values.schema.json`` with the names of today."""
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    settings, secrets = variables()
    document["$defs"]["settingName"]["anyOf"][0]["enum"] = settings
    document["$defs"]["secretName"]["anyOf"][0]["enum"] = secrets
    services = document["$defs"]["services"]
    services["required"] = [stage.service for stage in PIPELINE]
    services["properties"] = {stage.service: {"$ref": "#/$defs/service"} for stage in PIPELINE}
    return json.dumps(document, indent=2) + "\n"


def flow() -> str:
    """``files/flow.yaml``."""
    rows = {stage.service: {"group": stage.group, "topics": list(stage.consumes)} for stage in PIPELINE}
    return FLOW_HEAD + yaml.safe_dump(rows, sort_keys=False)


def manifests(rendered: str) -> dict[str, str]:
    """``k8s/`` as ``{file name: text}`` from what ``helm template`` gave."""
    files: dict[str, list[dict[str, Any]]] = {}
    for document in yaml.safe_load_all(rendered):
        if document:
            files.setdefault(_file_of(document), []).append(_plain(document))
    names = sorted(name for name in files if name != "prepare.yaml")
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": names}
    texts = {name: yaml.safe_dump_all(documents, sort_keys=False, width=120) for name, documents in files.items()}
    texts["kustomization.yaml"] = yaml.safe_dump(kustomization, sort_keys=False)
    return {name: HEAD + text for name, text in texts.items()}


def template(*arguments: str) -> str:
    """What ``helm template`` gives for the chart, in the namespace that the manifests are written for."""
    helm = _module("deploy_helm", HERE / "helm.py")
    text: str = helm.run(
        helm.find(),
        "template",
        "headrace",
        str(CHART),
        "--namespace",
        "headrace",
        "--kube-version",
        KUBERNETES,
        *arguments,
    )
    return text


def _file_of(document: dict[str, Any]) -> str:
    component = document["metadata"]["labels"].get("app.kubernetes.io/component", "shared")
    return f"{component}.yaml"


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Without what only helm understands, and without a namespace: ``kubectl -n`` says it."""
    metadata = document["metadata"]
    metadata.pop("namespace", None)
    annotations = {key: value for key, value in metadata.pop("annotations", {}).items() if not key.startswith(HOOK)}
    if annotations:
        metadata["annotations"] = annotations
    for labels in _labels(document):
        labels.pop("helm.sh/chart", None)
        labels.pop("app.kubernetes.io/managed-by", None)
    return document


def _labels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield document["metadata"]["labels"]
    pod = document.get("spec", {}).get("template")
    if pod:
        yield pod["metadata"]["labels"]


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    FLOW.write_text(flow(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
    MANIFESTS.mkdir(exist_ok=True)
    texts = manifests(template())
    for stale in {path.name for path in MANIFESTS.glob("*.yaml")} - texts.keys():
        (MANIFESTS / stale).unlink()
    for name, text in texts.items():
        (MANIFESTS / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{FLOW}\n{SCHEMA}\n{MANIFESTS}: {', '.join(sorted(texts))}\n")


if __name__ == "__main__":
    main()
