"""The topics of the mesh as data: ``topics/*.yaml`` read, typed and held against ``pipeline.py``.

Knows what a topic should be. What a cluster has, and how to make it so, is ``runtime.admin``.
"""

from headrace.topology.check import check
from headrace.topology.spec import TopicSpec, load, load_all

__all__ = ["TopicSpec", "check", "load", "load_all"]
