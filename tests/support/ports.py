"""Ports for servers that a test starts: none that another test, or a connection, has meanwhile.

A port that the kernel gives (bind to 0) is one of those that it gives to outgoing connections too, and there are many between the
moment that it is let go and that in which the server binds it. These are from below; each worker of a run has a stretch of its own,
and goes through it once.
"""

import os
import random
from collections.abc import Iterator
from itertools import cycle, islice

from headrace.local.ports import is_free

_FIRST, _EACH, _STRETCHES = 10_000, 1_000, 10  # embedded stacks draw theirs from 20,000 on
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _STRETCHES


def _in_turn() -> Iterator[int]:
    first = _FIRST + _WORKER * _EACH
    # Not from the beginning: another run on this machine may be there.
    return (port for port in islice(cycle(range(first, first + _EACH)), random.randrange(_EACH), None) if is_free(port))


_ports = _in_turn()


def free_port() -> int:
    """The next one."""
    return next(_ports)
