"""No secret of anybody ends up where it is kept or shown: in a record, a row, a log, a metric, an answer.

Each secret that the mesh is given, and each that a sender shows, is a canary. Deliveries and runs, good and bad, are driven through
a whole mesh; then everything that it wrote is read for them, also in the spellings that credentials travel in. A word that belongs
there is looked for in the same way, so that a search that finds nothing anywhere is noticed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx2
import pytest

from headrace.gateway.sources.build import variable_of, variables
from headrace.gateway.sources.schemes import HmacAuth
from headrace.gateway.sources.sign import sign
from headrace.local.endpoints import Endpoints
from headrace.pipeline import PIPELINE
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from headrace.topology import load_all
from tests.gateway.senders import CONFIGS, TOPIC, Delivery, deliveries
from tests.gateway.support import signature
from tests.runtime.kafka import produce, read_all
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("canaries")
PLANTED = "canarybird"  # agents have canaries too: versions that are live for a part
BELONGS = "word-that-belongs-in-a-record"
MODEL_KEY = f"sk-{PLANTED}-of-the-model-provider"
OTHER_KEY = f"sk-ant-{PLANTED}-of-the-other-provider"
PEPPER = f"{PLANTED}-that-keys-are-made-and-checked-with"
EVENTS_TOKEN = f"{PLANTED}-token-of-events"
STRANGERS = {  # what a delivery or a call brings along, and nobody asked for
    "authorization": f"Bearer {PLANTED}-authorization-of-a-stranger",
    "cookie": f"session={PLANTED}-cookie; other={PLANTED}-second-cookie",
    "proxy-authorization": f"Basic {base64.b64encode(b'user:' + PLANTED.encode()).decode()}",
    "x-api-key": f"{PLANTED}-key-in-a-header",
    "x-hub-signature": f"sha1={PLANTED}-old-signature",
}
AGENT = """
name: asker
version: 1.0.0
category: test
description: Asks a provider that refuses its key.
system_prompt: You ask.
model: openai:gpt-4o
"""


def webhook_secrets() -> dict[str, str]:
    """A canary for every variable of every source."""
    found: dict[str, str] = {}
    for name, config in CONFIGS.items():
        found |= {variable: f"{PLANTED}-{variable.lower()}" for variable in variables(config)}
        for auth in config.auth:
            variable = variable_of(config, auth.secret)
            if isinstance(auth, HmacAuth) and auth.key == "base64":
                found[variable] = "whsec_" + base64.b64encode(f"{PLANTED}-key-of-{name}".encode()).decode()
            if auth.scheme in ("sns", "ed25519"):
                found[variable] = TOPIC  # no secret
    found["HEADRACE_WEBHOOK_SECRET_ALERTMANAGER"] = f"basic-user:{PLANTED}-basic-password"
    del found["HEADRACE_WEBHOOK_SECRET_STANDARD_WEBHOOKS_PUBLIC_KEY"]
    return found


def spellings(secrets: list[str]) -> dict[str, bytes]:
    """What to look for, by what it is."""
    found = {}
    for secret in secrets:
        raw = secret.encode()
        inner = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else raw
        forms = (raw, inner, base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"="), raw.hex().encode())
        found |= {f"{secret} ({number})": form for number, form in enumerate((*forms, quote(secret).encode()))}
    return found


class Written:
    """Everything that the mesh wrote, by where."""

    def __init__(self) -> None:
        self.places: list[tuple[str, bytes]] = []

    def add(self, where: str, *data: Any) -> None:
        self.places += [(where, one if isinstance(one, bytes) else str(one).encode()) for one in data]

    def add_answer(self, answer: httpx2.Response) -> None:
        self.add(f"answer {answer.status_code} of {answer.request.url.path}", answer.content, dict(answer.headers))

    def having(self, needle: bytes) -> set[str]:
        return {where for where, data in self.places if needle in data}


@pytest.fixture(scope="module")
def mesh(stack: Endpoints) -> Iterator[Mesh]:
    refusal = {"status": 401, "message": f"Incorrect API key provided: {MODEL_KEY}. Authorization: Bearer {MODEL_KEY}"}
    script = Script.model_validate({"rules": [{"reply": refusal}]})
    with Simulator(script) as simulator, own_database(stack.database_url) as database_url:
        environment = {
            **webhook_secrets(),
            "HEADRACE_WEBHOOK_OPEN": "",
            "HEADRACE_AUTH": "on",
            "HEADRACE_AUTH_SECRET": PEPPER,
            "HEADRACE_EVENTS_TOKEN": EVENTS_TOKEN,
            "HEADRACE_MODEL": "offline",
            "OPENAI_API_KEY": MODEL_KEY,
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "ANTHROPIC_API_KEY": OTHER_KEY,
            "ANTHROPIC_BASE_URL": simulator.anthropic_base_url,
            "HEADRACE_LOG_LEVEL": "debug",
            "HEADRACE_GATEWAY_PUBLISH_TIMEOUT_S": "30",
        }
        with running_mesh(stack, unique_namespace(), database_url, apart=(), environment=environment) as mesh:
            until(lambda: mesh.gateway.get("/readyz").status_code == 200, 60, "the gateway has read the agents")
            yield mesh


def test_no_secret_is_in_anything_that_the_mesh_writes(mesh: Mesh) -> None:
    written = Written()
    credentials = [
        json.loads(mesh.cli("auth", "keys", "create", "--name", "c", "--role", "admin", "--json").stdout)["key"],
        json.loads(mesh.cli("auth", "token", "issue", "--subject", "s", "--role", "developer", "--json").stdout)[
            "token"
        ],
    ]
    deliver_all(mesh, written)
    call_all(mesh, written, credentials)
    produce(mesh.settings, "agent.jobs", [("k", BELONGS.encode()), ("k", b'{"version": "2.0"}')])
    settle(mesh)
    collect(mesh, written)

    secrets = [secret for secret in webhook_secrets().values() if secret != TOPIC]
    secrets += [MODEL_KEY, OTHER_KEY, PEPPER, EVENTS_TOKEN, *credentials, f"{PLANTED}-basic-password"]
    secrets += [value.partition(" ")[2] or value for value in STRANGERS.values()] + [f"{PLANTED}-second-cookie"]
    needles = spellings(secrets) | {"any canary": PLANTED.encode()}
    assert {what: places for what, needle in needles.items() if (places := written.having(needle))} == {}

    places = written.having(BELONGS.encode())
    expected = (
        "ingest.raw",
        "ingest.events",
        "agent.jobs",
        "agent.results",
        "ingest.dlq",
        "reasoning.dlq",
        "events",
        "runs",
    )
    assert set(expected) <= {place.split()[-1] for place in places}, "the search itself finds what is there"
    assert written.having(b"not_authentic"), "refusals are told"


def deliver_all(mesh: Mesh, written: Written) -> None:
    """Of every source: its examples; a body that no normaliser understands; and what has to be refused."""
    for name in CONFIGS:
        for delivery in [] if name == "sns" else deliveries(name, environ=webhook_secrets(), now=time.time()):
            good = send(mesh, written, delivery)
            assert good.status_code in (200, 202), (delivery.name, good.text)
            assert send(mesh, written, delivery, body=delivery.body + b" ").status_code in (202, 401)
            wrong = {header: f"{value}x" for header, value in delivery.headers.items() if header != "content-type"}
            send(mesh, written, delivery, headers=delivery.headers | wrong)
            send(mesh, written, delivery, query=f"token={PLANTED}-in-a-query&code={PLANTED}&access_token={PLANTED}")
            broken = proven(name, b'{"' + BELONGS.encode())
            send(mesh, written, delivery, body=broken.body, headers=broken.headers, query=broken.query)
        strange = proven(name, json.dumps([BELONGS]).encode())
        send(mesh, written, strange)
    for path in (f"/webhooks/{PLANTED}-as-a-source", f"/webhooks/github/{PLANTED}", f"/{PLANTED}?secret={PLANTED}"):
        written.add_answer(mesh.gateway.post(path, content=b"{}", headers=STRANGERS))
        written.add_answer(mesh.gateway.get(path, headers=STRANGERS))
    verify = f"hub.mode=subscribe&hub.challenge=1&hub.verify_token={PLANTED}-wrong"
    written.add_answer(mesh.gateway.get(f"/webhooks/meta?{verify}"))


def proven(name: str, body: bytes) -> Delivery:
    """A delivery of any body with a good proof, where one can be made."""
    config, id_ = CONFIGS[name], f"strange-{name}"
    given = {variable: [secret.encode()] for variable, secret in webhook_secrets().items()}
    proof = sign(config, given, body, now=time.time(), delivery=id_)
    headers = {"content-type": "application/json", **dict.fromkeys(config.delivery_id.header, id_)}
    if config.event_type.header:
        headers[config.event_type.header] = "strange"
    return Delivery(
        name, "strange", id_, headers | dict(proof.headers if proof else {}), body, proof.query if proof else ""
    )


def send(mesh: Mesh, written: Written, delivery: Delivery, **changed: Any) -> httpx2.Response:
    """With what strangers bring along, where that is not the source's own proof."""
    headers = {**STRANGERS, **changed.get("headers", delivery.headers)}
    query = changed.get("query", delivery.query)
    path = f"/webhooks/{delivery.source}" + (f"?{query}" if query else "")
    answer = mesh.gateway.post(path, content=changed.get("body", delivery.body), headers=headers)
    written.add_answer(answer)
    return answer


