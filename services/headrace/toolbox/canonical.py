"""When two pipelines are one, and when two calls of it have the same result.

**Never change these formats**: stored digests depend on the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from headrace.messages.base import JsonObject
from headrace.messages.canonical import canonical_json
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE

FETCH: Final = "http_request"
_SEPARATOR: Final = b"\x1f"


def canonical(pipeline: Sequence[JsonObject]) -> bytes:
    """The steps as JSON with sorted keys and no spaces. Raises ``TypeError`` for what JSON can't hold."""
    return canonical_json(list(pipeline))


def digest_of(steps: bytes) -> bytes:
    """SHA-256 of canonical steps: which pipeline it is, whatever its input."""
    return hashlib.sha256(steps).digest()


def cache_key(steps: bytes, input_ref: str | None, domains: Iterable[str]) -> bytes:
    """SHA-256 over canonical steps, the digest of the input (its reference says it), the version of the tool, and the
    hosts that the agent may call: a result never reaches an agent that might not have fetched it.
    """
    parts = (EXECUTE_PIPELINE.version.encode(), steps, (input_ref or "").encode(), *sorted(d.encode() for d in domains))
    return hashlib.sha256(_SEPARATOR.join(parts)).digest()


def has_effects(pipeline: Sequence[JsonObject]) -> bool:
    """Whether it may change something outside: such a pipeline is neither cached nor promoted."""
    return any(step.get("step") == FETCH and step.get("method", "GET") != "GET" for step in pipeline)


def fetches(pipeline: Sequence[JsonObject]) -> bool:
    """Whether its result depends on more than its input."""
    return any(step.get("step") == FETCH for step in pipeline)


def takes_input(pipeline: Sequence[JsonObject]) -> bool:
    """Whether it needs an ``input_ref``: its first step brings no rows."""
    first = pipeline[0]
    return first.get("step") != FETCH and not (first.get("step") == "join" and {"left", "right"} <= first.keys())
