"""What a delegation becomes: a Job that Kubernetes' own schema takes, that may do little, or a refusal."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.kubejobs.delegated import result_of, submitted
from headrace.kubejobs.images import allowed, is_image
from headrace.kubejobs.job import Caller, JobRefused, delegation, job, job_name
from headrace.kubejobs.settings import KubeSettings

CALLER = Caller(tenant="acme", run_id="run-1", agent="triager", idempotency_key="key-1", remaining_s=120.9)
DIGEST = "@sha256:" + "a" * 64
CODE = {"agent_type": "code_interpreter", "inputs": {"code": "print(1)"}}
CUSTOM = {"agent_type": "custom_container", "inputs": {}, "container_image": "registry.example.org/agents/scan:2"}


def made(**changes: Any) -> KubeSettings:
    base: dict[str, Any] = {
        "code_interpreter_image": f"registry.example.org/agents/python{DIGEST}",
        "langchain_agent_image": "registry.example.org/agents/langchain:1",
        "images": ["registry.example.org/agents/scan:*", f"ghcr.io/acme/one{DIGEST}"],
    }
    return KubeSettings(_env_file=None, **(base | changes))  # type: ignore[call-arg]


def built(arguments: dict[str, Any], caller: Caller = CALLER, **changes: Any) -> dict[str, Any]:
    return job(delegation(arguments), caller, made(**changes))


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (CODE, {}),
        (CUSTOM, {"service_account": "agents", "runtime_class": "gvisor"}),
        ({"agent_type": "langchain_agent", "inputs": {"task": "x"}, "config": {"timeout_s": 9, "cpu_millis": 50}}, {}),
    ],
)
def test_kubernetes_takes_the_job(arguments: dict[str, Any], changes: dict[str, Any]) -> None:
    spec = built(arguments, **changes)
    for version in ("1.30", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(spec, version, strict=True)


def test_the_job_may_do_little() -> None:
    """The restricted profile of Pod Security Standards, and what goes beyond it."""
    spec = built(CUSTOM)["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert (pod["hostNetwork"], pod["hostPID"], pod["hostIPC"], pod["automountServiceAccountToken"]) == (False,) * 4
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["seccompProfile"]) == (
        True,
        {"type": "RuntimeDefault"},
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 120, 3_600)
    assert [variable["name"] for variable in container["env"]] == ["AGENT_INPUTS"]


def test_what_is_asked_for_stays_within_the_bounds() -> None:
    greedy = {"timeout_s": 9_999, "cpu_millis": 64_000, "memory_mb": 900_000}
    spec = built(CODE | {"config": greedy}, CALLER._replace(remaining_s=9_999.0))["spec"]
    assert spec["activeDeadlineSeconds"] == 300
    limits = spec["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (limits["cpu"], limits["memory"]) == ("1000m", "512Mi")
    small = built(CODE | {"config": {"timeout_s": 5, "cpu_millis": 20, "memory_mb": 32}})["spec"]
    limits = small["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (small["activeDeadlineSeconds"], limits["cpu"], limits["memory"]) == (5, "20m", "32Mi")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"agent_type": "root_shell", "inputs": {}}, "/agent_type"),
        ({"agent_type": "code_interpreter", "inputs": {}}, "/code"),
        (CODE | {"container_image": "evil:1"}, "container_image is for custom_container"),
        (CUSTOM | {"container_image": "evil.example.org/x:1"}, "not allowed; allowed: registry.example.org"),
        (CUSTOM | {"container_image": None}, "needs a container_image"),
        (CUSTOM | {"config": {"privileged": True}}, "/config/privileged"),
        (CUSTOM | {"config": {"timeout_s": 0}}, "/config/timeout_s"),
        (CUSTOM | {"config": {"timeout_s": "5"}}, "/config/timeout_s"),
        (CUSTOM | {"command": ["sh"]}, "/command"),
        (CUSTOM | {"inputs": {"x": "y" * 70_000}}, "more than 64000"),
        (CUSTOM | {"inputs": []}, "/inputs"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(JobRefused, match=said):
        built(arguments)


def test_a_type_that_is_not_set_up() -> None:
    with pytest.raises(JobRefused, match="code_interpreter is not set up here: the operator has named no image"):
        built(CODE, code_interpreter_image=None)


@pytest.mark.parametrize(
    ("image", "ok"),
    [
        ("registry.example.org/agents/scan:2", True),
        ("registry.example.org/agents/scan:latest", True),
        (f"ghcr.io/acme/one{DIGEST}", True),
        ("registry.example.org/agents/scan", False),  # no tag is another image every day
        ("registry.example.org/agents/scan/more:2", False),
        ("registry.example.org/agents/scan2:2", False),
        (f"registry.example.org/agents/scan:2{DIGEST}", False),
        ("registry.example.org.evil.net/agents/scan:2", False),
        ("registry.example.org/agents/scan:2 ", False),
        ("registry.example.org/agents/scan:2\nx", False),
        ("registry.example.org/agents/scan:*", False),
        ("ghcr.io/acme/one:1", False),
    ],
)
def test_images(image: str, ok: bool) -> None:
    assert allowed(image, made().images) is ok


def test_an_allow_list_that_is_too_wide_is_none() -> None:
    for pattern in ("*", "registry.example.org/*", "registry.example.org/a*:1", ""):
        with pytest.raises(ValidationError, match="not an image"):
            made(images=[pattern])
    assert is_image("localhost:5000/a/b:1")


@examples(max_examples=40)
@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=4), st.text(max_size=40))
def test_any_input_arrives_as_it_is(inputs: dict[str, str], tenant: str) -> None:
    """Also where it looks like a variable of the container, which the kubelet would put in its place."""
    caller = CALLER._replace(tenant=tenant)
    try:
        spec = job(delegation(CODE | {"inputs": inputs | {"code": "$(PATH) $HOME"}}), caller, made())
    except JobRefused:
        return
    value = spec["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]
    assert "$" not in value
    assert orjson.loads(value) == inputs | {"code": "$(PATH) $HOME"}
    kubernetes_validate.validate(spec, kubernetes_validate.latest_version(), strict=True)


def test_a_call_has_one_job() -> None:
    assert job_name(CALLER) == job_name(CALLER._replace(remaining_s=3.0))
    others = [CALLER._replace(idempotency_key="key-2"), CALLER._replace(tenant="b"), CALLER._replace(run_id="r")]
    assert len({job_name(one) for one in [CALLER, *others]}) == 4


async def test_without_a_cluster_the_job_is_built() -> None:
    job = await submitted(CODE, CALLER, made(), None)
    assert (job.name, job.seconds, job.spec) == (job_name(CALLER), 120, built(CODE))


@pytest.mark.parametrize(
    ("output", "result"),
    [('log\n{"a": 1}\n', {"a": 1}), ("just text\n", "just text"), ("", ""), ('{"a": 1}\nafter\n', '{"a": 1}\nafter')],
)
def test_results(output: str, result: Any) -> None:
    assert result_of(output) == result
