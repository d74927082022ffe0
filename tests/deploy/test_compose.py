"""docker-compose.yml: valid for Compose, true to the code, and closed where it has to be. Nothing here needs Docker."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

import headrace
from headrace.cli.app import commands
from headrace.host.ops import Ops
from headrace.pipeline import STAGES
from headrace.settings import MeshSettings
from tests.deploy import compose, oracles
from tests.deploy.compose import PASSWORD, ROOT, Service

SERVICES = compose.services()
NO_CHECK = {"alertmanager", "loki", "alloy", "docker-api", "otel-collector", "tempo", "node-exporter"}
"""Without a health check: most of these images have nothing to run one with. Prometheus sees them (but for the proxy)."""
WRITABLE_ROOT = {"redpanda"}
THIRD_PARTY_VARIABLES = {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "COMPOSE_PROFILES"}
OF_THE_FILE = {"HEADRACE_IMAGE", "HEADRACE_PUBLISHED_PORT"}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY$")


def each(names: dict[str, Service]) -> Any:
    return pytest.mark.parametrize("name", names)


# --- valid ----------------------------------------------------------------------------------------------------------------


def _schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads((Path(__file__).parent / "compose-spec.json").read_text()))


def test_it_is_valid_by_the_compose_specification() -> None:
    assert [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _schema().iter_errors(compose.document())
    ] == []


@pytest.mark.parametrize(
    ("path", "value"), [(("gateway", "port"), ["8080"]), (("gateway", "read_only"), 3), (("redpanda", "command"), 7)]
)
def test_the_schema_refuses_what_is_wrong(path: tuple[str, str], value: object) -> None:
    broken = copy.deepcopy(compose.document())
    broken["services"][path[0]][path[1]] = value
    assert not _schema().is_valid(broken)


def test_compose_itself_loads_it_and_reads_the_same_environments() -> None:
    """The loader of `docker compose`, with and without the profile."""
    loader = oracles.compose()
    environ = compose.GIVEN | {"OPENAI_API_KEY": "k", "HEADRACE_WEBHOOK_OPEN": ""}
    done = oracles.run(loader, compose.FILE, "observability", env=environ)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)["services"]
    mine = compose.services(environ)
    assert set(loaded) == set(mine)
    for name, service in mine.items():
        assert loaded[name].get("environment", {}) == service.get("environment", {}), name
    without = json.loads(oracles.run(loader, compose.FILE, env=environ).stdout)["services"]
    assert set(without) == {"redpanda", "postgres", "prepare", *compose.mesh()}


def test_a_second_replica_is_made_as_the_page_says(tmp_path: Path) -> None:
    (override,) = re.findall(r"```yaml compose\n(.*?)```", (ROOT / "docs/deploy-compose.md").read_text(), re.DOTALL)
    file = tmp_path / "override.yml"
    file.write_text(override)
    done = oracles.run(oracles.compose(), f"{compose.FILE},{file}", env=compose.GIVEN)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)["services"]
    first, second = loaded["reasoning"]["environment"], loaded["reasoning-1"]["environment"]
    assert second == first | {"HEADRACE_INSTANCE": "1"}
    assert loaded["reasoning-1"]["command"] == ["run", "reasoning"]


def test_it_does_not_start_without_a_password() -> None:
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        compose.document({"POSTGRES_PASSWORD": ""})
    refused = oracles.run(oracles.compose(), compose.FILE, env={})
    assert refused.returncode == 1
    assert "POSTGRES_PASSWORD" in refused.stderr


# --- true to the code -----------------------------------------------------------------------------------------------------


def test_there_is_one_container_for_each_service_of_the_pipeline() -> None:
    assert {name: service["command"] for name, service in compose.mesh().items()} == {
        name: ["run", name] for name in STAGES
    }
    assert set(compose.ours()) == {*STAGES, "prepare"}


@each(compose.ours())
def test_every_command_is_one_of_headrace(name: str) -> None:
    command = SERVICES[name]["command"]
    assert "entrypoint" not in SERVICES[name]
    commands(command).parse_args(command, exit_on_error=False, print_error=False)


def known_settings() -> set[str]:
    return set(re.findall(r"`([A-Z][A-Z0-9_<>]+)`", (ROOT / "docs" / "configuration.md").read_text()))


@each(compose.ours())
def test_every_variable_is_a_setting(name: str) -> None:
    """docs/configuration.md is generated from the settings classes, and a test holds it to them."""
    for variable in SERVICES[name]["environment"]:
        generic = re.sub(r"^HEADRACE_WEBHOOK_SECRET_\w+$", "HEADRACE_WEBHOOK_SECRET_<SOURCE>", variable)
        assert generic in known_settings() or variable == "OTEL_EXPORTER_OTLP_ENDPOINT", variable


@each(compose.ours())
def test_the_settings_accept_what_is_set(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = MeshSettings()
    assert settings.group_protocol == "classic"
    assert settings.instance == "0"
    assert f"redpanda:{_listener('kafka')}" == settings.kafka_bootstrap_servers
    assert f"http://redpanda:{_listener('schema-registry')}" == settings.schema_registry_url
    postgres = SERVICES["postgres"]["environment"]
    url = f"postgresql://{postgres['POSTGRES_USER']}:{PASSWORD}@postgres:5432/{postgres['POSTGRES_DB']}"
    assert settings.database_url.get_secret_value() == url


def _listener(api: str) -> str:
    (port,) = re.findall(rf"--{api}-addr=internal://0\.0\.0\.0:(\d+)", " ".join(SERVICES["redpanda"]["command"]))
    return str(port)


@each(compose.mesh())
def test_health_is_asked_where_the_service_answers(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[:-1] == ["CMD", "python", "-m", "headrace.host.healthcheck"]
    status, _, _ = Ops([], [])._answer(test[-1])
    assert status == 200
    environment = SERVICES[name]["environment"]
    assert environment["HEADRACE_OPS_PORT"] == "9100"
    assert f"{name}:{environment['HEADRACE_OPS_PORT']}" in scraped("headrace")


@each(compose.mesh())
def test_a_stop_leaves_time_to_drain(name: str) -> None:
    assert SERVICES[name]["stop_grace_period"] == f"{MeshSettings.model_fields['drain_seconds'].default + 5}s"


def test_the_gateway_is_published_where_it_listens() -> None:
    environment = SERVICES["gateway"]["environment"]
    assert environment["HEADRACE_GATEWAY_HOST"] == "0.0.0.0"
    (port,) = SERVICES["gateway"]["ports"]
    assert port == f"127.0.0.1:8080:{environment['HEADRACE_GATEWAY_PORT']}"


def test_services_start_after_the_one_shot_and_that_after_healthy_servers() -> None:
    for service in compose.mesh().values():
        assert service["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}
    waits = {"redpanda": {"condition": "service_healthy"}, "postgres": {"condition": "service_healthy"}}
    assert SERVICES["prepare"]["depends_on"] == waits
    assert all("healthcheck" in SERVICES[server] for server in waits)


def test_the_example_names_every_variable_and_no_other() -> None:
    assert set(compose.example()) == (compose.variables() | {"COMPOSE_PROFILES"}) - {"HEADRACE_IMAGE"}
    for variable in compose.example():
        generic = re.sub(r"^HEADRACE_WEBHOOK_SECRET_\w+$", "HEADRACE_WEBHOOK_SECRET_<SOURCE>", variable)
        elsewhere = THIRD_PARTY_VARIABLES | OF_THE_FILE | {"OTEL_EXPORTER_OTLP_ENDPOINT"}
        assert generic in known_settings() | elsewhere, variable


# --- closed ---------------------------------------------------------------------------------------------------------------


@each(SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9]+)?", image), image
    if name in compose.ours():
        assert image == f"headrace:{headrace.__version__}"
        assert SERVICES[name]["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}


@each(SERVICES)
def test_every_container_is_limited_and_hardened(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert 0 < limits["pids"] <= 512
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITABLE_ROOT)
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service.get("network_mode") is None
    for mount in (entry for entry in service.get("tmpfs", ()) if "size=" not in entry):
        assert mount.startswith("/var/run/postgresql"), mount


@each(SERVICES)
def test_only_loopback_is_published(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:"), port
    assert ("edge" in SERVICES[name]["networks"]) is ("ports" in SERVICES[name])


def test_only_those_that_must_can_reach_out() -> None:
    outside = {name for name, network in compose.document()["networks"].items() if not network.get("internal")}
    assert outside == {"egress", "edge"}
    assert {name for name, service in SERVICES.items() if "egress" in service["networks"]} == {
        "reasoning",
        "replay",
        "tools",
    }


def test_one_container_has_the_docker_socket_and_it_only_reads() -> None:
    with_socket = {name for name, service in SERVICES.items() if "docker.sock" in str(service.get("volumes"))}
    assert with_socket == {"docker-api"}
    assert SERVICES["docker-api"]["environment"]["POST"] == "0"
    assert {name for name, service in SERVICES.items() if "docker-api" in service["networks"]} == {
        "docker-api",
        "alloy",
    }


def test_there_is_no_secret_in_the_file() -> None:
    for name, service in compose.raw()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert re.fullmatch(r"\$\{\w+(:\?[^}]*|:-)?\}", value), f"{name}: {variable}"
    assert not re.search(r"://[^\s:/@]+:[^\s@$]+@", compose.text()), "a password in a URL"
    assert {name: value for name, value in compose.example().items() if SECRET.search(name) and value} == {}


def test_secrets_are_neither_committed_nor_copied() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert next(line for line in ignored if line and not line.startswith("#")) == "*"
    assert "**/.env*" in ignored


@each(SERVICES)
def test_every_mounted_file_is_there_and_read_only(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, _, mode = mount.partition(":")[0], *mount.partition(":")[2].rpartition(":")[1:]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert mode == "ro", mount
        elif not source.startswith("/"):
            assert source in compose.document()["volumes"], source
        else:
            assert mode.startswith("ro"), mount


def test_who_has_no_health_check_is_seen_by_prometheus() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == NO_CHECK
    watched = {target.partition(":")[0] for job in ("observability", "node") for target in scraped(job)}
    assert watched >= NO_CHECK - {"docker-api"}


# --- the observability stack's own files ----------------------------------------------------------------------------------


def scraped(job: str) -> list[str]:
    configuration = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    return [
        target
        for entry in configuration["scrape_configs"]
        if entry["job_name"] == job
        for group in entry["static_configs"]
        for target in group["targets"]
    ]


def test_prometheus_scrapes_each_service_and_nobody_else() -> None:
    assert sorted(scraped("headrace")) == sorted(f"{name}:9100" for name in STAGES)
    for job in ("redpanda", "node", "observability"):
        for target in scraped(job):
            assert target.partition(":")[0] in {*SERVICES, "localhost"}


@pytest.mark.parametrize(
    ("file", "url"),
    [
        ("alloy/config.alloy", "http://loki:3100/loki/api/v1/push"),
        ("alloy/config.alloy", "tcp://docker-api:2375"),
        ("otel-collector/config.yaml", "tempo:4317"),
        ("grafana/provisioning/datasources/datasources.yml", "http://prometheus:9090"),
        ("grafana/provisioning/datasources/datasources.yml", "http://loki:3100"),
        ("grafana/provisioning/datasources/datasources.yml", "http://tempo:3200"),
        ("alertmanager/alertmanager.yml", "http://gateway:8080/webhooks/alertmanager"),
        ("prometheus/prometheus.yml", "alertmanager:9093"),
    ],
)
def test_addresses_in_files_are_of_services_on_a_network_in_common(file: str, url: str) -> None:
    who = file.partition("/")[0]
    host = re.sub(r"^\w+://", "", url).partition(":")[0]
    assert url in (ROOT / "deploy" / file).read_text()
    assert set(SERVICES[host]["networks"]) & set(SERVICES[who]["networks"])


def test_ports_that_servers_are_told_are_those_that_others_ask() -> None:
    loki = yaml.safe_load((ROOT / "deploy/loki/loki.yml").read_text())
    tempo = yaml.safe_load((ROOT / "deploy/tempo/tempo.yml").read_text())
    collector = yaml.safe_load((ROOT / "deploy/otel-collector/config.yaml").read_text())
    assert loki["server"]["http_listen_port"] == 3100
    assert tempo["server"]["http_listen_port"] == 3200
    assert tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(":4317")
    protocols = collector["receivers"]["otlp"]["protocols"]
    assert (
        compose.example()["OTEL_EXPORTER_OTLP_ENDPOINT"]
        == "http://otel-collector:" + protocols["http"]["endpoint"][-4:]
    )
    pipeline = collector["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == set(collector[kind])
    assert "mesh" in SERVICES["otel-collector"]["networks"]


def test_alloy_parses_its_configuration() -> None:
    done = oracles.run(oracles.alloy(), ROOT / "deploy/alloy/config.alloy")
    assert done.returncode == 0, done.stderr
    assert compose.document()["name"] == "headrace"
    assert 'com.docker.compose.project=headrace"' in (ROOT / "deploy/alloy/config.alloy").read_text()
