"""Imported by the process that a mesh's services and its preparation are forked from: all that they import, once.

It is put out of the garbage collector's sight, since a collection in a child would write to every object that it looks at, and so
copy the memory that is shared.
"""

import gc

import headrace.cli.prepare  # noqa: F401
from headrace.host.process import composers
from headrace.pipeline import STAGES

composers(list(STAGES))
gc.collect()
gc.freeze()
