"""Leaving a group for a process that can't any more.

A member that was killed keeps its partitions until its session ends: 45 s by a broker's default. The process that takes its
place knows better. It runs as the same instance, so whoever is in the group under its client id is its predecessor; that one's
producers were fenced when ours were initialised, and once it is out of the group no commit under its membership succeeds either.
So to leave on its behalf loses nothing, also if it is still alive somewhere, and its partitions are free at once.

By aiokafka, since librdkafka can leave for nobody but itself: an ordinary LeaveGroup with the classic protocol, and with KIP-848
the heartbeat that says so. Source: KIP-848, ConsumerGroupHeartbeat API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from aiokafka.client import AIOKafkaClient, CoordinationType  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.protocol.api import Request, RequestStruct, Response  # type: ignore[import-untyped]
from aiokafka.protocol.group import LeaveGroupRequest  # type: ignore[import-untyped]
from aiokafka.protocol.types import (  # type: ignore[import-untyped]
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger
from headrace.runtime import aio, config
from headrace.runtime.groups import Group
from headrace.settings import MeshSettings

log = get_logger(__name__)

_LEAVES: Final = -1  # a member epoch
_PATIENCE_S: Final = 5.0


class _HeartbeatResponse(Response):  # type: ignore[misc]
    API_KEY = 68
    API_VERSION = 0
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))  # and more, that nobody needs here


class _HeartbeatRequestV0(RequestStruct):  # type: ignore[misc]
    API_KEY = 68
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        ("member_id", CompactString("utf-8")),
        ("member_epoch", Int32),
        ("instance_id", CompactString("utf-8")),
        ("rack_id", CompactString("utf-8")),
        ("rebalance_timeout_ms", Int32),
        ("subscribed_topic_names", CompactArray(CompactString("utf-8"))),
        ("server_assignor", CompactString("utf-8")),
        ("topic_partitions", CompactArray(CompactString("utf-8"))),
        ("tags", TaggedFields),
    )


class _LeavingHeartbeat(Request[_HeartbeatRequestV0]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 68

    def __init__(self, group_id: str, member_id: str) -> None:
        self._group_id, self._member_id = group_id, member_id

    def build(self, request_struct_class: type[_HeartbeatRequestV0]) -> _HeartbeatRequestV0:
        return request_struct_class(self._group_id, self._member_id, _LEAVES, None, None, -1, None, None, None, {})


async def leave_for_predecessor(settings: MeshSettings, group: str, client: str) -> None:
    """Take whoever is in ``group`` (without prefix) as ``client`` of this instance out of it.

    A courtesy: where it can't be done the broker does it when the session ends, so nothing is raised.
    """
    try:
        async with asyncio.timeout(_PATIENCE_S):
            members = await asyncio.to_thread(Group(settings, group).members)
            mine = [one.member_id for one in members if one.client_id == config.client_id(settings, client)]
            if mine:
                await _leave(settings, config.group_id(settings, group), mine)
    except (HeadraceError, KafkaError, TimeoutError) as error:
        log.info("predecessor_not_left", service=client, error=f"{type(error).__name__}: {error}")


async def _leave(settings: MeshSettings, group_id: str, member_ids: Sequence[str]) -> None:
    request: Any = LeaveGroupRequest if settings.group_protocol == "classic" else _LeavingHeartbeat
    client = AIOKafkaClient(**aio.options(settings))
    try:
        await client.bootstrap()
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
        for member_id in member_ids:
            answer = await client.send(coordinator, request(group_id, member_id))
            log.info("left_for_predecessor", group=group_id, member=member_id, error_code=answer.error_code)
    finally:
        await client.close()
