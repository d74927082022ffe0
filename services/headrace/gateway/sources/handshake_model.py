"""Handshakes that a source file may ask for: what some senders want to be answered before, or while, they deliver."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from headrace.gateway.sources.schemes import Strict

POINTER: Final = r"^(/[A-Za-z0-9_-]{1,64}){1,8}$"
Pointer = Annotated[str, Field(pattern=POINTER)]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class When(Strict):
    """The text at ``pointer`` of the body is ``equals``."""

    pointer: Pointer
    equals: str = Field(min_length=1, max_length=200)


class EchoHandshake(Strict):
    """A verified delivery that asks for a part of itself: ``answer`` says which fields from where. No record is written.

    ``signed`` fields are answered with the HMAC of what is there, in hex, by the source's first secret (Zoom).
    """

    kind: Literal["echo"]
    when: When
    answer: dict[FieldName, Pointer] = Field(min_length=1, max_length=4)
    signed: dict[FieldName, Pointer] = Field(default={}, max_length=4)


class SnsHandshake(Strict):
    """Amazon SNS: a verified SubscriptionConfirmation is confirmed by a GET of its SubscribeURL, on Amazon's own host only."""

    kind: Literal["sns"]


class VerifyTokenHandshake(Strict):
    """Meta: ``GET ?hub.mode=subscribe&hub.verify_token=..&hub.challenge=..``; the token's variable ends with ``secret``."""

    kind: Literal["verify-token"]
    secret: str = Field(default="verify-token", pattern=r"^[a-z][a-z0-9-]{0,31}$")


class CrcHandshake(Strict):
    """X: ``GET ?crc_token=..`` is answered with the token's HMAC, by the source's first secret."""

    kind: Literal["crc"]


class OriginHandshake(Strict):
    """CloudEvents: ``OPTIONS`` with ``WebHook-Request-Origin`` is answered where the origin is one of ``origins``."""

    kind: Literal["origin"]
    origins: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")], ...] = Field(min_length=1)


Handshake = Annotated[
    EchoHandshake | SnsHandshake | VerifyTokenHandshake | CrcHandshake | OriginHandshake, Field(discriminator="kind")
]
