"""The same addresses from containers, where there is a Docker engine."""

import pytest

from headrace.local.containers import container_stack, docker_problem, publish_on_loopback
from tests.stack.probes import read_everywhere, write_everywhere


def test_redpanda_and_postgres_in_containers() -> None:
    problem = docker_problem()
    if problem is not None:
        pytest.skip(problem)
    with container_stack() as endpoints:
        write_everywhere(endpoints, "contained")
        assert read_everywhere(endpoints) == ("contained", "contained", "contained")


def test_container_ports_are_published_on_loopback_only() -> None:
    class Container:
        ports: dict[str, object]

    container = Container()
    container.ports = {"9092": None, "8081": None}

    publish_on_loopback(container)  # type: ignore[arg-type]

    assert container.ports == {"9092": ("127.0.0.1", None), "8081": ("127.0.0.1", None)}
