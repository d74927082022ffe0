"""Writes docs/configuration.md from the settings classes, the picture of the flow in docs/concepts.md from the pipeline, and the
table of senders in docs/webhooks.md from the source files: ``python docs/generate.py``.

Names, defaults and bounds come from the fields; the meaning is a field's description, or one of ``MEANINGS`` where the name says
nearly all. ``tests/docs`` holds the file true.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from headrace.analytics.settings import AnalyticsSettings
from headrace.audit.settings import AuditSettings
from headrace.auth.settings import AuthSettings
from headrace.auth_profiles import AuthProfiles
from headrace.egress.policy import EgressSettings
from headrace.gateway.settings import GatewaySettings
from headrace.gateway.sources.build import variables
from headrace.gateway.sources.load import load_configs
from headrace.ingest.settings import IngestSettings
from headrace.kubejobs.settings import KubeSettings
from headrace.models.settings import ModelSettings
from headrace.orchestration.settings import OrchestrationSettings
from headrace.persistence.settings import PersistenceSettings
from headrace.pipeline import PIPELINE
from headrace.reasoning.settings import ReasoningSettings
from headrace.replay.settings import ReplaySettings
from headrace.settings import MeshSettings
from headrace.tools.settings import ToolsSettings
from headrace.tools.workflow.settings import OrchestratorSettings
from headrace.toolspecs.callback_tools import CallbackToolSettings
from headrace.toolspecs.pinned import McpSettings

FILE: Final = Path(__file__).parent / "configuration.md"
CONCEPTS: Final = Path(__file__).parent / "concepts.md"
WEBHOOKS: Final = Path(__file__).parent / "webhooks.md"

SECTIONS: Final[tuple[tuple[str, str, type[BaseSettings]], ...]] = (
    ("Every service", "Where the servers are, and who this process is.", MeshSettings),
    ("Gateway", "How it listens, what it bounds, who may write to it.", GatewaySettings),
    ("Authentication", "Read by the gateway and by `headrace auth`; see [security](security.md).", AuthSettings),
    ("Ingest", "", IngestSettings),
    ("Models", "Read by reasoning. An empty variable counts as unset.", ModelSettings),
    ("Reasoning", "", ReasoningSettings),
    ("Tools", "", ToolsSettings),
    (
        "The orchestrator, as tools reach it",
        "For the tool `patch_workflow`; see [workflows](workflows.md).",
        OrchestratorSettings,
    ),
    ("Credentials for tools", "A model names a profile and never sees what is in it.", AuthProfiles),
    ("MCP servers", "Whose tools agents use; see [outside](outside.md).", McpSettings),
    (
        "Callback tools",
        "Services that report what came of a call; see [outside](outside.md#callback-tools).",
        CallbackToolSettings,
    ),
    ("Kubernetes Jobs", "For agents that run there; see [outside](outside.md).", KubeSettings),
    ("Outgoing HTTP of tools", "Lists are JSON or comma-separated.", EgressSettings),
    ("Orchestration", "", OrchestrationSettings),
    ("Persistence", "", PersistenceSettings),
    ("Replay", "Of the service; see [replay](replay.md#as-jobs).", ReplaySettings),
    ("Audit", "", AuditSettings),
    ("Analytics", "", AnalyticsSettings),
)

MEANINGS: Final[dict[str, str]] = {
    "KAFKA_BOOTSTRAP_SERVERS": "Brokers, host:port, comma-separated",
    "SCHEMA_REGISTRY_URL": "Base URL of a Confluent-compatible registry (Apicurio: with `/apis/ccompat/v7`)",
    "DATABASE_URL": "Postgres",
    "HEADRACE_BLOB_STORE": "Where content past the bounds lives",
    "HEADRACE_BLOB_DIR": "Directory of the blob store `directory`; shared by all services",
    "HEADRACE_OPS_HOST": "Address of the operations endpoint",
    "HEADRACE_LOG_LEVEL": "Least level that is logged",
    "ANTHROPIC_API_KEY": "Key; the first that is set decides what `default` means",
    "OPENAI_API_KEY": "Key; counts after Anthropic's",
    "ANTHROPIC_BASE_URL": "Another server that speaks the Messages API",
    "HEADRACE_TOOLS_PIPELINE_TIMEOUT_S": "Seconds of one `execute_pipeline` call",
    "HEADRACE_TOOLS_PIPELINE_MAX_ROWS": "Rows that a pipeline may hold",
    "HEADRACE_TOOLS_PIPELINE_MAX_RESULT_BYTES": "JSON that a pipeline may give, in bytes",
    "HEADRACE_TOOLS_PIPELINE_CACHE_TTL_S": "Seconds that a pipeline's result is given again, at most",
    "HEADRACE_TOOLS_OPENAPI_TIMEOUT_S": "Seconds of one `openapi_action` call",
    "HEADRACE_EGRESS_TIMEOUT_S": "Seconds of one request, redirects included",
    "HEADRACE_EGRESS_MAX_BODY_BYTES": "Bytes of one answer, after decompression",
    "HEADRACE_EGRESS_MAX_REDIRECTS": "Redirects that are followed; each is checked like the first request",
}

HEAD: Final = """\
<!-- Written by docs/generate.py from the settings classes: change those, then run it again. -->
# Configuration

