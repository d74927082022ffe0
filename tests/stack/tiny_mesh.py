"""A mesh of PostgreSQL and tiny services: `python -m tests.stack.tiny_mesh FOLDER [crash] [taken=PORT]`."""

import sys
from pathlib import Path

from headrace.local.endpoints import Endpoints
from headrace.local.errors import StackError
from headrace.local.progress import console_progress
from headrace.local.service import ServiceSpec
from headrace.local.stack import Stack
from headrace.local.supervisor import Mesh, Supervisor
from tests.stack.probes import execute


def main(folder: Path, options: list[str]) -> None:
    def prepare(endpoints: Endpoints) -> None:
        execute(endpoints.database_url, "CREATE TABLE IF NOT EXISTS prepared ()")
        (folder / "prepared").touch()

    argv = [sys.executable, "-m", "tests.stack.tiny_service", str(folder)]
    taken = [int(option.removeprefix("taken=")) for option in options if option.startswith("taken=")]
    services = [
        ServiceSpec("tiny", argv, {"GREETING": "hello"}, listens=taken),
        ServiceSpec("other", [*argv, *(["crash"] if "crash" in options else [])], {"GREETING": "hello"}),
    ]
    stack = Stack(folder / "data", parts={"postgres"}, fast=True)
    with console_progress() as progress:
        Supervisor(Mesh(stack, services, prepare, "http://127.0.0.1:1"), progress).run()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except StackError as error:
        sys.exit(str(error))
