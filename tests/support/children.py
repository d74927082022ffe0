"""Processes of tests, forked from one that has imported everything: a service's start costs two seconds of a processor otherwise.

It is how `headrace up` starts its services. That command lines do the same is seen where they are what a test is about: in
`tests/host`, `tests/deploy_k8s`, `tests/cli`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace import cli
from headrace.local.nursery import Entry, Forked, Nursery

PRELOAD = "tests.support.preload"
Child = subprocess.Popen[bytes] | Forked


def start_services(*names: str, environment: Mapping[str, str], log: Path) -> Child:
    """As `headrace run NAMES` does, in a session of its own; what it says is added to ``log``."""
    log.touch()
    if Nursery.possible():
        entry = Entry("headrace.host.process", "main", names)
        return Nursery(PRELOAD).fork(names[0], entry, env=environment, cwd=Path.cwd(), log=log)
    argv = [sys.executable, "-m", "headrace", "run", *names]
    with log.open("ab") as out:
        return subprocess.Popen(argv, env=dict(environment), stdout=out, stderr=out, start_new_session=True)


def run_command(
    *arguments: str, environment: Mapping[str, str], seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """The `headrace` command run to its end, with nothing to read. Raises `subprocess.TimeoutExpired`."""
    argv = [sys.executable, "-m", "headrace", *arguments]
    if not Nursery.possible():
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=seconds)
    with tempfile.TemporaryDirectory(prefix="headrace-command-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        out.touch()
        entry = Entry(__name__, "command", (str(err), *arguments))
        child = Nursery(PRELOAD).fork("headrace", entry, env=environment, cwd=Path.cwd(), log=out)
        try:
            code = child.wait(seconds)
        finally:
            child.kill()
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())


def command(arguments: Sequence[str]) -> None:
    """What the child of ``run_command`` does: its errors go to a file, the first argument; the others are the command's."""
    os.dup2(os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    sys.argv[1:] = arguments[1:]
    cli.main()
