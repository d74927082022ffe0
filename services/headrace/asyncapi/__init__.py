"""The mesh as an AsyncAPI 3.0 document, made from ``topics/``, the contracts and ``pipeline.py``: never written by hand.

Channels are topics, operations are what each service sends and receives, messages carry the exported schemas. Schemas are
lifted into ``components/schemas``, since a ``#/$defs`` of theirs would be looked up in the whole document.
"""

from headrace.asyncapi.document import document, to_yaml

__all__ = ["document", "to_yaml"]
