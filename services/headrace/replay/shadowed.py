"""The records of one shadow run, found by reading the shadow topics: the index does not have them."""

from __future__ import annotations

from typing import Final

from headrace.history.chain import BrokenChain, Chain, Filed, chain_of
from headrace.history.stored import History
from headrace.messages import headers as record_headers
from headrace.messages.catalog import SHADOWS
from headrace.messages.errors import BadMessage
from headrace.messages.job import Job
from headrace.runtime.scan import Scan
from headrace.settings import MeshSettings

_GONE: Final = "neither the index nor the shadow topics have it"


async def shadow_chain(settings: MeshSettings, history: History, run_id: str) -> Chain:
    """Reads all of the shadow topics. Raises ``BrokenChain`` if the run is not there, or not whole."""
    found: list[Filed] = []
    async with Scan(settings, SHADOWS) as scan:
        async for batch in scan:
            for record in batch:
                if dict(record.headers).get(record_headers.RUN_ID) == run_id.encode():
                    filed = await history.filed(record)
                    if not isinstance(filed, BadMessage):
                        found.append(filed)
    chain = chain_of(run_id, found)
    if not chain.stretches:
        raise BrokenChain(
            _GONE if not any(isinstance(one.message, Job) for one in found) else "nothing has come of its job"
        )
    return chain
