"""What a sender is answered while something is away: a code that it sends again for, in the time that it waits.

The facts are each vendor's own; for those that publish none, what is known of it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from headrace.messages.errors import DependencyUnavailable, TransientError
from tests.gateway.amazon import CERTIFICATE, HOST, amazon, message, signed
from tests.gateway.senders import CONFIGS, TOPIC, deliveries, reference, secrets
from tests.gateway.support import Gateway, error_of
from tests.tools.servers import response

FAULTS: list[Exception] = [
    DependencyUnavailable("Kafka is not reachable"),
    TransientError("not now"),
    TimeoutError("no acknowledgement"),
]
NAMES = {"jira-cloud": "jira"}  # the matrix's, and ours
Retried = Callable[[int], bool]
NOT_BY_ITSELF = "no", "sender's choice"  # what the column auto_retry says of those that need not send again at all
ALL = sorted(CONFIGS.keys() - {"sns"})


@dataclass(frozen=True)
class Sender:
    """A row of the matrix: the codes that its sender sends again for, and its patience in seconds."""

    name: str
    retried: Retried | None
    patience_s: float | None
    row: dict[str, str]


def matrix() -> list[Sender]:
    """The rows of ``retry-matrix.csv`` whose cells speak of our sources, or of CloudEvents' own endpoint."""
    with reference("retry-matrix.csv").open(newline="") as file:
        return [
            Sender(NAMES.get(row["source"], row["source"]), retried(row), _seconds(row["ack_deadline_s"]), row)
            for row in csv.DictReader(file)
        ]


def retried(row: dict[str, str]) -> Retried | None:
    """The cell ``codes_that_retry``, read; None where it says that nobody knows. Fails for one that it can't read."""
    text = row["codes_that_retry"]
    if text == "?":
        return None
    if text == "none":
        return lambda code: False
    if text.startswith("any non-2xx"):
        return lambda code: not 200 <= code < 300
    if text.startswith("everything except 200-204"):
        return lambda code: not 200 <= code <= 204 and code not in (400, 413)
    codes = {int(code) for code in re.findall(r"\b\d{3}\b", text)}
    families = {int(digit) for digit in re.findall(r"\b(\d)xx", text, re.IGNORECASE)}
    assert codes | families, f"{row['source']}: can't read {text!r}"
    return lambda code: code in codes or code // 100 in families


def _seconds(text: str) -> float | None:
    found = re.match(r"\d+", text)
    return float(found.group()) if found else None


async def answers(gateway: Gateway, name: str, folder: Path) -> list[httpx2.Response]:
    """What the sender gets in each transient fault."""
    found = []
    for fault in FAULTS:
        gateway.publisher.fail = fault
        if name == "sns":
            found += await answers_of_sns(fault, folder)
        elif name == "cloudevents":
            body = b'{"specversion":"1.0","id":"1","source":"/a","type":"b"}'
            found.append(await gateway.post("/events", body, {"content-type": "application/cloudevents+json"}))
        else:
            for delivery in deliveries(name):
                found.append(await gateway.post(delivery.path, delivery.body, delivery.headers))
    return found


async def answers_of_sns(fault: Exception, folder: Path) -> list[httpx2.Response]:
    """Also while Amazon's own host is away, for a message by a certificate that the gateway does not have yet."""
    other = CERTIFICATE.replace("0123", "4567")
    async with amazon(folder) as sns:
        gateway = Gateway({"HEADRACE_WEBHOOK_SECRET_SNS": TOPIC}, outbound=sns.outbound)
        gateway.publisher.fail = fault
        sns.answers[other.removeprefix(f"https://{HOST}")] = response(503)
        bodies = (signed(message()), signed(message(SigningCertURL=other)))
        return [await gateway.post("/webhooks/sns", body, {"content-type": "text/plain"}) for body in bodies]


@pytest.mark.parametrize("name", [*ALL, "sns", "cloudevents"])
async def test_whatever_may_pass_is_503_with_retry_after(name: str, tmp_path: Path) -> None:
    for answer in await answers(Gateway(secrets()), name, tmp_path):
        assert (answer.status_code, error_of(answer)["code"]) == (503, "unavailable")
        assert 1 <= int(answer.headers["retry-after"]) <= 30


async def test_no_sender_drops_what_it_is_answered_in_a_transient_fault(tmp_path: Path) -> None:
    gateway, senders = Gateway(secrets()), matrix()
    assert len(senders) >= 16
    for sender in senders:
        for answer in await answers(gateway, sender.name, tmp_path):
            code = answer.status_code
            if sender.retried is not None and sender.row["auto_retry"] not in NOT_BY_ITSELF:
                assert sender.retried(code), f"{sender.name} drops {code}"
            assert str(code) in sender.row["code_to_send_when_transient"]
            refused = {
                int(column[3:6]) for column, cell in sender.row.items() if column[:3] == "is_" and "NO" in cell.upper()
            }
            assert code not in refused


async def test_no_sender_drops_what_it_is_answered_past_the_rate_limit() -> None:
    """429 goes only to those that are known to send again after one; what is known of it is in their files."""
    known = {sender.name: sender for sender in matrix()}
    for name in ALL:
        gateway, [delivery, *_] = Gateway(secrets(), gateway_source_rate=0.1, gateway_burst_s=1), deliveries(name)
        assert (await gateway.post(delivery.path, delivery.body, delivery.headers)).status_code == 202
        answer = await gateway.post(delivery.path, delivery.body, delivery.headers)
        safe = name in known and known[name].row["is_429_safe"] == "yes"
        assert (answer.status_code, error_of(answer)["code"]) == (429 if safe else 503, "rate_limited"), name
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        sender = known.get(name)
        if sender and sender.retried is not None and sender.row["auto_retry"] not in NOT_BY_ITSELF:
            assert sender.retried(answer.status_code), f"{name} drops {answer.status_code}"


def test_no_source_claims_more_patience_than_its_sender_has() -> None:
    for sender in matrix():
        if sender.patience_s is not None and sender.name in CONFIGS:
            assert (CONFIGS[sender.name].answer_within_s or 0) <= sender.patience_s, sender.name


@pytest.mark.parametrize(("name", "timeout_s"), [("sentry", 0.8), ("slack", 2.4), ("github", 4.0), ("meta", 4.0)])
async def test_the_broker_is_waited_for_no_longer_than_the_sender_waits(name: str, timeout_s: float) -> None:
    gateway, [delivery, *_] = Gateway(secrets()), deliveries(name)
    waited: list[float] = []
    publish = gateway.publisher.publish

    async def recorded(sends: object, *, timeout_s: float) -> None:
        waited.append(timeout_s)
        await publish(sends, timeout_s=timeout_s)  # type: ignore[arg-type]

    gateway.publisher.publish = recorded  # type: ignore[method-assign, assignment]
    assert (await gateway.post(delivery.path, delivery.body, delivery.headers)).status_code == 202
    assert waited == pytest.approx([timeout_s])
