"""The process around services: what it says of wrong settings, and that it waits for servers that are not there yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from headrace.local.endpoints import Endpoints
from headrace.runtime.admin import Admin
from headrace.settings import MeshSettings
from headrace.topology import load_all
from tests.support.mesh import until
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("HEADRACE_KAFKA_OPTIONS", '{"sasl.password": ["planted"]}', "kafka_options.sasl.password"),
        ("HEADRACE_KAFKA_OPTIONS", '{"sasl.password": planted', "kafka_options"),
        ("HEADRACE_INGEST_MAX_FAN_OUT", "planted", "max_fan_out"),
        ("HEADRACE_LOG_LEVEL", "planted", "log_level"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(variable: str, value: str, named: str) -> None:
    argv = [sys.executable, "-m", "headrace.ingest"]
    done = subprocess.run(argv, env=os.environ | {variable: value}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert named in done.stderr
    assert "planted" not in done.stderr
    assert "Traceback" not in done.stderr


class Service:
    """A service in a process of its own, with its log and what it answers at ``/readyz``."""

    def __init__(self, name: str, environment: dict[str, str], directory: Path) -> None:
        self.port = free_port()
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"headrace.{name}"],
                env=os.environ | environment | {"HEADRACE_OPS_PORT": str(self.port)},
                stderr=log,
            )

    def log(self) -> str:
        return self._log.read_text()

    def readiness(self) -> tuple[int, object]:
        try:
            response = httpx2.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False)
        except httpx2.TransportError:
            return 0, None
        return response.status_code, response.json()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        def still() -> bool:
            assert self.process.poll() is None, f"it ended instead of waiting:\n{self.log()}"
            return condition()

        until(still, 60, self.log())


@contextmanager
def running(name: str, environment: dict[str, str], directory: Path) -> Iterator[Service]:
    service = Service(name, environment, directory)
    try:
        yield service
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(40) == 0
    finally:
        service.process.kill()
        service.process.wait()


@pytest.mark.parametrize("name", ["ingest", "reasoning", "tools", "persistence"])
def test_a_service_waits_for_postgres(stack: Endpoints, namespace: str, tmp_path: Path, name: str) -> None:
    """Ready without it, since records wait in their lanes; except persistence, which first brings the schema up to date."""
    settings = MeshSettings(
        _env_file=None, kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=namespace
    )
    Admin(settings).apply(list(load_all().values()), replication=1)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
        "DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none",
        "HEADRACE_TOPIC_PREFIX": namespace,
    }
    with running(name, environment, tmp_path) as service:
        if name == "persistence":
            service.wait_until(lambda: "migration_waits" in service.log())
            assert service.readiness() == (503, {"ready": {name: False}})
        else:
            service.wait_until(lambda: service.readiness() == (200, {"ready": {name: True}}))
