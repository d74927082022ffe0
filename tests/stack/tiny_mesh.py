"""A mesh of PostgreSQL and tiny services: `python -m tests.stack.tiny_mesh FOLDER [crash | refuse] [forked] [taken=PORT]`."""

import sys
from functools import partial
from pathlib import Path

from headrace.local.endpoints import Endpoints
from headrace.local.errors import StackError
from headrace.local.nursery import Entry
from headrace.local.progress import console_progress
from headrace.local.service import ServiceSpec
from headrace.local.stack import Stack
from headrace.local.supervisor import Mesh, Supervisor
from tests.stack.probes import execute


def prepare(folder: Path, refuse: bool, endpoints: Endpoints) -> None:
    if refuse:
        raise StackError("the tiny mesh can't be prepared")
    execute(endpoints.database_url, "CREATE TABLE IF NOT EXISTS prepared ()")
    (folder / "prepared").touch()


def main(folder: Path, options: list[str]) -> None:
    taken = [int(option.removeprefix("taken=")) for option in options if option.startswith("taken=")]

    def service(name: str, *more: str, listens: list[int] | None = None) -> ServiceSpec:
        arguments = [str(folder), *more]
        argv = [sys.executable, "-m", "tests.stack.tiny_service", *arguments]
        entry = Entry("tests.stack.tiny_service", "main", arguments)
        return ServiceSpec(name, argv, {"GREETING": "hello"}, listens=listens or [], entry=entry)

    services = [service("tiny", listens=taken), service("other", *(["crash"] if "crash" in options else []))]
    stack = Stack(folder / "data", parts={"postgres"}, fast=True)
    mesh = Mesh(
        stack,
        services,
        partial(prepare, folder, "refuse" in options),
        "http://127.0.0.1:1",
        preload="tests.stack.tiny_service" if "forked" in options else "",
    )
    with console_progress() as progress:
        Supervisor(mesh, progress).run()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except StackError as error:
        sys.exit(str(error))
