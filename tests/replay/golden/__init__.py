"""Runs of older schema versions, stored as they were written: each release has to read and re-run all of them.

``python -m tests.replay.golden NAME`` writes ``NAME.json`` with what this code writes. A stored file is never written again: it is
what records on somebody's topics look like.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from headrace.blobs.memory import MemoryBlobs
from headrace.history.chain import Chain, Filed, chain_of
from headrace.messages.agent import AgentDefinition, Limits
from headrace.messages.codec import AVRO_FORMS, Codec
from headrace.messages.errors import BadMessage
from headrace.messages.result import AgentResult
from headrace.runtime.api import Source
from tests.reasoning.bench import VERDICT_SCHEMA, Bench, ScriptedModel, definition, job, model_down, text_reply
from tests.replay.lives import LOW, Life, OneSchema, filed, live, with_tools

HERE = Path(__file__).parent
REVIEWER = definition(output_schema=VERDICT_SCHEMA, limits=Limits(max_steps=4, max_tokens=900, timeout_s=60.0))


class Golden:
    """One stored file: a definition, its runs' records, the blobs that they name, and the Avro schema of the results."""

    def __init__(self, path: Path) -> None:
        self._stored: dict[str, Any] = json.loads(path.read_text())
        self.codec = Codec(OneSchema(self._stored["schema"]))
        self.definition = AgentDefinition.checked(self._stored["definition"])
        self.blobs: dict[str, bytes | BadMessage] = {
            ref: base64.b64decode(data) for ref, data in self._stored["blobs"].items()
        }

    @property
    def chains(self) -> list[Chain]:
        return [chain_of(run_id, [*map(self._filed, records)]) for run_id, records in self._stored["runs"].items()]

    def _filed(self, record: dict[str, Any]) -> Filed:
        source = Source(record["topic"], 0, record["offset"])
        key, value = record["key"].encode(), base64.b64decode(record["value"])
        message = self.codec.decode(source.topic, key, value, record["headers"])
        return Filed(source, key, value, record["at_ms"], message, record["headers"])


async def lives(blobs: MemoryBlobs) -> list[Life]:
    """One run of each kind that the records tell apart."""
    scripts = {
        "answered": ScriptedModel(LOW),
        "with-tools": with_tools({"a": 1}, {"b": ["x" * 300]}),
        "repaired": ScriptedModel(text_reply("no JSON"), LOW),
        "given-up": ScriptedModel(text_reply("no JSON"), text_reply("again not")),
        "model-down": with_tools({"a": 1}, last=model_down()),
        "too-many-steps": with_tools({"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}),
        "large": with_tools({"a": "y" * 3_000}, last=text_reply('{"risk": "high", "note": "' + "n" * 2_000 + '"}')),
    }
    found = [
        await live(Bench(script, REVIEWER, blobs=blobs), job(job_id=name, prompt=f"Review {name}."), ["z" * 2_000])
        for name, script in scripts.items()
    ]
    return [*found, await live(Bench(ScriptedModel(), REVIEWER, blobs=blobs), job(job_id="unknown", agent="nobody"))]


def stored(found: list[Life], blobs: dict[str, bytes]) -> str:
    runs = {
        life.run_id: [_plain(filed(message, at, number)) for number, (message, at) in enumerate(life.records)]
        for life in found
    }
    document = {
        "schema": AVRO_FORMS[AgentResult].schema,
        "definition": REVIEWER.plain(),
        "blobs": {ref: base64.b64encode(data).decode() for ref, data in sorted(blobs.items())},
        "runs": runs,
    }
    return json.dumps(document, indent=1) + "\n"


def _plain(record: Filed) -> dict[str, Any]:
    return {
        "topic": record.source.topic,
        "offset": record.source.offset,
        "at_ms": record.timestamp_ms,
        "key": (record.key or b"").decode(),
        "value": base64.b64encode(record.value).decode(),
        "headers": dict(record.headers),
    }
