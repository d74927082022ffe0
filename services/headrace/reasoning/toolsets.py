"""What a run is offered beside the tools of its agent: the tenant's composite tools, fixed when the run is admitted.

They are a blob that the run's records name (``Toolset``). So each of its model calls has the same prompt prefix
whatever is promoted or taken back in the meantime, any reasoner can go on with it, and a re-run sees what the run saw.
Runs that are offered the same share the blob.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from headrace.blobs import BlobStore
from headrace.egress.domains import matches
from headrace.messages.agent import AgentDefinition
from headrace.messages.errors import BadMessage
from headrace.messages.run import OfferedTool, RunInfo, Toolset
from headrace.toolbox.canonical import FETCH
from headrace.toolbox.composites import Composite, spec_of
from headrace.toolbox.follow import Offers
from headrace.toolbox.naming import host_of
from headrace.toolspecs import Spec
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE

_MAX_KEPT: Final = 1_000
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_DECODER: Final = msgspec.json.Decoder(Toolset)


class Toolsets:
    """Toolsets for new runs. ``limit`` is the most that an agent is offered: the newest ones, the oldest of them first."""

    def __init__(self, offers: Offers, blobs: BlobStore, limit: int) -> None:
        self._offers = offers
        self._blobs = blobs
        self._limit = limit
        self._revision = offers.revision
        self._stored: dict[tuple[str, str, str], str | None] = {}

    async def ref_for(self, run: RunInfo, definition: AgentDefinition) -> str | None:
        """The reference of what this agent is offered; None for nothing. Raises ``DependencyUnavailable`` while blobs are away."""
        tenant = run.tenant
        if self._limit == 0 or EXECUTE_PIPELINE.name not in definition.tools or not self._offers.of(tenant):
            return None
        if self._revision != self._offers.revision or len(self._stored) >= _MAX_KEPT:
            self._stored, self._revision = {}, self._offers.revision
        key = (tenant, definition.name, definition.version)
        if key not in self._stored:
            self._stored[key] = await stored(offered_to(definition, self._offers.of(tenant), self._limit), self._blobs)
        return self._stored[key]


def offered_to(definition: AgentDefinition, composites: Sequence[Composite], limit: int) -> tuple[OfferedTool, ...]:
    """The newest composite tools that fetch only from hosts which the agent may call."""
    within = [one for one in composites if _reaches(one, definition.http_domains)]
    return tuple(_offer(spec_of(one)) for one in within[-limit:])


async def stored(offered: tuple[OfferedTool, ...], blobs: BlobStore) -> str | None:
    """The reference of ``offered``; None for nothing. Raises what the store raises."""
    return await blobs.put(_ENCODE(Toolset(tools=offered))) if offered else None


async def specs_of(ref: str | None, blobs: BlobStore) -> tuple[Spec, ...]:
    """The tools of a toolset. Raises ``BadMessage`` for a blob that is none, and what the store raises."""
    return _decoded(await blobs.get(ref)) if ref else ()


@lru_cache(256)
def _decoded(data: bytes) -> tuple[Spec, ...]:
    try:
        toolset = _DECODER.decode(data)
    except ValueError:
        raise BadMessage("not a set of tools", cause="toolset") from None
    return tuple(
        Spec(tool.name, tool.version, tool.description, tool.parameters, tool.effect) for tool in toolset.tools
    )


def _offer(spec: Spec) -> OfferedTool:
    return OfferedTool(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        parameters=spec.parameters,
        effect=spec.effect,
    )


def _reaches(composite: Composite, domains: Iterable[str]) -> bool:
    hosts = [host_of(str(step.get("url", ""))) for step in composite.steps if step.get("step") == FETCH]
    return all(host is not None and any(matches(host, domain) for domain in domains) for host in hosts)
