"""``headrace down``"""

from __future__ import annotations

from headrace.cli.output import stop
from headrace.cli.target import Target
from headrace.local import control

_NOWHERE = Target()


def down(*, target: Target = _NOWHERE) -> None:
    """Stop the mesh of a data directory: services drain, then the servers end. The data stays.

    Exits with 3 if none was running.

    Example: `headrace down`
    """
    if not control.down(target.data):
        raise stop(f"no mesh is up on {target.data}", 3)
    print(f"headrace on {target.data} is down; its data stays")
