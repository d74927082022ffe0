"""Senders of every built-in source: secrets of theirs, and their example deliveries with a correct proof."""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway.sources.build import variable_of, variables
from headrace.gateway.sources.examples import examples
from headrace.gateway.sources.load import load_configs
from headrace.gateway.sources.schemes import HmacAuth
from headrace.gateway.sources.sign import sign
from headrace.gateway.sources.verify import Incoming
from tests.gateway.support import NOW

CONFIGS = load_configs(None)
NOW_S = NOW.timestamp()
TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"
BASE64_KEY = "whsec_" + base64.b64encode(b"planted-key-of-twenty-four").decode()
SIGNED = sorted(name for name, config in CONFIGS.items() if isinstance(config.auth[0], HmacAuth))
CREDENTIALS = sorted(name for name, config in CONFIGS.items() if config.auth[0].scheme == "token")


@dataclass(frozen=True)
class Delivery:
    """One POST, as its sender makes it."""

    source: str
    name: str
    id: str
    headers: dict[str, str]
    body: bytes
    query: str = ""

    @property
    def path(self) -> str:
        return f"/webhooks/{self.source}" + (f"?{self.query}" if self.query else "")

    def incoming(self, **changed: Any) -> Incoming:
        return Incoming(**{"headers": self.headers, "body": self.body, "now": NOW_S, "query": self.query} | changed)


def secrets(*names: str) -> dict[str, str]:
    """Secrets by variable: of the first scheme of each source (of all, by default), and what its handshakes need."""
    found: dict[str, str] = {}
    for name in names or CONFIGS:
        config = CONFIGS[name]
        kinds = variables(config)
        found |= {variable: f"planted-{variable.lower()}" for variable, kind in kinds.items() if kind == "verify token"}
        first = config.auth[0]
        key = BASE64_KEY if isinstance(first, HmacAuth) and first.key == "base64" else f"planted-secret-of-{name}"
        found[variable_of(config, first.secret)] = TOPIC if first.scheme == "sns" else key
    return found


def ids() -> Iterator[str]:
    return (str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in itertools.count())


def deliveries(
    name: str, directory: Path | None = None, environ: dict[str, str] | None = None, *, now: float = NOW_S
) -> list[Delivery]:
    """The examples of a source, with the proof of its first scheme. SNS's are not signed: nobody else has its key."""
    config = load_configs(directory)[name]
    given = {variable: [secret.encode()] for variable, secret in (environ or secrets(name)).items()}
    made = []
    for example in examples(name, directory, ids=ids(), now=now):
        proof = sign(config, given, example.body, now=now, delivery=example.id)
        headers = example.headers | dict(proof.headers if proof else {})
        made.append(Delivery(name, example.name, example.id, headers, example.body, proof.query if proof else ""))
    return made


def flips(data: bytes) -> Iterator[bytes]:
    """``data`` with each of its bits changed, one at a time."""
    for place, byte in enumerate(data):
        for bit in range(8):
            yield data[:place] + bytes([byte ^ (1 << bit)]) + data[place + 1 :]


def reference(name: str) -> Path:
    """A file of ``shared/webhooks`` beside the checkout, which is not ours to ship. Without it the test is skipped."""
    for parent in Path(__file__).resolve().parents:
        if (path := parent / "shared" / "webhooks" / name).is_file():
            return path
    pytest.skip(f"shared/webhooks/{name} is not beside this checkout")
