"""Finding composite tools and workflows by words, in Postgres' full text search, per tenant.

The words of a question are alternatives: what has more of them, and closer together, comes first. Names weigh most, then
descriptions, then who used it. Words are stemmed as English ("sorted" finds "sort").
"""

from __future__ import annotations

from typing import Final

import asyncpg
import orjson

from headrace.messages.base import JsonObject, Part
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

MAX_QUERY: Final = 500  # characters
MAX_FOUND: Final = 50
_SPACES: Final = str.maketrans("_.-", "   ")  # as the index takes names and hosts apart
# plainto_tsquery takes any text and never fails; its operators are made alternatives. A question of stop words alone finds nothing.
_QUERY: Final = "SELECT nullif(replace(plainto_tsquery('english', $2)::text, '&', '|'), '')::tsquery AS words"
_COMPOSITES: Final = f"""
WITH question AS ({_QUERY})
SELECT 'composite' AS kind, name, description, steps, uses, ts_rank_cd(search, words) AS rank
FROM pipelines, question
WHERE tenant = $1 AND state = 'promoted' AND search @@ words
ORDER BY rank DESC, uses DESC, name
LIMIT $3
"""  # noqa: S608 (constants)
# Workflows are orchestration's, and few: their words are looked at as they are.
_WORKFLOWS: Final = f"""
WITH question AS ({_QUERY}), live AS (
    SELECT tag, coalesce(definition->>'description', '') AS description
    FROM workflows JOIN workflow_versions USING (tenant, tag)
    WHERE tenant = $1 AND version = live_version
), indexed AS (
    SELECT *, setweight(to_tsvector('english', translate(tag, '_.-', '   ')), 'A')
        || setweight(to_tsvector('english', translate(description, '_.-', '   ')), 'B') AS search
    FROM live
)
SELECT 'workflow' AS kind, tag AS name, description, NULL AS steps, 0 AS uses, ts_rank_cd(search, words) AS rank
FROM indexed, question
WHERE search @@ words
ORDER BY rank DESC, name
LIMIT $3
"""  # noqa: S608 (constants)


class Found(Part, frozen=True, kw_only=True):
    """One answer: a ``composite`` tool, whose ``pipeline`` is what it does step by step, or a ``workflow`` by its tag.
    ``rank`` orders the answers to one question.
    """

    kind: str
    name: str
    description: str
    rank: float
    uses: int = 0
    pipeline: list[JsonObject] | None = None


class ToolSearch:
    """On a pool. Raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, tenant: str, query: str, limit: int = 10) -> list[Found]:
        """The best answers first."""
        words = storable_text(query[:MAX_QUERY]).translate(_SPACES)
        limit = max(1, min(limit, MAX_FOUND))
        with translated(), encoding():
            rows = await self._pool.fetch(_COMPOSITES, storable_text(tenant), words, limit)
            rows += await self._pool.fetch(_WORKFLOWS, storable_text(tenant), words, limit)
        found = sorted(map(_found, rows), key=lambda one: (-one.rank, -one.uses, one.name))
        return found[:limit]


def _found(row: asyncpg.Record) -> Found:
    return Found(
        kind=row["kind"],
        name=row["name"],
        description=row["description"],
        rank=round(row["rank"], 4),
        uses=row["uses"],
        pipeline=orjson.loads(row["steps"]) if row["steps"] else None,
    )
