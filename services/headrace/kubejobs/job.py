"""From a call's arguments to a Kubernetes Job, or to why not. Pure.

A model chooses the type, the inputs and, for ``custom_container``, one of the operator's images; it may ask for less time, CPU
and memory than there is at most. All else is fixed: no privilege, no host, no mounts but an empty ``/tmp``, no service-account
token, no second try, and an end.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.kubejobs.images import allowed
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError

CONTAINER: Final = "agent"
JOB_LABEL: Final = "headrace.dev/job"
INPUTS: Final = "AGENT_INPUTS"
_MAX_CODE: Final = 50_000  # characters
_LABEL: Final = re.compile(r"[^A-Za-z0-9._-]+")


class JobRefused(HeadraceError):
    """A Job that is not built; the text is for the model."""


class Caller(NamedTuple):
    """Whose call it is. The same ``idempotency_key`` is the same Job."""

    tenant: str
    run_id: str
    agent: str
    idempotency_key: str
    remaining_s: float


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Config(_Strict):
    """What a model may ask for within the operator's bounds."""

    timeout_s: int | None = Field(default=None, ge=1)
    cpu_millis: int | None = Field(default=None, ge=10)
    memory_mb: int | None = Field(default=None, ge=16)


class Delegation(_Strict):
    """The arguments of ``delegate_to_agent`` for these types."""

    agent_type: Literal["code_interpreter", "custom_container", "langchain_agent"]
    inputs: dict[str, Any]
    container_image: str | None = None
    config: Config = Config()


class _Code(BaseModel):
    code: str = Field(min_length=1, max_length=_MAX_CODE)


def delegation(arguments: JsonObject) -> Delegation:
    """Raises ``JobRefused`` that names the place."""
    try:
        made = Delegation.model_validate(arguments)
        if made.agent_type == "code_interpreter":
            _Code.model_validate(made.inputs)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise JobRefused(f"/{'/'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    return made


def job(asked: Delegation, caller: Caller, settings: KubeSettings) -> JsonObject:
    """The Job, as the API server takes it. Raises ``JobRefused``."""
    name = job_name(caller)
    labels = {
        "app.kubernetes.io/managed-by": "headrace",
        "headrace.dev/agent-type": asked.agent_type,
        "headrace.dev/tenant": _label(caller.tenant),
        JOB_LABEL: name,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": settings.namespace,
            "labels": labels,
            "annotations": {"headrace.dev/run-id": caller.run_id, "headrace.dev/agent": caller.agent},
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": seconds(asked, caller, settings),
            "ttlSecondsAfterFinished": settings.keep_seconds,
            "template": {"metadata": {"labels": labels}, "spec": _pod(asked, settings)},
        },
    }


def job_name(caller: Caller) -> str:
    """Of the call: delivered again, it finds its own Job. Never change the format."""
    key = f"{caller.tenant}\n{caller.run_id}\n{caller.idempotency_key}"
    return f"headrace-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def seconds(asked: Delegation, caller: Caller, settings: KubeSettings) -> int:
    """The Job's life: what was asked for, what the operator allows and what the run has left, whichever is least."""
    return max(1, int(min(asked.config.timeout_s or settings.max_seconds, settings.max_seconds, caller.remaining_s)))


def _pod(asked: Delegation, settings: KubeSettings) -> JsonObject:
    pod: JsonObject = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "fsGroup": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(asked, settings)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": f"{settings.max_disk_mb}Mi"}}],
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if settings.runtime_class:
        pod["runtimeClassName"] = settings.runtime_class
    return pod


def _container(asked: Delegation, settings: KubeSettings) -> JsonObject:
    return {
        "name": CONTAINER,
        "image": _image(asked, settings),
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": INPUTS, "value": _inputs(asked, settings)}],
        "resources": _resources(asked.config, settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  the container's own, empty and bounded
    }


def _image(asked: Delegation, settings: KubeSettings) -> str:
    if asked.agent_type == "custom_container":
        if asked.container_image is None:
            raise JobRefused("custom_container needs a container_image")
        if not allowed(asked.container_image, settings.images):
            offered = ", ".join(settings.images) or "none"
            raise JobRefused(f"this container_image is not allowed; allowed: {offered}")
        return asked.container_image
    if asked.container_image is not None:
        raise JobRefused("container_image is for custom_container")
    code = asked.agent_type == "code_interpreter"
    image = settings.code_interpreter_image if code else settings.langchain_agent_image
    if image is None:
        raise JobRefused(f"{asked.agent_type} is not set up here: the operator has named no image for it")
    return image


def _inputs(asked: Delegation, settings: KubeSettings) -> str:
    try:
        data = orjson.dumps(asked.inputs)
    except TypeError:
        raise JobRefused("/inputs: not JSON") from None
    if len(data) > settings.max_input_bytes:
        raise JobRefused(f"/inputs: {len(data)} bytes are more than {settings.max_input_bytes}")
    return data.decode().replace("$", "\\u0024")  # $(NAME) in a value would be read as a variable of the container


def _resources(config: Config, settings: KubeSettings) -> JsonObject:
    cpu = min(config.cpu_millis or settings.max_cpu_millis, settings.max_cpu_millis)
    memory = min(config.memory_mb or settings.max_memory_mb, settings.max_memory_mb)
    least = {"cpu": f"{min(cpu, 100)}m", "memory": f"{memory}Mi"}
    return {
        "requests": least,
        "limits": {"cpu": f"{cpu}m", "memory": f"{memory}Mi", "ephemeral-storage": f"{settings.max_disk_mb}Mi"},
    }


def _label(text: str) -> str:
    """``text`` as a label's value: its characters that may be there, of the length that it may have."""
    return _LABEL.sub("-", text)[:63].strip("._-")
