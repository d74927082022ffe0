"""The ``headrace`` command: one file a verb, imported when it is used.

Every verb that prints data takes ``--json``. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the mesh is not up or can't be
reached, 4 no such thing, 5 a check found differences. Errors are one line on stderr that says what to do.
"""

from headrace.cli.app import main

__all__ = ["main"]