Settings are environment variables, read once when a process starts; a `.env` file in its working directory is read too, and the
environment goes before it. Secrets print as asterisks. `headrace up` sets what its services need and passes the environment on.

## A file

`HEADRACE_CONFIG=config.yaml` names a YAML file that comes below both ([example](examples/config.yaml)). `${NAME}` in it is replaced
from the environment alone, and is an error where that is not set; so is a key that is none of these. The commands find a mesh by
the environment, not by this file.

| key | is |
|---|---|
| `service.port`, `service.workers` | `HEADRACE_GATEWAY_PORT`, `HEADRACE_REASONING_MAX_IN_FLIGHT` |
| `database.host`, `port`, `dbname`, `user`, `password` | `DATABASE_URL` |
| `llm.provider`, `llm.model` | `HEADRACE_MODEL` |
| `llm.temperature` | `HEADRACE_MODEL_TEMPERATURE` |
| `llm.max_tokens` | `HEADRACE_MODEL_MAX_OUTPUT_TOKENS` |
| `llm.timeout_sec` | `HEADRACE_REASONING_MODEL_TIMEOUT_S` |
| `orchestrator.api_url` | `HEADRACE_ORCHESTRATOR_API_URL` |
| `storage.max_inline_bytes` | `HEADRACE_PERSISTENCE_INLINE_RESULT_BYTES` |
| `storage.cas_enabled`, `storage.s3_enabled` | only `true` and `false`: there is one [blob store](design.md#who-keeps-what) |
| `auth_profiles` | `HEADRACE_AUTH_PROFILES` |
| `service.name`, `redis.*` | nothing: accepted, and named in the log when a service starts |
"""

TAIL: Final = """
## Outside these classes

| variable | read by | meaning |
|---|---|---|
| `HEADRACE_WEBHOOK_SECRET_<SOURCE>` | gateway | {secret} |
| `HEADRACE_CONFIG` | every service | [A file](#a-file) with settings |
| `HEADRACE_DATA` | `headrace` | Data directory of the embedded mesh, as `--data` (default `.headrace`) |
| `HEADRACE_GATEWAY_URL` | `headrace` | Gateway to send to, instead of the one that is up on the data directory |
| `HEADRACE_API_KEY` | `headrace` | API key or token for the gateway |
| `HEADRACE_CACHE_DIR` | `headrace up`, `headrace demo`, tests | Where downloaded servers are kept (default `~/.cache/headrace`) |
| `HEADRACE_MAVEN_URL` | `headrace up`, `headrace demo`, tests | A mirror to download them from |
| `HEADRACE_POSTGRES_USER` | `headrace up`, `headrace demo`, tests | Account that embedded Postgres runs as when root starts it |
| `OTEL_*` | every service | OpenTelemetry's own; which ones, and what they do here: [observability](observability.md) |
| `HEADRACE_SIMULATION_SEEDS` | tests | Seeds that the simulation of the runtime plays (default 2000) |
"""

WEBHOOK_SECRETS: Final = (
    "Secret or secrets of a webhook source, such as `HEADRACE_WEBHOOK_SECRET_GITHUB`; several during a rotation, comma-separated "
    "or a JSON list. A source that needs one and has none answers 403. [All of them](webhooks.md)"
)


def variable(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    if isinstance(field.validation_alias, AliasChoices):
        return next(str(choice) for choice in field.validation_alias.choices if str(choice).isupper())
    return f"{settings.model_config['env_prefix']}{name}".upper()


def rows(settings: type[BaseSettings]) -> Iterator[tuple[str, str, str]]:
    """``(variable, default, meaning)`` of each field. Raises ``KeyError`` for a field that says nothing."""
    for name, field in settings.model_fields.items():
        key = variable(settings, name, field)
        meaning = (field.description or MEANINGS[key]).replace("|", "\\|")
        yield key, _default(field), "; ".join(part for part in (meaning.rstrip("."), *_bounds(field)) if part)


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        raise ValueError("a setting without a default")
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in (None, "", (), [], {}):
        return "-"
    if isinstance(value, list | tuple):
        return f"`{','.join(str(item) for item in value)}`"
    return f"`{value}`"


def _bounds(field: FieldInfo) -> Iterator[str]:
    choices = re.findall(r"'([^']+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
    if choices and not (field.description and all(choice in field.description for choice in choices)):
        yield "one of " + ", ".join(f"`{choice}`" for choice in choices)
    limits = []
    for bound in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (value := getattr(bound, name, None)) is not None:
                limits.append(f"{sign} {value}")
    if limits:
        yield ", ".join(limits)


def document() -> str:
    """The whole file."""
    parts = [HEAD]
    for title, text, settings in SECTIONS:
        parts += [
            f"\n## {title}\n",
            f"\n{text}\n" if text else "",
            "\n| variable | default | meaning |\n|---|---|---|\n",
        ]
        parts += [f"| `{key}` | {default} | {meaning} |\n" for key, default, meaning in rows(settings)]
    return "".join([*parts, TAIL.format(secret=WEBHOOK_SECRETS)])


def flow() -> str:
    """The pipeline as a mermaid chart. Dead letters are left out: every service has its own."""
    lines = ["```mermaid", "flowchart LR"]
    for stage in PIPELINE:
        box = f"{stage.service}[{stage.service}]"
        lines += [f"  {_topic(name)} --> {box}" for name in stage.consumes if not name.endswith(".dlq")]
        lines += [f"  {box} --> {_topic(name)}" for name in stage.produces]
        lines += [f"  {_topic(name)} -.-> {box}" for name in stage.reads]
    return "\n".join([*lines, "```", ""])


def _topic(name: str) -> str:
    return f"{name.replace('.', '_')}([{name}])"


def concepts() -> str:
    """The page of concepts with the picture as it should be."""
    text = CONCEPTS.read_text(encoding="utf-8")
    before, mark, rest = text.partition("pipeline.py -->\n")
    return f"{before}{mark}{flow()}{rest[rest.index('<!-- end of flow -->') :]}"


def senders() -> str:
    """The built-in webhook sources as a table."""
    lines = ["| path | sender | set at the sender | set here |", "|---|---|---|---|"]
    for name, config in load_configs(None).items():
        ours = "<br>".join(f"`{variable}` ({kind})" for variable, kind in variables(config).items())
        lines.append(f"| `/webhooks/{name}` | {config.description} | {config.setup} | {ours} |")
    return "\n".join([*lines, ""])


def webhooks() -> str:
    """The page of webhooks with the table as it should be."""
    text = WEBHOOKS.read_text(encoding="utf-8")
    before, mark, rest = text.partition("sources/*.yaml -->\n")
    return f"{before}{mark}{senders()}{rest[rest.index('<!-- end of senders -->') :]}"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
    CONCEPTS.write_text(concepts(), encoding="utf-8")
    WEBHOOKS.write_text(webhooks(), encoding="utf-8")
    sys.stdout.write(f"{FILE}\n{CONCEPTS}\n{WEBHOOKS}\n")