def call_all(mesh: Mesh, written: Written, credentials: list[str]) -> None:
    """The API, with good credentials, with bad ones, and with bad requests."""
    key, token = credentials
    run = {"agent": "assistant", "prompt": f"Say {BELONGS}.", "user_id": BELONGS}
    tampered = token[:-4] + "AAAA"
    for credential in (key, token, f"{key}x", tampered, f"hrk_{PLANTED}", EVENTS_TOKEN):
        headers = STRANGERS | {"authorization": f"Bearer {credential}"}
        for path, body in (
            ("/v1/runs?wait=20", run),
            ("/v1/runs", {"agent": "nobody", "prompt": "x"}),
            ("/agents/run", {"agent_type": "policy-checker", "user_id": BELONGS}),
            ("/events", {"source": "shop", "event_type": "a.b", "payload": {"text": BELONGS}}),
            ("/events", {"source": "shop"}),
        ):
            written.add_answer(mesh.gateway.post(path, json=body, headers=headers))
        for path in ("/v1/runs", "/v1/runs/none", "/metrics", f"/v1/agents?key={credential}", "/openapi.json"):
            written.add_answer(mesh.gateway.get(path, headers=headers))
    mesh.gateway.headers["authorization"] = f"Bearer {key}"  # the mesh's own questions, from here on
    publish(mesh)
    refused = mesh.gateway.post("/v1/runs?wait=20", json={"agent": "asker", "prompt": BELONGS})
    assert refused.json()["error"]["type"] == "model_error", refused.text
    written.add_answer(refused)


