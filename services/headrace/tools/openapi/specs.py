"""Descriptions by their address: fetched once, kept for a while, each operation prepared once.

Whoever asks must itself be allowed to reach the address, also if another agent has had it fetched. Descriptions are fetched
without credentials.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.egress import EgressFailed, GuardedClient
from headrace.egress.domains import require_allowed
from headrace.egress.urls import parse_url
from headrace.tools.openapi.document import ApiDocument, read
from headrace.tools.openapi.errors import SpecProblem
from headrace.tools.openapi.operation import Operation, prepare


@dataclass(frozen=True, slots=True)
class SpecLimits:
    """``keep`` descriptions at most, each for ``keep_s``; ``max_bytes`` of one."""

    max_bytes: int = 8_000_000
    keep: int = 32
    keep_s: float = 900.0


@dataclass(slots=True)
class _Kept:
    document: ApiDocument
    until: float
    operations: dict[str, Operation] = field(default_factory=dict)


class Specs:
    """``timer`` is the clock (seconds) that descriptions age by."""

    def __init__(self, client: GuardedClient, limits: SpecLimits, timer: Callable[[], float]) -> None:
        self._client = client
        self._limits = limits
        self._timer = timer
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def operation(self, url: str, operation_id: str, domains: Sequence[str], timeout_s: float) -> Operation:
        """Raises ``EgressDenied``, ``EgressFailed``, ``SpecProblem``, ``BadParams``."""
        require_allowed(parse_url(url).host, domains)
        kept = await self._document(url, domains, timeout_s)
        found = kept.operations.get(operation_id)
        if found is None:
            found = kept.operations[operation_id] = await asyncio.to_thread(prepare, kept.document, operation_id)
        return found

    async def _document(self, url: str, domains: Sequence[str], timeout_s: float) -> _Kept:
        """One fetch of an address at a time: who comes meanwhile waits for it."""
        lock = self._locks.setdefault(url, asyncio.Lock())
        try:
            async with lock:
                kept = self._kept.get(url)
                if kept is None or kept.until <= self._timer():
                    document = await self._fetch(url, domains, timeout_s)
                    kept = self._kept[url] = _Kept(document, self._timer() + self._limits.keep_s)
                self._kept.move_to_end(url)
                while len(self._kept) > self._limits.keep:
                    self._kept.popitem(last=False)
                return kept
        finally:
            if not lock.locked():
                self._locks.pop(url, None)

    async def _fetch(self, url: str, domains: Sequence[str], timeout_s: float) -> ApiDocument:
        accept = {"accept": "application/json, application/yaml, */*;q=0.5"}
        answer = await self._client.request("GET", url, domains=domains, headers=accept, timeout_s=timeout_s)
        if answer.status != 200:
            raise SpecProblem(f"{answer.host} answered with HTTP status {answer.status} instead of the description")
        if len(answer.body) > self._limits.max_bytes:
            raise EgressFailed("response_too_large", f"the description is larger than {self._limits.max_bytes} bytes")
        return await asyncio.to_thread(read, url, answer.body)
