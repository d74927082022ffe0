"""The configuration file: each key reaches its setting, the environment goes before it, what is wrong is named without values."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsError

from headrace import config_file
from headrace.auth_profiles import ApiKey, AuthProfiles, Bearer
from headrace.config_file import VARIABLES, load
from headrace.gateway.settings import GatewaySettings
from headrace.host import process
from headrace.models.settings import ModelSettings
from headrace.persistence.settings import PersistenceSettings
from headrace.reasoning.settings import ReasoningSettings
from headrace.settings import MeshSettings
from headrace.tools.workflow.settings import OrchestratorSettings
from tests.docs.pages import ROOT

WHOLE = """
service: {name: agent-runner, port: 8082, workers: 4}
redis: {host: localhost, port: 6379, db: 0, job_queue: "agent:jobs", result_queue_prefix: "agent:results"}
database: {host: localhost, port: 5432, dbname: orchestrator, user: sdutt, password: "${DB_PASSWORD}"}
llm: {provider: openai, model: gpt-4o, temperature: 0.1, max_tokens: 4000, timeout_sec: 30}
orchestrator: {api_url: "http://localhost:8081/api/v1"}
storage: {max_inline_bytes: 10485760, cas_enabled: true, s3_enabled: false}
auth_profiles:
  weatherapi: {type: api_key, header: X-API-Key, value: "${WEATHER_API_KEY}"}
  internal: {type: bearer, token: "${INTERNAL_TOKEN}"}
"""
SECRETS = {"DB_PASSWORD": "p/w d@:", "WEATHER_API_KEY": "canary-weather", "INTERNAL_TOKEN": "canary-internal"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the source document, and the variables that it refers to."""
    for name in (*VARIABLES, "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # no .env
    path = tmp_path / "config.yaml"
    path.write_text(WHOLE)
    monkeypatch.setenv("HEADRACE_CONFIG", str(path))
    return path


def test_every_key_reaches_its_setting(config: Path) -> None:
    mesh, models, reasoning = MeshSettings(), ModelSettings(), ReasoningSettings()
    assert mesh.database_url.get_secret_value() == "postgresql://sdutt:p%2Fw%20d%40%3A@localhost:5432/orchestrator"
    assert OrchestratorSettings().api_url == "http://localhost:8081/api/v1"
    assert GatewaySettings().gateway_port == 8082
    assert (models.model, models.model_temperature, models.model_max_output_tokens) == ("openai:gpt-4o", 0.1, 4000)
    assert (reasoning.max_in_flight, reasoning.model_timeout_s) == (4, 30)
    assert PersistenceSettings().inline_result_bytes == 10_485_760
    profiles = AuthProfiles().auth_profiles
    assert isinstance(profiles["weatherapi"], ApiKey)
    assert profiles["weatherapi"].value.get_secret_value() == "canary-weather"
    assert isinstance(profiles["internal"], Bearer)
    assert "canary" not in repr((mesh, profiles))


def test_the_environment_goes_before_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODEL", "anthropic:claude-haiku-5-5")
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/mesh")
    (config.parent / ".env").write_text("HEADRACE_GATEWAY_PORT=9000\nWEATHER_API_KEY=not-from-here\n")
    assert ModelSettings().model == "anthropic:claude-haiku-5-5"
    assert MeshSettings().database_url.get_secret_value() == "postgresql://elsewhere/mesh"
    assert GatewaySettings().gateway_port == 9000
    weather = AuthProfiles().auth_profiles["weatherapi"]
    assert isinstance(weather, ApiKey)
    assert weather.value.get_secret_value() == "canary-weather"


def test_without_the_variable_there_is_no_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_CONFIG")
    assert GatewaySettings().gateway_port == 8080


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("llm: {provider: openai, modle: canary-x}", "llm.modle: no such key"),
        ("lmm: {provider: canary-x}", "lmm: no such key"),
        ("llm: {provider: canary-x}", "llm.provider: Input should be 'openai', 'anthropic' or 'offline'"),
        ("llm: {provider: openai, temperature: canary-x}", "llm.temperature: Input should be a valid number"),
        ("database: {password: '${NOT_SET_HERE}'}", "database.password: NOT_SET_HERE is not set"),
        ("database: {password: canary-x}", "database.dbname: Field required"),
        ("storage: {s3_enabled: true}", "storage.s3_enabled: Input should be False"),
        ("- canary-x", "Input should be a valid dictionary"),
        ("llm: {provider: openai", "not YAML (line 2)"),
    ],
)
def test_what_is_wrong_is_named_without_its_value(config: Path, text: str, told: str) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        GatewaySettings()
    assert told in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_profile_of_the_file_is_checked_as_one_of_the_environment(config: Path) -> None:
    config.write_text("auth_profiles: {internal: {type: bearer, tokn: canary-x}}")
    with pytest.raises(ValueError, match=r"auth_profiles\.internal\.bearer") as caught:
        AuthProfiles()
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there_ends_a_process_with_the_reason(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config.unlink()
    with pytest.raises(SystemExit) as caught:
        process.main(["gateway"])
    assert caught.value.code == 2
    assert f"HEADRACE_CONFIG: {config}: No such file or directory" in capsys.readouterr().err


def test_keys_without_a_use_are_named(config: Path) -> None:
    found = config_file.unused({"HEADRACE_CONFIG": str(config), **SECRETS})
    queues = [f"redis.{key}" for key in ("host", "port", "db", "job_queue", "result_queue_prefix")]
    assert found == ["service.name", *queues]
    assert config_file.unused({}) == []


def test_every_variable_that_the_file_stands_for_is_a_setting() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in VARIABLES if f"`{name}`" not in documented] == []


def test_the_document_s_example_is_whole(tmp_path: Path) -> None:
    example = ROOT / "docs" / "examples" / "config.yaml"
    environ = dict.fromkeys(SECRETS, "x")
    assert set(load(example, environ).variables()) == VARIABLES