def publish(mesh: Mesh) -> None:
    path = mesh.logs / "asker.yaml"
    path.write_text(AGENT)
    mesh.publish(path)
    path.unlink()
    mesh.await_agents("asker")


def settle(mesh: Mesh) -> None:
    """Until every service has worked on everything that there is for it, those first whose work is the others' input."""
    for stage in PIPELINE:
        if stage.consumes and stage.service != "analytics":  # which counts windows, not records
            until(lambda stage=stage: handled(mesh, stage.service) >= waiting(mesh, stage.consumes), 90, stage.service)


def handled(mesh: Mesh, service: str) -> float:
    text = httpx2.get(f"http://127.0.0.1:{mesh.ops[service]}/metrics", trust_env=False).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("headrace_records_total{"))


def waiting(mesh: Mesh, topics: tuple[str, ...]) -> int:
    return sum(len(read_all(mesh.settings, topic)) for topic in topics)


def collect(mesh: Mesh, written: Written) -> None:
    for topic in load_all():
        for record in read_all(mesh.settings, topic):
            written.add(f"topic {topic}", record.key, record.value, record.headers)
    for table, row in asyncio.run(rows(mesh)):
        written.add(f"table {table}", *row)
    for name in mesh.processes:
        written.add(f"log of {name}", mesh.log(name))
        for path in ("metrics", "status", "readyz"):
            written.add_answer(httpx2.get(f"http://127.0.0.1:{mesh.ops[name]}/{path}", trust_env=False))


async def rows(mesh: Mesh) -> list[tuple[str, list[Any]]]:
    assert mesh.settings.database_url is not None
    connection = await asyncpg.connect(mesh.settings.database_url.get_secret_value())
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = []
        for (table,) in tables:
            found += [(table, list(row.values())) for row in await connection.fetch(f'SELECT * FROM "{table}"')]
        return found
    finally:
        await connection.close()


def test_the_largest_body_is_read_by_ingest_and_becomes_an_event(mesh: Mesh) -> None:
    """25 MiB, by claim check: far past what a record may hold, on the way in and on the way on."""
    secret = webhook_secrets()["HEADRACE_WEBHOOK_SECRET_GITHUB"]
    frame = {
        "ref": "refs/heads/main",
        "repository": {"full_name": "acme/large"},
        "sender": {"login": "octo"},
        "text": "",
    }
    room = 25 * 1024 * 1024 - len(json.dumps(frame))
    body = json.dumps(frame | {"text": "x" * room}).encode()
    assert len(body) == 25 * 1024 * 1024
    headers = {
        "content-type": "application/json",
        "x-github-event": "push",
        "x-github-delivery": "the-largest",
        "x-hub-signature-256": signature(body, secret),
    }
    answer = mesh.gateway.post("/webhooks/github", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    [event] = until(
        lambda: [r for r in read_all(mesh.settings, "ingest.events") if r.key == "acme/large"] or None,
        60,
        "ingest has read it",
    )
    assert event.headers["ce_type"] or event.headers["ce_dataref"]
    assert len(event.value) < 1_000_000
    whole = asyncio.run(blob(mesh, event.headers["ce_dataref"]))
    assert json.loads(whole)["data"]["text"] == "x" * room


async def blob(mesh: Mesh, ref: str) -> bytes:
    assert mesh.settings.database_url is not None
    connection = await asyncpg.connect(mesh.settings.database_url.get_secret_value())
    try:
        digest = bytes.fromhex(ref.rpartition(":")[2])
        found: bytes = await connection.fetchval("SELECT bytes FROM blobs WHERE ref = $1", digest)
        return found
    finally:
        await connection.close()
