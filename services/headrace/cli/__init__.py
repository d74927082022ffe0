"""The ``headrace`` command: one file a verb, imported when it is used.

Every verb that prints data takes ``--json``. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the mesh is not up or can't be
reached, 4 no such thing, 5 a check found differences. Errors are one line on stderr that says what to do.
"""

from __future__ import annotations

import sys

from headrace.pipeline import STAGES

__all__ = ["main"]


def main() -> None:
    """Run the command of this process and exit with its code."""
    verb, *services = sys.argv[1:] or [""]
    if verb == "run" and services and all(name in STAGES for name in services):
        # Nothing to parse: a service that starts again after a crash does not wait for the library that would.
        from headrace.host.process import main as run_services

        run_services(services)
        return
    from headrace.cli.app import main as run_command

    run_command()
