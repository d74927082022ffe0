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
TRACESTATE: Final = "tracestate"
RUN_ID: Final = "ce_runid"
AGENT: Final = "ce_agent"
CONTENT_TYPE: Final = "content-type"
SOURCE_PREFIX: Final = "/headrace/"

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


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
    return headers | trace_context(cause)


def trace_context(headers: Mapping[str, str]) -> Headers:
    """The W3C trace context of HTTP or record ``headers``, if it is well-formed (version 00): it is a stranger's.

    ``tracestate`` goes with a valid ``traceparent`` only, and is dropped where it is longer than W3C asks anybody to carry.
    """
    parent, state = headers.get(TRACEPARENT), headers.get(TRACESTATE)
    if not parent or not _TRACEPARENT.fullmatch(parent):
        return {}
    if not state or not _TRACESTATE.fullmatch(state):
        return {TRACEPARENT: parent}
    return {TRACEPARENT: parent, TRACESTATE: state}
