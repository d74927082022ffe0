"""What a sender's rules may say, and reading them: one YAML file a sender in ``normalise/senders``, checked when ingest starts.

A field is one value or several, of which the first that is there counts; ``values`` has what a value can be. ``$event`` is the
event's name, and ``$object`` what the event is about: the key in the body that ``object`` names, else the event's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Final

import msgspec

from headrace.ingest.normalise import senders
from headrace.messages.errors import FatalError

Values = str | tuple[str, ...]

FIELDS: Final = ("id", "source", "type", "subject", "time", "actor", "url", "severity", "partition_key")


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where each field of the event comes from. None: not said here; an empty list: the event has none."""

    id: Values | None = None  # else the delivery's id
    source: Values | None = None  # else /webhooks/<sender>
    type: Values | None = None
    subject: Values | None = None
    time: Values | None = None  # else the time of reception
    actor: Values | None = None
    url: Values | None = None
    severity: Values | None = None
    partition_key: Values | None = None  # else source and subject
    object: str | None = None


class Rules(Fields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sender. ``events`` overrides fields for the events that it names; ``event`` says where that name is.

    ``batch``: the body may be a list of events. ``form``: it may be form-encoded. ``without``: keys of the body that are
    credentials, left out of ``data``. ``embedded``: a key whose text is JSON itself, parsed in ``data``.
    """

    name: str
    about: str
    event: Values = ()
    events: dict[str, Fields] = {}
    batch: bool = False
    form: bool = False
    without: tuple[str, ...] = ()
    embedded: str | None = None


def load_rules() -> Iterator[Rules]:
    """The rules of every sender that has some. Raises ``FatalError``."""
    folder = resources.files(senders)
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield parse_rules(file.name, file.read_bytes())


def parse_rules(where: str, text: bytes) -> Rules:
    """Raises ``FatalError``: not YAML, an unknown field, or one of the wrong kind."""
    try:
        return msgspec.yaml.decode(text, type=Rules)
    except msgspec.DecodeError as error:  # ValidationError too
        raise FatalError(f"rules of a sender, {where}: {error}") from error


def values(written: Values | None) -> tuple[str, ...]:
    """A field as a list, whichever way it was written."""
    return (written,) if isinstance(written, str) else written or ()
