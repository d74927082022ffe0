"""Record headers: CloudEvents over Kafka in binary mode, W3C trace context, and where a record came from.

``ce_id`` is the message's own deterministic id, ``ce_causationid`` the ``ce_id`` of the record that led to it, and
``ce_correlationid`` the first of that chain. ``ce_dataref`` (the CloudEvents claim check extension) stands in for a value that is
larger than the bound: the record's value is then null and the bytes are in the blob store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

Headers = dict[str, str]
RawHeaders = Sequence[tuple[str, bytes | None]]

ID: Final = "ce_id"
CAUSATION: Final = "ce_causationid"
CORRELATION: Final = "ce_correlationid"
DATA_REF: Final = "ce_dataref"
TENANT: Final = "ce_tenant"
TRACEPARENT: Final = "traceparent"
CONTENT_TYPE: Final = "content-type"
SOURCE_PREFIX: Final = "/headrace/"

_TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def decode(raw: RawHeaders | None) -> Headers:
    """Headers as text. The last of a repeated header wins, undecodable bytes are replaced: headers never fail a record."""
    return {name: (value or b"").decode("utf-8", "replace") for name, value in raw or ()}


def encode(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in headers.items()]


def binary_mode(
    *,
    message_id: str,
    type_: str,
    service: str,
    content_type: str,
    attributes: Mapping[str, str],
    cause: Mapping[str, str],
) -> Headers:
    """Headers of a record that ``service`` makes while it handles a record with the headers ``cause``."""
    headers = {
        "ce_specversion": "1.0",
        ID: message_id,
        "ce_source": SOURCE_PREFIX + service,
        "ce_type": type_,
        CONTENT_TYPE: content_type,
    }
    headers.update((f"ce_{name}", value) for name, value in attributes.items())
    if causation := cause.get(ID):
        headers[CAUSATION] = causation
        headers[CORRELATION] = cause.get(CORRELATION, causation)
    if traceparent := valid_traceparent(cause.get(TRACEPARENT)):
        headers[TRACEPARENT] = traceparent
    return headers


def valid_traceparent(value: str | None) -> str | None:
    """``value`` if it is a W3C version-00 traceparent, else None: a stranger's header is data, not trusted text."""
    return value if value and _TRACEPARENT.match(value) else None
