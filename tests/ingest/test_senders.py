"""Each sender's deliveries become the events that ``senders/*.yaml`` says: every sender has some, and every field is checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.ingest.normalise.declared.engine import Sender
from headrace.ingest.normalise.declared.rules import load_rules, parse_rules
from headrace.ingest.normalise.dispatch import SENDERS
from headrace.messages.errors import FatalError
from headrace.messages.event import RawDelivery
from tests.ingest.records import RECEIVED, at, events, processor, webhook

FOLDER = Path(__file__).parent / "senders"
SAMPLES: dict[str, list[dict[str, Any]]] = {
    file.stem: yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader) for file in sorted(FOLDER.glob("*.yaml"))
}
CASES = [pytest.param(name, sample, id=f"{name}-{sample['name']}") for name, all_ in SAMPLES.items() for sample in all_]
ELSEWHERE = {"github", "alertmanager"}  # test_github, test_forms
FIELDS = ("id", "source", "type", "subject", "time", "actor", "url", "severity", "partition_key")


def delivery(sender: str, sample: dict[str, Any]) -> RawDelivery:
    body = sample["text"].encode() if "text" in sample else sample["body"]
    http = {name: str(value) for name, value in sample.get("headers", {}).items()}
    headers = {"content-type": sample.get("content_type", "application/json")}
    return webhook(sender, body, delivery_id=sample.get("id", "sha256:00"), http=http, **headers)


def test_every_sender_has_samples() -> None:
    assert {source.rpartition("/")[2] for source in SENDERS} - ELSEWHERE == set(SAMPLES)


@pytest.mark.parametrize(("sender", "sample"), CASES)
async def test_sample(sender: str, sample: dict[str, Any]) -> None:
    found = events(await processor().handle(delivery(sender, sample), at()))
    assert len(found) == len(sample["events"])
    for index, (event, written) in enumerate(zip(found, sample["events"], strict=True)):
        expected = {"data": sample.get("body")} | written
        if written.get("data") == "ANY":
            expected["data"] = event.data
        if written.get("time") == "RECEIVED":
            expected["time"] = RECEIVED
        assert {field: getattr(event, field) for field in expected} == expected
        assert event.origin.index == index
    assert "planted" not in str([event.plain() for event in found]), "a credential of the sender"


@pytest.mark.parametrize("sender", SAMPLES)
async def test_each_field_is_checked_somewhere(sender: str) -> None:
    """What no sample of a sender expects, no event of it has: else it would go unchecked."""
    expected = {field for sample in SAMPLES[sender] for event in sample["events"] for field in event}
    for sample in SAMPLES[sender]:
        for event in events(await processor().handle(delivery(sender, sample), at())):
            assert {field for field in FIELDS if getattr(event, field) is not None} <= expected | {"id", "time"}


@pytest.mark.parametrize(
    "rules",
    [
        "name: x\nabout: x\ntype: =x\ncolour: red",
        "name: x\nabout: x\ntype: a.b",
        "name: x\nabout: x\ntype: '{a|reverse}'",
        "name: x\nabout: x\ntype: =x\nsubject: a..b",
        "name: x\nabout: x\ntype: =x\nevents: {e: {time: 'a b'}}",
        "name: x\nabout: x\ntype: [",
    ],
)
def test_rules_that_say_what_there_is_not_stop_the_service(rules: str) -> None:
    with pytest.raises(FatalError, match="x"):
        Sender(parse_rules("x.yaml", rules.encode()))


PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_the_page_has_every_sender() -> None:
    named = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert {f"/webhooks/{name}" for name in named} == set(SENDERS)


@pytest.mark.parametrize(
    ("sender", "type_", "filled"),
    [
        ("datadog", "com.datadoghq.monitor.triggered", {"$ALERT_TRANSITION": "Triggered", "$DATE": "1772445600000"}),
        (
            "servicenow",
            "com.servicenow.incident.update",
            {
                "${current.getTableName()}": "incident",
                "${current.operation()}": "update",
                "${current.sys_updated_on}": "2026-03-02 10:00:00",
            },
        ),
    ],
)
async def test_the_payloads_that_the_page_gives(sender: str, type_: str, filled: dict[str, str]) -> None:
    body = re.search(rf"{sender}:\n\n```js\n(.*?)```", PAGE.read_text(), re.DOTALL | re.IGNORECASE)[1]  # type: ignore[index]
    for variable, value in filled.items():
        body = body.replace(variable, value)
    (event,) = events(await processor().handle(webhook(sender, body.encode(), delivery_id="sha256:0"), at()))
    assert (event.type, event.time) == (type_, "2026-03-02T10:00:00Z")
    assert event.id != "sha256:0"
    assert None not in (event.subject, event.actor, event.severity)


def test_the_rules_that_the_page_shows_are_those_of_stripe() -> None:
    shown = re.search(r"```yml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]  # type: ignore[index]
    assert parse_rules("page", shown.encode()) in list(load_rules())
