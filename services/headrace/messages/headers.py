"""Record headers: CloudEvents over Kafka in binary mode, W3C trace context, and where a record came from.

``ce_id`` is the message's own deterministic id, ``ce_causationid`` the ``ce_id`` of the record that led to it, and
``ce_correlationid`` the first of that chain. ``ce_dataref`` (the CloudEvents claim check extension) stands in for a value that is
larger than the bound: the record's value is then null and the bytes are in the blob store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

Headers = dict[str, str]
Encoded = list[tuple[str, bytes]]  # as a client takes them
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
REPLY_TO: Final = "reply_to"  # of a job: a topic that gets its result too, where the message names none
SOURCE_PREFIX: Final = "/headrace/"

_MAX_ID: Final = 1_024  # characters
_VERSION: Final = ("ce_specversion", b"1.0")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


def decode(raw: RawHeaders | None) -> Headers:
    """Headers as text. The last of a repeated header wins, undecodable bytes are replaced: headers never fail a record."""
    try:
        return {name: value.decode() for name, value in raw or ()}  # type: ignore[union-attr]
    except (AttributeError, UnicodeDecodeError):
        return {name: (value or b"").decode("utf-8", "replace") for name, value in raw or ()}


def encode(headers: Mapping[str, str]) -> Encoded:
    return [(name, value.encode()) for name, value in headers.items()]


def binary_mode(
    *,
    message_id: str,
    type_: str,
    service: str,
    content_type: str,
    data_schema: str,
    attributes: Mapping[str, str],
    cause: Mapping[str, str],
) -> Encoded:
    """Headers of a record that ``service`` makes while it handles a record with the headers ``cause``.

    Those are a stranger's, and of any size: ids that are longer than any of the mesh's own are not passed on.
    """
    headers = [_VERSION, (ID, message_id.encode()), *_constant(service, type_, content_type, data_schema)]
    headers += [("ce_" + name, value.encode()) for name, value in attributes.items()]
    if (causation := cause.get(ID)) and len(causation) <= _MAX_ID:
        headers.append((CAUSATION, causation.encode()))
        correlation = cause.get(CORRELATION, causation)
        headers.append((CORRELATION, (correlation if len(correlation) <= _MAX_ID else causation).encode()))
    return headers + encode(trace_context(cause)) if TRACEPARENT in cause else headers


@lru_cache(256)
def _constant(service: str, type_: str, content_type: str, data_schema: str) -> Encoded:
    """What is the same for every record of a kind that a service makes."""
    return encode(
        {
            "ce_source": SOURCE_PREFIX + service,
            "ce_type": type_,
            CONTENT_TYPE: content_type,
            "ce_dataschema": data_schema,
        }
    )


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
