"""ACLs put into the cluster by whoever may."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from headrace.runtime.cluster import TIMEOUT_S, Cluster, guard, result
from headrace.settings import MeshSettings
from headrace.topology.acls import Acl


def allow(settings: MeshSettings, principal: str, acls: Sequence[Acl]) -> None:
    """Allow ``principal`` (``User:name``) what ``acls`` say, from any host. May be repeated. Blocks.

    Raises ``FatalError`` where this client may not, ``DependencyUnavailable`` while Kafka can't be reached.
    """
    bindings = [_binding(principal, acl) for acl in acls]
    client = Cluster(settings).client
    for future in guard(lambda: client.create_acls(bindings, request_timeout=TIMEOUT_S)).values():
        result(future)


def _binding(principal: str, acl: Acl) -> AclBinding:
    kinds = {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactional_id": ResourceType.TRANSACTIONAL_ID,
    }
    return AclBinding(
        kinds[acl.resource],
        acl.name,
        ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
        principal,
        "*",
        AclOperation[acl.operation.upper()],
        AclPermissionType.ALLOW,
    )
