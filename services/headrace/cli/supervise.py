"""The process behind ``headrace up --detach``: ``python -m headrace.cli.supervise '{"data": ..., "port": ..., "ports": {...}}'``.

The same as ``headrace up`` on a pipe, but with nothing to parse and little to import, since the servers wait for it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from headrace.cli.mesh import local_mesh
from headrace.local.progress import console_progress
from headrace.local.stack import StackPorts
from headrace.local.supervisor import Supervisor


def main(argument: str) -> int:
    """Runs the mesh until it is asked to stop; the exit code. What was wrong is on stderr, as a command says it."""
    wanted = json.loads(argument)
    try:
        mesh = local_mesh(Path(wanted["data"]), gateway_port=wanted["port"], ports=StackPorts(**wanted["ports"]))
        with console_progress() as progress:
            Supervisor(mesh, progress).run()
    except Exception as error:
        from headrace.cli.app import told

        return told(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
