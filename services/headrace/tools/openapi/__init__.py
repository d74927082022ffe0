"""``openapi_action``: call an operation of an API by its OpenAPI description.

From the outside in: ``action`` is the tool, ``specs`` fetches and keeps descriptions, ``document`` checks one and finds
operations in it, ``schemas`` makes plain JSON Schema of its schemas, ``operation`` is one operation ready to be called,
``styles`` writes parameters and ``bodies`` bodies as it asks. All but the first two are pure.

A description is text from a stranger: it names no address that the agent may not call, refers to nothing outside itself, and is
bounded in bytes, depth and number of parts.
"""
